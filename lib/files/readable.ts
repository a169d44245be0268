import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { checkSignal, fail } from '../runtime/check.js';
import { corrupt, quoted, system } from './complaints.js';

/** Bytes of one call of the system. The signal is checked between two calls. */
export const chunkBytes = 2 ** 24;

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** INVALID_ARGUMENT for what is no regular file. */
export function checkRegular(op: string, where: string, stats: Stats): void {
  if (stats.isFile()) return;
  fail('INVALID_ARGUMENT', op, where, 'a file', stats.isDirectory() ? 'a folder' : 'a device, a pipe or a socket');
}

/** A regular file that is read at any position. */
export class ReadableFile {
  readonly path: string;
  /** The size when the file was opened. */
  readonly bytes: number;
  readonly #handle: FileHandle;

  private constructor(path: string, bytes: number, handle: FileHandle) {
    this.path = path;
    this.bytes = bytes;
    this.#handle = handle;
  }

  /** `path` as an error names it. */
  static async open(op: string, path: string): Promise<ReadableFile> {
    const where = `path ${quoted(path)}`;
    // Without O_NONBLOCK a named pipe would wait for a writer.
    const handle = await system(
      op,
      where,
      'a file that can be read',
      open(path, constants.O_RDONLY | constants.O_NONBLOCK),
    );
    try {
      const stats = await system(op, where, 'a file that can be read', handle.stat());
      checkRegular(op, where, stats);
      return new ReadableFile(path, stats.size, handle);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Fills `into` with the bytes from `position` on. CORRUPT_FILE if the file has become shorter. */
  async read(op: string, into: Uint8Array, position: number, signal?: AbortSignal): Promise<void> {
    for (let done = 0; done < into.length; ) {
      checkSignal(op, signal);
      const wanted = Math.min(chunkBytes, into.length - done);
      const call = this.#handle.read(into, done, wanted, position + done);
      const { bytesRead } = await system(op, quoted(this.path), 'to be read', call);
      if (bytesRead === 0) {
        const end = position + into.length;
        corrupt(op, this.path, undefined, `${end} bytes at least`, `${position + done}: it became shorter while open`);
      }
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
