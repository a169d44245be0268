// The files of a folder of checkpoints. checkpoint.safetensors is replaced by each save. Numbered ones stay next to each
// other until they are rotated out.
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fail } from '../runtime/check.js';
import { type Sink, writeAtomically, writeNew } from './atomic.js';
import { quoted, system, systemCode } from './complaints.js';

const single = 'checkpoint.safetensors';
const pattern = /^checkpoint-(\d{6,})\.safetensors$/;

export interface CheckpointFile {
  /** As in its name; 0 for checkpoint.safetensors. A later save has a larger number. */
  readonly checkpoint: number;
  readonly path: string;
}

function nameOf(checkpoint: number): string {
  return `checkpoint-${String(checkpoint).padStart(6, '0')}.safetensors`;
}

/** The number of a file; undefined for a file that is no checkpoint. */
function numberOf(name: string): number | undefined {
  if (name === single) return 0;
  const number = Number(pattern.exec(name)?.[1]);
  return Number.isSafeInteger(number) && nameOf(number) === name && number > 0 ? number : undefined;
}

/** The checkpoints of a folder, the newest first; none if there is no folder. */
export async function checkpointsIn(op: string, folder: string): Promise<readonly CheckpointFile[]> {
  const listing = readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const names = await system(op, `folder ${quoted(folder)}`, 'a folder that can be read', listing);
  return names
    .flatMap((name) => {
      const checkpoint = numberOf(name);
      return checkpoint === undefined ? [] : [{ checkpoint, path: join(folder, name) }];
    })
    .sort((one, other) => other.checkpoint - one.checkpoint);
}

/** The path of the checkpoint that is not numbered. */
export function singleIn(folder: string): string {
  return join(folder, single);
}

/** Replaces checkpoint.safetensors. INVALID_ARGUMENT next to numbered ones, which would count as newer. */
export async function writeSingle(op: string, folder: string, fill: (file: Sink) => Promise<void>): Promise<void> {
  const newest = (await checkpointsIn(op, folder))[0]?.checkpoint ?? 0;
  if (newest > 0) {
    const expected = `a number, because folder ${quoted(folder)} has numbered checkpoints up to ${newest}`;
    fail('INVALID_ARGUMENT', op, 'options.keep', expected, 'undefined (another folder takes a single checkpoint)');
  }
  await writeAtomically(op, singleIn(folder), undefined, fill);
}

/** Writes the next numbered checkpoint. When it is whole and on the disk, removes numbered ones but for the newest `keep`. */
export async function writeNumbered(
  op: string,
  folder: string,
  keep: number,
  fill: (file: Sink) => Promise<void>,
): Promise<void> {
  const nextPath = async () => {
    const newest = (await checkpointsIn(op, folder))[0]?.checkpoint ?? 0;
    if (newest === Number.MAX_SAFE_INTEGER) {
      fail('INVALID_ARGUMENT', op, 'folder', 'one with room for another number', `${nameOf(newest)} in it`);
    }
    return join(folder, nameOf(newest + 1));
  };
  await writeNew(op, folder, nextPath, fill);
  const numbered = (await checkpointsIn(op, folder)).filter(({ checkpoint }) => checkpoint > 0);
  for (const { path } of numbered.slice(keep)) {
    const removing = unlink(path).catch((error: unknown) => {
      // Another process that saves into the folder may have removed it.
      if (systemCode(error) !== 'ENOENT') throw error;
    });
    await system(op, `path ${quoted(path)}`, 'a file that can be removed (the new checkpoint is saved)', removing);
  }
}
