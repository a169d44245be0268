import { join, resolve } from 'node:path';
import {
  type DecomposeOptions,
  type Decomposition,
  decomposed,
  type Factors,
  readDecomposition,
  type Storage,
} from '../linalg/decompose.js';
import { checkInteger, checkOptions } from '../runtime/check.js';
import { renamed, SigmaError } from '../runtime/errors.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { MatrixDType } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';
import { quoted, systemCode } from './complaints.js';
import { entryBytes, keyOf, readEntry, writeEntry } from './factor-entry.js';
import { LimitedFolder } from './limited-folder.js';
import { checkHost, checkPath } from './safetensors.js';

export interface FactorCacheOptions {
  /**
   * The most bytes of all entries together. The entries that were not used for the longest time make room for new ones, and
   * factors that are larger alone are not kept. Default: no limit.
   */
  maxBytes?: number;
}

const described = { name: 'FactorCache', instead: 'the path of its folder' };
const cloning = uncloneable(described);

export const isEntry = (name: string) => /^[0-9a-f]{64}\.safetensors$/.test(name);

/**
 * A folder with the factors of weights, made by `openFactorCache`. Any number of processes may use one folder at once. The
 * object keeps no file open, so it needs no `close`.
 */
export class FactorCache {
  static {
    publish<FactorCache>(FactorCache, {
      ...described,
      isOwn: (value) => #folder in value,
      print: (cache) => cache.#print(),
    });
  }

  /** @internal */
  readonly cloning = cloning;
  readonly #folder: LimitedFolder;
  #hits = 0;
  #misses = 0;

  private constructor(folder: LimitedFolder) {
    this.#folder = folder;
  }

  /** @internal */
  static async open(op: string, argument: string, path: unknown, maxBytes = Infinity): Promise<FactorCache> {
    checkHost(op);
    // The program may change its working directory later.
    const folder = resolve(checkPath(op, argument, path));
    return new FactorCache(await LimitedFolder.open(op, argument, folder, maxBytes, isEntry));
  }

  /** @internal A cache made here, and not an object that merely inherits from one. */
  static is(value: unknown): value is FactorCache {
    return typeof value === 'object' && value !== null && #folder in value;
  }

  /** The absolute path of the folder. */
  get folder(): string {
    return this.#folder.path;
  }

  /** The limit of all entries together; Infinity for none. */
  get maxBytes(): number {
    return this.#folder.maxBytes;
  }

  /** How many decompositions this object has read from the folder. */
  get hits(): number {
    return this.#hits;
  }

  /** How many decompositions this object has computed, because the folder had no entry or a damaged one. */
  get misses(): number {
    return this.#misses;
  }

  /**
   * `decompose`, but factors that are in the folder are read instead of computed, with the same bits and the same `error`.
   * Computed factors are written to the folder before the promise settles. A damaged entry is computed again and replaced.
   *
   * @param weight [out, in], or as it is stored: its bits, type and shape are the key. Do not write it until the promise
   * settles; factors of a weight that was written meanwhile are not kept
   * @throws SigmaError (as a rejection) as `decompose` does, and INVALID_ARGUMENT or NATIVE if the folder cannot be read or
   * written (the system's error is the detail)
   * @example
   * const cache = await openFactorCache('factors');
   * using factors = await cache.decompose(weight); // computed once, by whichever process is the first
   * const layer = await svft(weight, { factors });
   */
  decompose<D extends MatrixDType, S extends Storage = D>(
    weight: Tensor<D>,
    options?: DecomposeOptions & { storage?: S },
  ): Promise<Factors<Extract<S, MatrixDType>>>;
  async decompose(weight: Matrix, options?: DecomposeOptions): Promise<Factors> {
    const op = 'FactorCache.decompose';
    return (await this.find(op, readDecomposition(op, weight, options))).factors;
  }

  /** @internal The same for another function, and whether the factors were in the folder. */
  async find(op: string, given: Decomposition): Promise<{ readonly factors: Factors; readonly cached: boolean }> {
    // The caller may dispose the weight meanwhile.
    const weight = keep(given.weight.share());
    const own = { ...given, weight };
    try {
      const key = await keyOf(op, own);
      const found = await this.#read(op, key, own);
      const factors = found ?? (await decomposed(op, own));
      if (found === undefined) this.#misses += 1;
      else this.#hits += 1;
      try {
        if (found === undefined) await this.#keep(op, key, own, factors);
        else given.onProgress?.(1, 1);
      } catch (error) {
        factors.dispose();
        throw error;
      }
      return { factors, cached: found !== undefined };
    } catch (error) {
      throw renamed(error, op);
    } finally {
      weight.dispose();
    }
  }

  /** undefined if there is no entry, or a damaged one. */
  async #read(op: string, key: string, given: Decomposition): Promise<Factors | undefined> {
    const name = nameOf(key);
    try {
      const factors = await readEntry(op, join(this.folder, name), key, given);
      await this.#folder.touch(name);
      return factors;
    } catch (error) {
      const isAbsent = error instanceof SigmaError && systemCode(error.detail) === 'ENOENT';
      const isDamaged = error instanceof SigmaError && error.code === 'CORRUPT_FILE';
      if (!isAbsent && !isDamaged) throw error;
      return undefined;
    }
  }

  async #keep(op: string, key: string, given: Decomposition, factors: Factors): Promise<void> {
    const bytes = entryBytes(factors);
    if (bytes > this.maxBytes) return;
    // Factors of other numbers than the key's would be wrong for every later run.
    if ((await keyOf(op, given)) !== key) return;
    await this.#folder.makeRoom(op, bytes);
    await writeEntry(op, join(this.folder, nameOf(key)), key, factors, given.signal);
    // Another process may have written an entry at the same time.
    await this.#folder.makeRoom(op, 0);
  }

  /**
   * Counts the entries, also those of other processes.
   *
   * @throws SigmaError (as a rejection) INVALID_ARGUMENT or NATIVE if the folder cannot be read
   * @example
   * const { entries, bytes } = await cache.usage();
   */
  async usage(): Promise<{ readonly entries: number; readonly bytes: number }> {
    return this.#folder.usage('FactorCache.usage');
  }

  /**
   * Removes all entries. Factors that were read from them stay valid, and other files in the folder stay.
   *
   * @throws SigmaError (as a rejection) INVALID_ARGUMENT or NATIVE if the folder cannot be read or written
   * @example
   * await cache.clear();
   */
  async clear(): Promise<void> {
    await this.#folder.clear('FactorCache.clear');
  }

  #print(): string {
    const { maxBytes } = this;
    const limit = maxBytes === Infinity ? 'no limit' : `at most ${maxBytes} bytes`;
    return `FactorCache ${quoted(this.folder)}, ${limit}, ${this.#hits} hits, ${this.#misses} misses`;
  }
}

function nameOf(key: string): string {
  return `${key}.safetensors`;
}

/**
 * Opens a cache of factors in a folder, which is made if there is none. Factors are found by the bits, type and shape of the
 * weight and by `storage`, `rank`, `driver` and the kind of device; no name or path matters. Only programs that you trust
 * should be able to write the folder. docs/files.md describes the entries.
 *
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, also for a folder that cannot be made or read (the system's error is
 * the detail), NATIVE for a broken disk, UNSUPPORTED on a big-endian host
 * @example
 * const cache = await openFactorCache('factors', { maxBytes: 50e9 });
 * using factors = await cache.decompose(weight);
 * console.log(await cache.usage()); // { entries: 1, bytes: … }
 */
export async function openFactorCache(folder: string, options?: FactorCacheOptions): Promise<FactorCache> {
  const op = 'openFactorCache';
  const { maxBytes = Infinity } = checkOptions(op, 'options', options, ['maxBytes']);
  if (maxBytes !== Infinity) checkInteger(op, 'options.maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
  return FactorCache.open(op, 'folder', folder, maxBytes);
}
