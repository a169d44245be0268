import { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import { decomposed, type Factors, readStorage } from '../linalg/decompose.js';
import { checkOptions, checkSignal, reject } from '../runtime/check.js';
import { keep } from '../tensor/scope.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';
import { firstOfTied, type Job, prepared } from './jobs.js';
import { inLanes } from './lanes.js';
import { matrixOf } from './parts.js';
import { chosenModules, type ModelOptions, naming, type Progress } from './plan.js';
import { Loans, readSource } from './source.js';

/** The cache that an option names; INVALID_ARGUMENT for a folder that cannot be used. */
export async function cacheOf(op: string, cache: unknown): Promise<FactorCache | undefined> {
  return cache === undefined || FactorCache.is(cache) ? cache : FactorCache.open(op, 'options.cache', cache);
}

/** Factors for a layer, in its type and on its device, and whether they were in the cache. */
export async function factorsFor(
  op: string,
  matrix: Matrix,
  { device, dtype }: Pick<Job, 'device' | 'dtype'>,
  cache: FactorCache | undefined,
  signal: AbortSignal | undefined,
): Promise<{ readonly factors: Factors; readonly cached: boolean }> {
  const weight = keep(matrix.on(op, device));
  const none = { driver: undefined, rank: undefined, onProgress: undefined };
  const given = { weight, storage: dtype, signal, ...none };
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

export interface DecomposeModelOptions
  extends Pick<ModelOptions, 'targets' | 'exclude' | 'layout' | 'split' | 'storage' | 'signal' | 'onProgress'> {
  /** A folder, or an open cache, that keeps the factors. */
  cache: string | FactorCache;
}

const optionNames = [
  'targets',
  'exclude',
  'layout',
  'split',
  'storage',
  'cache',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof DecomposeModelOptions)[];

/** A decomposed module, as `console.table` shows it. */
export interface DecomposedRow {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  /** Of U, σ and Vᵀ. */
  readonly bytes: number;
  /** As `Factors.error` has them. */
  readonly residual: number;
  readonly orthogonality: number;
  /** Whether the factors were in the cache. */
  readonly cached: boolean;
}

/**
 * Decomposes the matrices of a model into a cache, two at a time, and keeps none of them in memory. `adaptModel` with the same
 * `cache` and `storage` then reads the factors. A run that was stopped, or killed, goes on where it was.
 *
 * @param weights an open file, of which each weight is read when its turn comes, or tensors by name, as `adaptModel` takes them
 * @returns a row for each module, in the order of the weights
 * @throws SigmaError (as a rejection) that names the module; what is in the cache stays there
 * @example
 * const file = await openSafetensors('model.safetensors');
 * console.table(await decomposeModel(file, { targets: ['q_proj', 'v_proj'], cache: 'factors' }));
 */
export async function decomposeModel(
  weights: Readonly<Record<string, Tensor>> | SafetensorsFile,
  options: DecomposeModelOptions,
): Promise<readonly DecomposedRow[]> {
  const op = 'decomposeModel';
  const { cache: place, ...given } = checkOptions(op, 'options', options, optionNames);
  const { signal, onProgress, storage } = readWork(op, given);
  if (place === undefined) reject(op, 'options.cache', 'a folder or a FactorCache', place);
  const source = readSource(op, weights);
  // A family is of no account here: it only makes layers.
  const { chosen } = chosenModules(op, [...source.values()], { ...given, family: 'svdiff' });
  const jobs = [...new Set(firstOfTied(chosen.map((each) => prepared(op, each, source, new Map(), storage))))];
  const cache = await cacheOf(op, place);
  const loans = new Loans();
  for (const { weight } of jobs) loans.announce(weight);
  const progress = new Progression(jobs);
  const rows = new Map<Job, DecomposedRow>();
  try {
    await inLanes(jobs, async (job, hasFailed) => {
      checkSignal(op, signal);
      const { name, out, in: inFeatures } = job.chosen.module;
      const row = await decomposedRow(op, job, loans, cache, signal).catch((error) => {
        throw naming(op, name, error);
      });
      rows.set(job, { name, out, in: inFeatures, ...row });
      if (!hasFailed()) onProgress?.(progress.after(job, row.bytes, row.cached));
    });
  } finally {
    await loans.close();
  }
  return jobs.map((job) => rows.get(job) as DecomposedRow);
}

async function decomposedRow(
  op: string,
  job: Job,
  loans: Loans,
  cache: FactorCache | undefined,
  signal: AbortSignal | undefined,
): Promise<Omit<DecomposedRow, 'name' | 'out' | 'in'>> {
  const whole = (await loans.borrow(op, job.weight, signal)) as Matrix;
  const matrix = keep(matrixOf(op, whole, job.chosen.module));
  try {
    const { factors, cached } = await factorsFor(op, matrix, job, cache, signal);
    const { bytes, error } = factors;
    factors.dispose();
    return { bytes, ...error, cached };
  } finally {
    if (matrix !== whole) matrix.dispose();
    await loans.giveBack(job.weight);
  }
}

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
