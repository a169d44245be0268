// What adaptModel and decomposeModel have in common: their options, lanes, cache and progress.
import { FactorCache } from '../files/factor-cache.js';
import { decomposed, type Factors, readStorage } from '../linalg/decompose.js';
import { lanes } from '../linalg/svd.js';
import { checkSignal, reject } from '../runtime/check.js';
import { keep } from '../tensor/scope.js';
import type { Matrix } from '../tensor/tensor.js';
import type { Job } from './jobs.js';
import type { ModelOptions, Progress } from './plan.js';

/** The options of work on a whole model that are neither modules nor layers. */
export function readWork(
  op: string,
  { signal, onProgress, storage }: Pick<ModelOptions, 'signal' | 'onProgress' | 'storage'>,
) {
  checkSignal(op, signal);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  return { signal, onProgress, storage: readStorage(op, storage) };
}

/** The cache that an option names; INVALID_ARGUMENT for a folder that cannot be used. */
export async function cacheOf(op: string, cache: unknown): Promise<FactorCache | undefined> {
  return cache === undefined || FactorCache.is(cache) ? cache : FactorCache.open(op, 'options.cache', cache);
}

/** Factors for a layer, in its type and on its device, and whether they were in the cache. */
export async function factorsFor(
  op: string,
  matrix: Matrix,
  { device, storage }: Pick<Job, 'device' | 'storage'>,
  cache: FactorCache | undefined,
  signal: AbortSignal | undefined,
): Promise<{ readonly factors: Factors; readonly cached: boolean }> {
  const weight = keep(matrix.on(op, device));
  const none = { driver: undefined, rank: undefined, onProgress: undefined };
  const given = { weight, storage, signal, ...none };
  try {
    return (await cache?.find(op, given)) ?? { factors: await decomposed(op, given), cached: false };
  } finally {
    weight.dispose();
  }
}

/** Bytes of a module in its weight, as that is stored. */
export function storedBytes({ chosen, weight }: Job): number {
  const { rows, columns } = chosen.module.block;
  return (weight.bytes / weight.size) * rows * columns;
}

/** Counts modules that are done. */
export class Progression {
  readonly #of: number;
  readonly #ofWeightBytes: number;
  #modules = 0;
  #weightBytes = 0;

  constructor(jobs: readonly Job[]) {
    this.#of = jobs.length;
    this.#ofWeightBytes = jobs.reduce((sum, job) => sum + storedBytes(job), 0);
  }

  /** One more; `bytes` are those of what was made of it. */
  after(job: Job, bytes: number, cached: boolean): Progress {
    this.#modules += 1;
    this.#weightBytes += storedBytes(job);
    return {
      modules: this.#modules,
      of: this.#of,
      name: job.chosen.module.name,
      bytes,
      cached,
      weightBytes: this.#weightBytes,
      ofWeightBytes: this.#ofWeightBytes,
    };
  }
}

/**
 * Runs `work` on each item, as many at a time as decompositions run. Rejects with the first failure, once nothing runs any
 * more. `hasFailed` tells the work of one item that another one has failed.
 */
export async function inLanes<T>(
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T, hasFailed: () => boolean) => Promise<void>,
): Promise<void> {
  const waiting = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failed = false;
  const lane = async () => {
    while (!failed) {
      try {
        const { value, done } = await waiting.next();
        if (done || failed) return;
        await work(value, () => failed);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: lanes.most }, lane));
  const first = settled.find((outcome) => outcome.status === 'rejected');
  if (first !== undefined) throw first.reason;
}
