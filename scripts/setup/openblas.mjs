// OpenBLAS's archive for Linux, of a build that starts no threads: Debian's package of the wanted architecture.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MissingError, must, root, step, which } from './run.mjs';

const name = 'libopenblas-serial-dev';
const triples = { amd64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/**
 * The archive's path. OPENBLAS_ARCHIVE is another one, for a system without apt or for another version. The package is
 * unpacked, not installed, so the machine's own architecture and packages do not matter.
 */
export function ensureOpenblas(architecture) {
  const given = process.env.OPENBLAS_ARCHIVE;
  if (given) {
    if (!existsSync(given)) throw new MissingError(`OPENBLAS_ARCHIVE: expected a file, got '${given}'.`);
    return given;
  }
  const folder = join(root, '.cache', 'openblas', architecture);
  const archive = join(folder, 'usr', 'lib', triples[architecture], 'openblas-serial', 'libopenblas.a');
  if (existsSync(archive)) return archive;
  if (!which('apt-get')) {
    throw new MissingError(
      `OpenBLAS for ${architecture} is missing: set OPENBLAS_ARCHIVE to the libopenblas.a of a build without threads.`,
    );
  }
  step(`downloading ${name} for ${architecture}`, () => download(folder, architecture));
  return archive;
}

function download(folder, architecture) {
  const lists = join(folder, 'lists');
  mkdirSync(join(lists, 'partial'), { recursive: true });
  writeFileSync(join(folder, 'status'), '');
  const options = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    `Dir::State::lists=${lists}`,
    `Dir::State::status=${join(folder, 'status')}`,
    `Dir::Cache=${join(folder, 'cache')}`,
    // The file is unpacked by us, into a folder of ours.
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  mkdirSync(join(folder, 'cache', 'archives', 'partial'), { recursive: true });
  must('apt-get', [...options, 'update'], { cwd: folder });
  must('apt-get', [...options, 'download', name], { cwd: folder });
  const file = readdirSync(folder).find((entry) => entry.endsWith('.deb'));
  must('dpkg', ['--extract', file, '.'], { cwd: folder });
}
