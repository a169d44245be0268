// Several files of a folder that are replaced together. New files are written to a folder inside of it, which is then
// renamed to `.sigmatune-commit`: at that moment the new files count. Then each is moved to its place. A process that is
// killed in between leaves the committed folder; readers look there first, and the next writer moves the rest.
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkSignal } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { type Sink, syncFolder, temporaryIn, writeAtomically } from './atomic.js';
import { quoted, system, systemCode } from './complaints.js';
import { patiently } from './patience.js';
import { exists } from './readable.js';

const committed = '.sigmatune-commit';

/**
 * Replaces files of a folder, all or none; other files stay. The folder is made if there is none. A reader that finds its
 * files by `pathIn` sees all old or all new ones, also if the process or the machine stops.
 */
export async function writeFolderAtomically(
  op: string,
  folder: string,
  signal: AbortSignal | undefined,
  files: Readonly<Record<string, (file: Sink) => Promise<void>>>,
): Promise<void> {
  const where = `folder ${quoted(folder)}`;
  await system(op, where, 'a folder that can be written', mkdir(folder, { recursive: true }));
  const stage = temporaryIn(folder);
  await system(op, where, 'a folder that can be written', mkdir(stage));
  try {
    for (const [name, fill] of Object.entries(files)) await writeAtomically(op, join(stage, name), signal, fill);
    checkSignal(op, signal);
    await commit(op, where, folder, stage);
  } catch (error) {
    await rm(stage, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
  await settle(op, where, folder);
}

/** Renames the stage. If another writer's commit is there, its files are moved first: they are older. */
async function commit(op: string, where: string, folder: string, stage: string): Promise<void> {
  for (;;) {
    try {
      // Windows says EPERM if another writer's commit is there.
      await patiently(async () => {
        await settle(op, where, folder);
        await rename(stage, join(folder, committed));
      });
      break;
    } catch (error) {
      if (error instanceof SigmaError) throw error;
      if (!['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) {
        await system(op, where, 'a folder that can be written', Promise.reject(error));
      }
    }
  }
  await syncFolder(op, where, folder);
}

/** Moves committed files to their places. Another writer may be doing the same: what it has moved is not there any more. */
async function settle(op: string, where: string, folder: string): Promise<void> {
  const from = join(folder, committed);
  const names = await readdir(from).catch(() => undefined);
  if (names === undefined) return;
  for (const name of names) {
    try {
      await patiently(() => rename(join(from, name), join(folder, name)));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        await system(op, where, 'a folder that can be written', Promise.reject(error));
    }
  }
  await syncFolder(op, where, folder);
  await rmdir(from).catch(() => undefined);
}

/** Where a file of a folder is now. */
export async function pathIn(folder: string, name: string): Promise<string> {
  const early = join(folder, committed, name);
  return (await exists(early)) ? early : join(folder, name);
}
