// The decompositions of a model's matrices into a cache, all of them or a share.
import type { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import { type ByName, reject } from '../runtime/check.js';
import type { Matrix } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { type Job, prepared } from './jobs.js';
import { matrixOf } from './parts.js';
import { chosenModules, type ModelOptions, naming } from './plan.js';
import { Loans, readSource } from './source.js';
import { cacheOf, factorsFor, inLanes, Progression, readWork } from './work.js';

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

/** The matrices to decompose, each once, and where the factors are kept. */
export interface Decompositions {
  readonly jobs: readonly Job[];
  readonly cache: FactorCache;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ModelOptions['onProgress'];
}

/** What `adaptModel` would decompose with these options, which are read. */
export async function decompositionsOf(
  op: string,
  weights: ByName<TensorLike> | SafetensorsFile,
  given: ModelOptions,
): Promise<Decompositions> {
  const { signal, onProgress, storage } = readWork(op, given);
  if (given.cache === undefined) reject(op, 'options.cache', 'a folder or a FactorCache', given.cache);
  const source = readSource(op, weights);
  const { chosen } = chosenModules(op, [...source.values()], given);
  const jobs = chosen.map((each) => prepared(op, each, source, new Map(), storage));
  // Tied weights have one place, whatever becomes of them.
  const byPlace = new Map(jobs.toReversed().map((job) => [[job.place, job.device, job.storage].join(), job]));
  const once = new Set(byPlace.values());
  const cache = (await cacheOf(op, given.cache)) as FactorCache;
  return { jobs: jobs.filter((job) => once.has(job)), cache, signal, onProgress };
}

/** Multiplications of a decomposition, up to a factor. */
export function costOf({ chosen }: Job): number {
  const { out, in: inFeatures } = chosen.module;
  return out * inFeatures * Math.min(out, inFeatures);
}

/** Decomposes the jobs with these numbers. Returns a row for each, by its number. */
export async function decomposeShare(
  op: string,
  { jobs, cache, signal, onProgress }: Decompositions,
  numbers: readonly number[] | AsyncIterable<number>,
): Promise<ReadonlyMap<number, DecomposedRow>> {
  const loans = new Loans();
  const isKnown = Array.isArray(numbers);
  // A weight of several jobs stays in memory for all that are known.
  if (isKnown) for (const number of numbers) loans.announce((jobs[number] as Job).weight);
  const progress = new Progression(jobs);
  const rows = new Map<number, DecomposedRow>();
  try {
    await inLanes(numbers, async (number, hasFailed) => {
      const job = jobs[number] as Job;
      if (!isKnown) loans.announce(job.weight);
      const { name, out, in: inFeatures } = job.chosen.module;
      const row = await decomposedRow(op, job, loans, cache, signal).catch((error) => {
        throw naming(op, name, error);
      });
      rows.set(number, { name, out, in: inFeatures, ...row });
      if (!hasFailed()) onProgress?.(progress.after(job, row.bytes, row.cached));
    });
  } finally {
    await loans.close();
  }
  return rows;
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
