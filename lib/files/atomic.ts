import { randomUUID } from 'node:crypto';
import { fsync } from 'node:fs';
import { type FileHandle, link, open, readlink, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { checkSignal, fail } from '../runtime/check.js';
import { quoted, system, systemCode } from './complaints.js';
import { patiently } from './patience.js';
import { checkRegular, chunkBytes, exists } from './readable.js';

/** Not FileHandle.sync, which does not exist under Yarn's Plug'n'Play. */
const sync = promisify(fsync);

/** A file that is written from its first byte to its last. */
export class Sink {
  readonly #op: string;
  readonly #where: string;
  readonly #handle: FileHandle;
  readonly #signal: AbortSignal | undefined;
  #at = 0;

  constructor(op: string, where: string, handle: FileHandle, signal: AbortSignal | undefined) {
    this.#op = op;
    this.#where = where;
    this.#handle = handle;
    this.#signal = signal;
  }

  /** Appends bytes. The caller must leave them as they are until the promise settles. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      checkSignal(this.#op, this.#signal);
      const call = this.#handle.write(bytes, done, Math.min(chunkBytes, bytes.length - done), this.#at);
      const { bytesWritten } = await system(this.#op, this.#where, 'to be written', call);
      done += bytesWritten;
      this.#at += bytesWritten;
    }
  }

  /** Fills `into` with bytes that were written before, from `position` on. */
  async read(into: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const call = this.#handle.read(into, done, into.length - done, position + done);
      const { bytesRead } = await system(this.#op, this.#where, 'to be read', call);
      if (bytesRead === 0)
        fail('NATIVE', this.#op, this.#where, `${into.length - done} bytes more`, 'the end of the file');
      done += bytesRead;
    }
  }
}

/**
 * Replaces the file at `path` by what `fill` writes. Readers see the old file or the new one, never a part of one, also if
 * the process or the machine stops: the bytes go to a temporary file in the same folder, which is renamed when they are on
 * the disk. If anything fails, or `signal` aborts, the temporary file is removed and the old file stays. A link at `path`
 * stays a link.
 */
export async function writeAtomically(
  op: string,
  path: string,
  signal: AbortSignal | undefined,
  fill: (file: Sink) => Promise<void>,
): Promise<void> {
  const where = `path ${quoted(path)}`;
  const { target, mode } = await targetOf(op, where, path);
  await writeThenPlace({ op, where, folder: dirname(target), mode, signal }, fill, (temporary) =>
    system(
      op,
      where,
      'a file that can be replaced',
      patiently(() => rename(temporary, target)),
    ),
  );
}

/**
 * Writes a new file of a folder in the same way, and never replaces one. `nextPath` gives its path, and is asked again if
 * another process has made a file of that path in between.
 */
export async function writeNew(
  op: string,
  folder: string,
  nextPath: () => Promise<string>,
  fill: (file: Sink) => Promise<void>,
): Promise<void> {
  const where = `folder ${quoted(folder)}`;
  await writeThenPlace({ op, where, folder, mode: undefined, signal: undefined }, fill, async (temporary) => {
    while (!(await placeNew(op, where, temporary, await nextPath())));
  });
}

/** What systems say that have no hard links. */
const cannotLink = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/** Gives a temporary file its path, unless there is a file: then returns false. */
async function placeNew(op: string, where: string, temporary: string, path: string): Promise<boolean> {
  try {
    // Unlike `rename`, `link` never replaces a file.
    await link(temporary, path);
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (code === 'EEXIST' || (cannotLink.includes(code) && (await exists(path)))) return false;
    const call = cannotLink.includes(code) ? patiently(() => rename(temporary, path)) : Promise.reject(error);
    await system(op, where, 'a folder that can be written', call);
    return true;
  }
  await unlink(temporary).catch(() => undefined);
  return true;
}

interface Placing {
  readonly op: string;
  readonly where: string;
  readonly folder: string;
  /** Permissions to keep. */
  readonly mode: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Fills a temporary file of a folder, waits until it is on the disk, and calls `place`, which gives it its name. */
async function writeThenPlace(
  { op, where, folder, mode, signal }: Placing,
  fill: (file: Sink) => Promise<void>,
  place: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryIn(folder);
  const handle = await system(op, where, 'a file that can be written', open(temporary, 'wx', mode));
  try {
    try {
      await fill(new Sink(op, where, handle, signal));
      if (mode !== undefined) await system(op, where, 'to keep its permissions', handle.chmod(mode));
      await system(op, where, 'to be written', sync(handle.fd));
    } finally {
      await handle.close();
    }
    checkSignal(op, signal);
    await place(temporary);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncFolder(op, where, folder);
}

/** Runs `body` with a scratch file in the folder of `path`. It has no name, so it is gone when the process is. */
export async function withScratch<T>(
  op: string,
  path: string,
  signal: AbortSignal | undefined,
  body: (file: Sink) => Promise<T>,
): Promise<T> {
  const where = `path ${quoted(path)}`;
  const { target } = await targetOf(op, where, path);
  const name = temporaryIn(dirname(target));
  const handle = await system(op, where, 'a file that can be written', open(name, 'wx+'));
  try {
    await system(op, where, 'a folder in which files can be removed', unlink(name));
    return await body(new Sink(op, where, handle, signal));
  } finally {
    await handle.close();
  }
}

/** A new name in a folder, for what is renamed or removed later. */
export function temporaryIn(folder: string): string {
  return join(folder, `.sigmatune-${randomUUID()}.tmp`);
}

/** Whether a name in a folder is one of `temporaryIn`. */
export function isTemporary(name: string): boolean {
  return /^\.sigmatune-[0-9a-f-]{36}\.tmp$/.test(name);
}

/** The file that links at `path` lead to, which need not exist, and its permissions if it does. */
async function targetOf(
  op: string,
  where: string,
  path: string,
): Promise<{ target: string; mode: number | undefined }> {
  let target = resolve(path);
  for (let links = 0; ; links++) {
    const next = await readlink(target).catch(() => undefined);
    if (next === undefined) break;
    if (links === 40) fail('INVALID_ARGUMENT', op, where, 'a file', 'a loop of links');
    target = resolve(dirname(target), next);
  }
  const stats = await stat(target).catch(() => undefined);
  if (stats !== undefined) checkRegular(op, where, stats);
  return { target, mode: stats && stats.mode & 0o7777 };
}

/** What systems say that cannot sync a folder. */
const cannotSync = ['EINVAL', 'ENOTSUP', 'EPERM', 'EISDIR', 'EACCES'];

/** Makes the names in a folder survive a crash of the machine. */
export async function syncFolder(op: string, where: string, folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await sync(handle.fd);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (cannotSync.includes(systemCode(error) ?? '')) return;
    await system(op, where, 'a folder that can be synced', Promise.reject(error));
  }
}
