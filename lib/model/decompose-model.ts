import type { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import { type ByName, checkOptions, checkSignal, reject } from '../runtime/check.js';
import type { Device } from '../runtime/device.js';
import type { Matrix } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { firstOfTied, type Job, prepared } from './jobs.js';
import { matrixOf } from './parts.js';
import { chosenModules, type ModelOptions, naming } from './plan.js';
import { Loans, readSource } from './source.js';
import { cacheOf, factorsFor, inLanes, Progression, readWork } from './work.js';

export interface DecomposeModelOptions
  extends Pick<ModelOptions, 'targets' | 'exclude' | 'layout' | 'split' | 'storage' | 'signal' | 'onProgress'> {
  /** A folder, or an open cache, that keeps the factors. */
  cache: string | FactorCache;
  /**
   * Where the decompositions run. Give the device of the later layers: the CPU's factors are not found for layers on a CUDA device,
   * and the reverse. Default: the CPU for a file, the weights' device for tensors.
   */
  device?: Device;
}

const optionNames = [
  'targets',
  'exclude',
  'layout',
  'split',
  'storage',
  'cache',
  'device',
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
 * @returns a row for each module, in the order of the weights; of tied weights (two names of one memory) for the first
 * @throws SigmaError (as a rejection) that names the module; what is in the cache stays there
 * @example
 * const file = await openSafetensors('model.safetensors');
 * console.table(await decomposeModel(file, { targets: ['q_proj', 'v_proj'], cache: 'factors' }));
 */
export async function decomposeModel(
  weights: ByName<TensorLike> | SafetensorsFile,
  options: DecomposeModelOptions,
): Promise<readonly DecomposedRow[]> {
  const op = 'decomposeModel';
  const given = checkOptions(op, 'options', options, optionNames);
  const { signal, onProgress, storage } = readWork(op, given);
  if (given.cache === undefined) reject(op, 'options.cache', 'a folder or a FactorCache', given.cache);
  const source = readSource(op, weights);
  // Modules are chosen for a family, but the factors are the same for all.
  const { device } = given;
  const ofModules = device === undefined ? {} : { device };
  const { chosen } = chosenModules(
    op,
    [...source.values()],
    Object.assign(given, { family: 'svdiff' as const, options: ofModules }),
  );
  const jobs = [...new Set(firstOfTied(chosen.map((each) => prepared(op, each, source, new Map(), storage))))];
  const cache = await cacheOf(op, given.cache);
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
  const matrix = matrixOf(op, whole, job.chosen.module);
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
