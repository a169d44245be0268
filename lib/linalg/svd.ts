import { checkChoice, checkInteger, checkOptions, checkSignal, describe, fail, reject } from '../check.js';
import { threads } from '../device.js';
import { SigmaError } from '../errors.js';
import { native, type RealArray, type SvdProblem } from '../native.js';
import { allocate, dtypeOf, type Real } from '../tensor/dtype.js';
import { checkReal, memoryOf } from '../tensor/operand.js';
import { Tensor } from '../tensor/tensor.js';
import { Lanes } from './lanes.js';
import { copyTriples } from './triples.js';

const optionNames = ['driver', 'rank', 'signal', 'onProgress'] as const;

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

/**
 * Native calls in flight at once, over all calls of svd: while one ends the other keeps the threads busy, and most of
 * libuv's four threads stay free for the rest of the program. With `setThreads(1)` it is one.
 */
const lanes = new Lanes(() => Math.min(2, threads()));

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
 * Runs off the event loop. Each matrix is copied when its turn comes: until the promise settles a tensor may be disposed,
 * but its numbers should stay as they are.
 *
 * @throws SigmaError (as a rejection) NON_FINITE, NOT_CONVERGED, ABORTED, UNSUPPORTED, SHAPE_MISMATCH, DTYPE_MISMATCH
 * @example
 * const { u, s, vt } = await svd(tensor([[3, 0], [0, 2]]));
 */
export function svd<D extends Real>(a: Tensor<D>, options?: SvdOptions): Promise<Svd<D>>;
export function svd<D extends Real>(a: readonly Tensor<D>[], options?: SvdOptions): Promise<Svd<D>[]>;
export async function svd(a: Tensor<Real> | readonly Tensor<Real>[], options?: SvdOptions): Promise<Svd | Svd[]> {
  const op = 'svd';
  if (!Array.isArray(a)) return thinSvd(op, 'a', a as Tensor<Real>, options);
  const plan = readOptions(op, options);
  const inputs = a.map((each, i) => checkReal(op, `a[${i}]`, each, { shape: [null, null] }));
  const dtype = inputs[0]?.dtype;
  for (const [i, input] of inputs.entries()) checkReal(op, `a[${i}]`, input, dtype && { dtype });
  const batches = inputs.map((input, i) => new Batch(op, `a[${i}]`, input, plan.rank));
  const jobs = batches.flatMap((batch) => batch.jobs);
  await run(op, jobs, plan);
  return batches.map((batch) => batch.result());
}

/** @internal `svd` of one matrix or stack for another function, whose name and argument its errors then carry. */
export async function thinSvd(op: string, argument: string, a: Tensor<Real>, options?: SvdOptions): Promise<Svd> {
  const plan = readOptions(op, options);
  const input = checkReal(op, argument, a);
  if (input.shape.length !== 2 && input.shape.length !== 3) {
    fail('SHAPE_MISMATCH', op, argument, 'shape [m, n] or [b, m, n]', describe([...input.shape]));
  }
  const batch = new Batch(op, argument, input, plan.rank);
  await run(op, batch.jobs, plan);
  return batch.result();
}

interface Plan {
  readonly driver: number;
  readonly rank: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: SvdOptions['onProgress'];
}

function readOptions(op: string, options: SvdOptions | undefined): Plan {
  const { driver, rank, signal, onProgress } = checkOptions(op, 'options', options, optionNames);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  checkSignal(op, signal);
  const chosen = checkChoice(op, 'options.driver', driver ?? 'auto', drivers);
  return { driver: drivers.indexOf(chosen), rank, signal, onProgress };
}

/** A matrix or a stack: its jobs write into the arrays of its one result. */
class Batch {
  readonly jobs: Job[] = [];
  readonly #op: string;
  readonly #dtype: Real;
  readonly #leading: readonly number[];
  readonly #arrays: { u: RealArray; s: RealArray; vt: RealArray };
  readonly #shape: { m: number; n: number; r: number };

  constructor(op: string, name: string, input: Tensor<Real>, wanted: number | undefined) {
    this.#op = op;
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
      Tensor.make(this.#op, this.#dtype, array as never, [...this.#leading, ...shape]) as Tensor<Real>;
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

/** A call should hold at least this much work, some milliseconds, so that small matrices share its cost. */
const leastFlops = 2e7;

/** Groups of consecutive jobs, each for one native call: enough to fill this call's share of the threads. */
function* groups(jobs: readonly Job[]): Generator<readonly Job[]> {
  const matrices = Math.max(1, Math.ceil(threads() / lanes.most));
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
async function run(op: string, jobs: readonly Job[], { driver, signal, onProgress }: Plan): Promise<void> {
  const waiting = groups(jobs);
  let done = 0;
  let failed = false;
  const work = async () => {
    for (const group of waiting) {
      const turn = lanes.enter();
      if (turn !== undefined) await turn;
      try {
        if (failed) return;
        checkSignal(op, signal);
        await decompose(op, driver, group);
        done += group.length;
        if (!failed) onProgress?.(done, jobs.length);
      } catch (error) {
        failed = true;
        throw error;
      } finally {
        lanes.leave();
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: lanes.most }, work));
  const first = settled.find((outcome) => outcome.status === 'rejected');
  if (first !== undefined) throw first.reason;
  checkSignal(op, signal);
}

async function decompose(op: string, driver: number, group: readonly Job[]): Promise<void> {
  const problems = group.map((job) => problemOf(op, job));
  try {
    await native.svd(driver, problems);
  } catch (error) {
    throw named(error, op, driver, group);
  }
  for (const [i, job] of group.entries()) {
    if (job.rank < job.thin) copyTriples(problems[i] as SvdProblem, job, 0);
  }
}

/** The native call writes all thin triples; where only some are kept it writes beside the result. */
function problemOf(op: string, job: Job): SvdProblem {
  const { a, rows, columns, thin, rank } = job;
  if (a.length !== rows * columns)
    fail('INVALID_ARGUMENT', op, job.name, 'a buffer that stays attached', 'a detached one');
  if (rank === thin) return { a, u: job.u, s: job.s, vt: job.vt, rows, columns };
  const array = (size: number) => allocate(op, dtypeOf(a) as Real, size);
  return { a, u: array(rows * thin), s: array(thin), vt: array(thin * columns), rows, columns };
}

/** The native side counts within its call; the caller knows the matrix by name. */
function named(error: unknown, op: string, driver: number, group: readonly Job[]): unknown {
  if (!(error instanceof SigmaError) || typeof error.detail !== 'number') return error;
  const message = error.message.slice(`${error.op}: `.length);
  if (error.code === 'UNSUPPORTED')
    return new SigmaError(error.code, op, `options.driver: ${message}, got '${drivers[driver]}'`);
  return new SigmaError(error.code, op, `${group[error.detail]?.name}: ${message}`);
}
