import { checkChoice, checkInteger, checkOptions, checkSignal, describe, fail, reject } from '../check.js';
import { threads } from '../device.js';
import { SigmaError } from '../errors.js';
import { native, type RealArray, type SvdProblem } from '../native.js';
import { allocate, type Real } from '../tensor/dtype.js';
import { checkReal, memoryOf } from '../tensor/operand.js';
import { Tensor } from '../tensor/tensor.js';

const op = 'svd';

/** In the order of native/backend.h. */
const drivers = ['auto', 'gesdd', 'gesvd', 'gesvdj', 'gesvdp', 'gram64'] as const;

/** A thin SVD A = u · diag(s) · vt. */
export interface Svd<D extends Real = Real> {
  readonly u: Tensor<D>;
  readonly s: Tensor<D>;
  readonly vt: Tensor<D>;
}

export interface SvdOptions {
  /** 'auto' is the fastest that meets the accuracy contract; the others name one routine. */
  driver?: (typeof drivers)[number];
  /** Keep so many singular triples, the largest. */
  rank?: number;
  /** Stops between matrices. */
  signal?: AbortSignal;
  /** Called when matrices are done. */
  onProgress?: (done: number, total: number) => void;
}

/** One matrix to decompose, and where its results go. */
interface Job {
  readonly name: string;
  readonly a: RealArray;
  readonly rows: number;
  readonly columns: number;
  /** Thin rank min(rows, columns), and what is kept of it. */
  readonly thin: number;
  readonly rank: number;
  readonly u: RealArray;
  readonly s: RealArray;
  readonly vt: RealArray;
}

/**
 * Thin SVD, s descending, u and vt orthonormal; in each pair of singular vectors the entry of u with the largest
 * magnitude (the first of equals) is positive, so devices agree. Takes one matrix [m, n] (u [m, r], s [r], vt [r, n]),
 * a stack [b, m, n] (each result with the batch axis first), or a list of matrices of any shapes (a list of results).
 * Runs off the event loop; the input is copied when its turn comes.
 *
 * @throws SigmaError (as a rejection) NON_FINITE, NOT_CONVERGED, ABORTED, UNSUPPORTED, SHAPE_MISMATCH, DTYPE_MISMATCH
 * @example
 * const { u, s, vt } = await svd(tensor([[3, 0], [0, 2]]));
 */
export function svd<D extends Real>(a: Tensor<D>, options?: SvdOptions): Promise<Svd<D>>;
export function svd<D extends Real>(a: readonly Tensor<D>[], options?: SvdOptions): Promise<Svd<D>[]>;
export async function svd(a: Tensor<Real> | readonly Tensor<Real>[], options?: SvdOptions): Promise<Svd | Svd[]> {
  const given = checkOptions(op, 'options', options, ['driver', 'rank', 'signal', 'onProgress']);
  const driver = drivers.indexOf(checkChoice(op, 'options.driver', given.driver ?? 'auto', drivers));
  const { onProgress } = given;
  if (onProgress !== undefined && typeof onProgress !== 'function')
    reject(op, 'options.onProgress', 'a function', onProgress);
  checkSignal(op, given.signal);

  if (Array.isArray(a)) {
    const inputs = a.map((each, i) => checkReal(op, `a[${i}]`, each, { shape: [null, null] }));
    for (const [i, input] of inputs.entries())
      checkReal(op, `a[${i}]`, input, { dtype: (inputs[0] as Tensor<Real>).dtype });
    const batches = inputs.map((input, i) => new Batch(`a[${i}]`, input, given.rank));
    await run(
      driver,
      batches.flatMap((batch) => batch.jobs),
      given,
    );
    return batches.map((batch) => batch.result());
  }
  const input = checkReal(op, 'a', a);
  if (input.shape.length !== 2 && input.shape.length !== 3) {
    fail('SHAPE_MISMATCH', op, 'a', 'shape [m, n] or [b, m, n]', describe([...input.shape]));
  }
  const batch = new Batch('a', input, given.rank);
  await run(driver, batch.jobs, given);
  return batch.result();
}

/** A matrix or a stack: its jobs write into the arrays of its one result. */
class Batch {
  readonly jobs: Job[] = [];
  readonly #dtype: Real;
  readonly #leading: readonly number[];
  readonly #arrays: { u: RealArray; s: RealArray; vt: RealArray };
  readonly #shape: { m: number; n: number; r: number };

  constructor(name: string, input: Tensor<Real>, wanted: number | undefined) {
    const [n, m, count = 1] = input.shape.toReversed() as [number, number, number?];
    const thin = Math.min(m, n);
    const r = wanted === undefined ? thin : checkInteger(op, 'options.rank', wanted, 1, thin);
    const array = (size: number) => allocate(op, input.dtype, size) as RealArray;
    const memory = memoryOf(op, name, input);
    this.#dtype = input.dtype;
    this.#leading = input.shape.slice(0, -2);
    this.#shape = { m, n, r };
    this.#arrays = { u: array(count * m * r), s: array(count * r), vt: array(count * r * n) };
    const { u, s, vt } = this.#arrays;
    for (let i = 0; i < count; i++) {
      this.jobs.push({
        name: this.#leading.length > 0 ? `${name}[${i}]` : name,
        a: part(memory, i, m * n),
        rows: m,
        columns: n,
        thin,
        rank: r,
        u: part(u, i, m * r),
        s: part(s, i, r),
        vt: part(vt, i, r * n),
      });
    }
  }

  result(): Svd {
    const { m, n, r } = this.#shape;
    const make = (array: RealArray, shape: readonly number[]) =>
      Tensor.make(op, this.#dtype, array as never, [...this.#leading, ...shape]) as Tensor<Real>;
    return {
      u: make(this.#arrays.u, [m, r]),
      s: make(this.#arrays.s, [r]),
      vt: make(this.#arrays.vt, [r, n]),
    };
  }
}

function part(array: RealArray, index: number, size: number): RealArray {
  return array.subarray(index * size, (index + 1) * size);
}

/** Calls in flight at once: while one ends the other keeps the threads busy. */
const lanes = 2;
/** A call should hold at least this much work, some milliseconds, so that small matrices share its cost. */
const leastFlops = 2e7;

/** Groups of consecutive jobs, each for one native call: enough to fill this lane's share of the threads. */
function* groups(jobs: readonly Job[]): Generator<readonly Job[]> {
  const matrices = Math.max(1, Math.ceil(threads() / lanes));
  let start = 0;
  while (start < jobs.length) {
    let end = start;
    let flops = 0;
    while (end < jobs.length && (end - start < matrices || flops < leastFlops)) {
      const { rows, columns, thin } = jobs[end++] as Job;
      flops += 20 * rows * columns * thin;
    }
    yield jobs.slice(start, end);
    start = end;
  }
}

/** Runs every job, or rejects once nothing is in flight any more. */
async function run(driver: number, jobs: readonly Job[], { signal, onProgress }: SvdOptions): Promise<void> {
  const waiting = groups(jobs);
  let done = 0;
  let failed = false;
  const lane = async () => {
    for (const group of waiting) {
      if (failed) return;
      checkSignal(op, signal);
      await decompose(driver, group);
      done += group.length;
      if (!failed) onProgress?.(done, jobs.length);
    }
  };
  const guarded = () =>
    lane().catch((error: unknown) => {
      failed = true;
      throw error;
    });
  const settled = await Promise.allSettled(Array.from({ length: Math.min(lanes, threads()) }, guarded));
  const first = settled.find((outcome) => outcome.status === 'rejected');
  if (first !== undefined) throw first.reason;
  checkSignal(op, signal);
}

async function decompose(driver: number, group: readonly Job[]): Promise<void> {
  const problems = group.map(problemOf);
  try {
    await native.svd(driver, problems);
  } catch (error) {
    throw named(error, driver, group);
  }
  for (const [i, job] of group.entries()) keepRank(job, problems[i] as SvdProblem);
}

/** The native call writes all thin triples; where only some are kept it writes beside the result. */
function problemOf(job: Job): SvdProblem {
  const { a, rows, columns, thin, rank } = job;
  if (a.length !== rows * columns)
    fail('INVALID_ARGUMENT', op, job.name, 'a buffer that stays attached', 'a detached one');
  if (rank === thin) return { a, u: job.u, s: job.s, vt: job.vt, rows, columns };
  const dtype = a instanceof Float64Array ? 'float64' : 'float32';
  const array = (size: number) => allocate(op, dtype, size);
  return { a, u: array(rows * thin), s: array(thin), vt: array(thin * columns), rows, columns };
}

function keepRank({ rows, columns, thin, rank, ...to }: Job, from: SvdProblem): void {
  if (rank === thin) return;
  for (let i = 0; i < rows; i++) to.u.set(from.u.subarray(i * thin, i * thin + rank), i * rank);
  to.s.set(from.s.subarray(0, rank));
  to.vt.set(from.vt.subarray(0, rank * columns));
}

/** The native side counts within its call; the caller knows the matrix by name. */
function named(error: unknown, driver: number, group: readonly Job[]): unknown {
  if (!(error instanceof SigmaError) || typeof error.detail !== 'number') return error;
  const message = error.message.slice(`${error.op}: `.length);
  if (error.code === 'UNSUPPORTED')
    return new SigmaError(error.code, op, `options.driver: ${message}, got '${drivers[driver]}'`);
  return new SigmaError(error.code, op, `${group[error.detail]?.name}: ${message}`);
}
