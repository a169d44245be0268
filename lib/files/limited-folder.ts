// A folder of files with a limit on their bytes: the files that were not used for the longest time make room for new ones.
// Several processes may use it at once, so any file may be gone at any time.
import { mkdir, readdir, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { isTemporary } from './atomic.js';
import { quoted, system, systemCode } from './complaints.js';

interface StoredFile {
  readonly path: string;
  readonly bytes: number;
  /** When it was last used, in milliseconds. */
  readonly used: number;
}

/** Milliseconds after which a temporary file belongs to no process that still writes it. */
const abandonedAfter = 24 * 3600 * 1000;

export class LimitedFolder {
  readonly path: string;
  /** Infinity for no limit. */
  readonly maxBytes: number;
  readonly #counts: (name: string) => boolean;

  private constructor(path: string, maxBytes: number, counts: (name: string) => boolean) {
    this.path = path;
    this.maxBytes = maxBytes;
    this.#counts = counts;
  }

  /** Makes the folder if there is none. `counts` tells its files by their names from those of others. */
  static async open(
    op: string,
    argument: string,
    path: string,
    maxBytes: number,
    counts: (name: string) => boolean,
  ): Promise<LimitedFolder> {
    const expected = 'a folder, or a path at which one can be made';
    await system(op, `${argument} ${quoted(path)}`, expected, mkdir(path, { recursive: true }));
    const folder = new LimitedFolder(path, maxBytes, counts);
    await folder.#removeAbandoned(op);
    await folder.makeRoom(op, 0);
    return folder;
  }

  async usage(op: string): Promise<{ readonly entries: number; readonly bytes: number }> {
    const files = await this.#files(op, this.#counts);
    return { entries: files.length, bytes: sumOf(files) };
  }

  /** Marks a file as used now. In a folder that is read-only for this process it stays as it is. */
  async touch(name: string): Promise<void> {
    const now = new Date();
    await utimes(join(this.path, name), now, now).catch(() => undefined);
  }

  /** Removes the files that were not used for the longest time, until `bytes` more fit. */
  async makeRoom(op: string, bytes: number): Promise<void> {
    if (this.maxBytes === Infinity) return;
    const files = await this.#files(op, this.#counts);
    files.sort((a, b) => a.used - b.used);
    let sum = sumOf(files) + bytes;
    for (const file of files) {
      if (sum <= this.maxBytes) return;
      await remove(op, file);
      sum -= file.bytes;
    }
  }

  async clear(op: string): Promise<void> {
    for (const file of await this.#files(op, this.#counts)) await remove(op, file);
    await this.#removeAbandoned(op);
  }

  /** Temporary files of processes that were killed. */
  async #removeAbandoned(op: string): Promise<void> {
    const before = Date.now() - abandonedAfter;
    for (const file of await this.#files(op, isTemporary)) if (file.used < before) await remove(op, file);
  }

  async #files(op: string, counts: (name: string) => boolean): Promise<StoredFile[]> {
    const where = `folder ${quoted(this.path)}`;
    const names = await system(op, where, 'a folder that can be read', readdir(this.path));
    const files = names.filter(counts).map(async (name): Promise<StoredFile[]> => {
      const path = join(this.path, name);
      const stats = await stat(path).catch(() => undefined);
      return stats === undefined ? [] : [{ path, bytes: stats.size, used: stats.mtimeMs }];
    });
    return (await Promise.all(files)).flat();
  }
}

const sumOf = (files: readonly StoredFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0);

async function remove(op: string, { path }: StoredFile): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    await system(op, quoted(path), 'a file that can be removed', Promise.reject(error));
  }
}
