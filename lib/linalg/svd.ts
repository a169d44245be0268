import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  describe,
  fail,
  isArray,
  readList,
  reject,
} from '../runtime/check.js';
import { threads } from '../runtime/device.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import { native, type Operand, type RealArray, type SvdProblem } from '../runtime/native.js';
import { step, type Work } from '../runtime/slices.js';
import { allocateAny, type FactorDType, type MatrixDType, type Real, recycle, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix, memoryOf, type Output, output, type Place, widened } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { isHost } from '../tensor/storage.js';
import type { Matrix, Shape, Tensor, Vector } from '../tensor/tensor.js';
import type { VectorDType } from '../tensor/typing.js';
import type { TensorLike, View } from '../tensor/view.js';
import { Lanes } from './lanes.js';

const optionNames = ['driver', 'rank', 'signal', 'onProgress'] as const;

/** In the order of native/contract/backend.h. */
const drivers = ['auto', 'gesdd', 'gesvd', 'gesvdj', 'gesvdp', 'gram64'] as const;

/** A thin SVD A = u · diag(s) · vt; shapes as `svd` says. */
export interface Svd<D extends FactorDType = Real> {
  readonly u: Tensor<D>;
  readonly s: Tensor<VectorDType<D>>;
  readonly vt: Tensor<D>;
}

/** An `Svd` whose factors may be views. */
export interface SvdLike<D extends FactorDType = Real> {
  readonly u: TensorLike<D>;
  readonly s: TensorLike<VectorDType<D>>;
  readonly vt: TensorLike<D>;
}

export interface SvdOptions {
  /** 'auto' (default) takes the fastest routine that passes the accuracy check; the other names select one routine. */
  driver?: (typeof drivers)[number];
  /**
   * Number of singular triples to compute, the largest first. Default: all. On the CPU with driver 'auto', up to an eighth of
   * min(m, n) takes a fraction of the time of all, if the singular values decay (docs/performance.md).
   */
  rank?: number;
  /** Aborts between matrices, with ABORTED. */
  signal?: AbortSignal;
  /** Called after each group of matrices, with the number of matrices done so far. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Limits the native calls in flight, over all calls of `svd`. Two calls keep the threads busy while one of them ends,
 * and leave most of libuv's four threads to the program. With `setThreads(1)` the limit is one.
 */
export const lanes = new Lanes(() => Math.min(2, threads()));

/** Numbers copied per time slice: some milliseconds. */
const slice = 2 ** 20;

/** One matrix to decompose: number `at` of its stack. */
interface Job {
  readonly name: string;
  readonly batch: Batch;
  readonly at: number;
}

/**
 * Thin SVD A = u · diag(s) · vt, off the event loop. s is descending; u has orthonormal columns, vt orthonormal rows.
 *
 * Takes one matrix [m, n] and gives u [m, r], s [r] and vt [r, n], with r = min(m, n) or `rank`. A stack [b, m, n]
 * gives results with the axis b first. A list of matrices of any shapes gives a list of results. A bfloat16 matrix is
 * decomposed in float32.
 *
 * Signs are fixed, so that devices, drivers and types agree: in each column of u the entry of largest magnitude is
 * positive. Entries within 1/2048 of the largest count as equal to it, and the first of these decides.
 *
 * Each matrix is copied when its turn comes. Until the promise settles you may dispose the tensors, but do not write
 * them.
 *
 * @param a float32, float64 or bfloat16; a list has one type and one device
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED,
 * NON_FINITE, NOT_CONVERGED, ABORTED, UNSUPPORTED, OUT_OF_MEMORY
 * @example
 * const { u, s, vt } = await svd(tensor([[3, 0], [0, 2]]));
 */
export function svd<D extends MatrixDType>(a: Tensor<D>, options?: SvdOptions): Promise<Svd<VectorDType<D>>>;
export function svd<D extends MatrixDType>(
  a: readonly Tensor<D>[],
  options?: SvdOptions,
): Promise<Svd<VectorDType<D>>[]>;
/** The same for an object of a tensor's form, or for a list with some. */
export function svd(a: View, options?: SvdOptions): Promise<Svd>;
export function svd(a: readonly TensorLike<MatrixDType>[], options?: SvdOptions): Promise<Svd[]>;
export async function svd(a: TensorLike | readonly TensorLike[], options?: SvdOptions): Promise<Svd | Svd[]> {
  const op = 'svd';
  if (!isArray(a)) return thinSvd(op, 'a', a as Matrix, options);
  const plan = readSvdOptions(op, options);
  const list = readList(op, 'a', a, 'a list of matrices');
  const inputs = list.map((each, i) => checkMatrix(op, `a[${i}]`, each, { ...anything, shape: [null, null] }));
  const alike = { shape: undefined, dtype: inputs[0]?.dtype, device: inputs[0]?.device };
  for (const [i, input] of inputs.entries()) checkMatrix(op, `a[${i}]`, input, alike);
  return runAll(op, inputs, (i) => `a[${i}]`, plan);
}

/** @internal `svd` of one matrix for function `op`, as work. */
export function* thinSvdWork(
  op: string,
  argument: string,
  a: Matrix,
  signal: AbortSignal | undefined,
  rank?: number,
): Work<Svd> {
  return yield* step(
    () => thinSvdNow(op, argument, a, rank),
    () => thinSvd(op, argument, a, { signal, rank }),
  );
}

/**
 * @internal How many singular values a layer knows that has `rank` of `thin` triples: all, or if that is much cheaper, those of
 * its triples. The limits are those of svd_is_partial in native/recipes/svd.h.
 */
export function knownValues(thin: number, rank: number): number {
  return thin >= 256 && 8 * rank <= thin ? rank : thin;
}

function thinSvdNow(op: string, argument: string, a: Matrix, rank: number | undefined): Svd {
  const batch = new Batch(op, argument, checkMatrix(op, argument, a, { ...anything, shape: [null, null] }), rank);
  try {
    const job = batch.job(0);
    const problem = batch.problem(job);
    native.svdNow(op, drivers.indexOf('auto'), [problem]);
    batch.finish(job, problem);
    return batch.result();
  } catch (error) {
    throw error instanceof SigmaError ? new SigmaError(error.code, op, `${argument}: ${reasonOf(error)}`) : error;
  } finally {
    batch.dispose();
  }
}

/** @internal `svd` of one matrix or stack for function `op`, whose name and `argument` the errors carry. */
export async function thinSvd(op: string, argument: string, a: Matrix, options?: GivenOptions): Promise<Svd> {
  const plan = readSvdOptions(op, options);
  const input = checkMatrix(op, argument, a);
  if (input.shape.length !== 2 && input.shape.length !== 3) {
    fail('SHAPE_MISMATCH', op, argument, 'shape [m, n] or [b, m, n]', describe([...input.shape]));
  }
  const [result] = await runAll(op, [input], () => argument, plan);
  return result as Svd;
}

interface Plan {
  readonly driver: number;
  readonly rank: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: SvdOptions['onProgress'];
}

/** Options as they were read: an absent one is undefined. */
type GivenOptions = { readonly [K in keyof SvdOptions]?: SvdOptions[K] | undefined };

/** @internal Checks the options, except `rank`, whose limit depends on the matrix. */
export function readSvdOptions(op: string, options: GivenOptions | undefined): Plan {
  const { driver, rank, signal, onProgress } = checkOptions(op, 'options', options, optionNames);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  checkSignal(op, signal);
  const chosen = checkChoice(op, 'options.driver', driver ?? 'auto', drivers);
  return { driver: drivers.indexOf(chosen), rank, signal, onProgress };
}

/** A matrix or a stack, and memory for its result. */
class Batch implements Scoped {
  readonly op: string;
  readonly name: string;
  /** A handle of our own, because the caller may dispose the tensor before its turn comes. */
  readonly input: Vector;
  readonly m: number;
  readonly n: number;
  readonly count: number;
  /** min(m, n) */
  readonly thin: number;
  readonly rank: number;
  readonly #leading: readonly number[];
  readonly #place: Place;
  /** Allocated with the first matrix, so that a long list takes neither memory nor time up front. */
  #made: { readonly [name in 'u' | 's' | 'vt']: Output<Real, Shape> } | undefined;

  constructor(op: string, name: string, input: Matrix, wanted: number | undefined) {
    const [n, m, count = 1] = input.shape.toReversed() as [number, number, number?];
    this.op = op;
    this.name = name;
    this.m = m;
    this.n = n;
    this.count = count;
    this.thin = Math.min(m, n);
    this.rank = wanted === undefined ? this.thin : checkInteger(op, 'options.rank', wanted, 1, this.thin);
    this.#leading = input.shape.slice(0, -2);
    this.#place = { device: input.device, dtype: vectorType(input.dtype) };
    this.input = keep(widened(op, input));
  }

  job(at: number): Job {
    return { name: this.#leading.length > 0 ? `${this.name}[${at}]` : this.name, batch: this, at };
  }

  get #results() {
    this.#made ??= this.#outputs(this.rank, this.#leading);
    return this.#made;
  }

  result(): Svd {
    const { u, s, vt } = this.#results;
    return { u: u.tensor(), s: s.tensor(), vt: vt.tensor() };
  }

  /** Whether copying a matrix in one go would block the event loop. */
  get isLarge(): boolean {
    return this.input.device === 'cpu' && this.m * this.n > slice;
  }

  /** Copies a large matrix in time slices. */
  async copyOf({ name, at }: Job): Promise<RealArray> {
    const size = this.m * this.n;
    const copy = allocateAny(this.op, this.input.dtype, size);
    for (let begin = 0; begin < size; begin += slice) {
      await nextTurn();
      const numbers = memoryOf(this.op, name, this.input) as RealArray;
      copy.set(numbers.subarray(at * size + begin, at * size + Math.min(size, begin + slice)), begin);
    }
    await nextTurn();
    return copy;
  }

  /** Whether the native call writes more triples than are wanted: a device always computes all. */
  get #isCut(): boolean {
    return this.rank < this.thin && this.input.device !== 'cpu';
  }

  /**
   * The native call copies its input, unless `copy` is given, which only this call holds. If it writes all triples although
   * fewer are wanted, it writes them to temporary memory, from which `finish` copies.
   */
  problem({ name, at }: Job, copy?: RealArray): SvdProblem {
    const { m, n, op } = this;
    const owned = copy !== undefined;
    const a = copy ?? memoryOf(op, name, this.input);
    const isCut = this.#isCut;
    const rank = isCut ? this.thin : this.rank;
    const { u, s, vt } = isCut ? this.#outputs(rank, []) : this.#results;
    const first = owned ? 0 : at * m * n;
    return { a, first, owned, u: u.memory, s: s.memory, vt: vt.memory, at: isCut ? 0 : at, rows: m, columns: n, rank };
  }

  /** Copies the `rank` largest triples of a problem that wrote to temporary memory. */
  finish({ at }: Job, { u, s, vt }: SvdProblem): void {
    const { op, m, n, thin, rank } = this;
    if (!this.#isCut) return;
    const { u: toU, s: toS, vt: toVt } = this.#results;
    copyBlock(op, u, thin, toU.memory, at * m * rank, m, rank);
    copyBlock(op, s, rank, toS.memory, at * rank, 1, rank);
    copyBlock(op, vt, n, toVt.memory, at * rank * n, rank, n);
    for (const each of [u, s, vt]) if (!isHost(each)) native.deviceRelease(op, each);
  }

  dispose(): void {
    this.input.dispose();
  }

  #outputs(rank: number, leading: readonly number[]) {
    const make = (...shape: number[]) => output(this.op, this.#place, [...leading, ...shape] as Shape);
    return { u: make(this.m, rank), s: make(rank), vt: make(rank, this.n) };
  }
}

/** Copies the leading rows and columns of `from` to a compact block that begins at element `first` of `to`. */
function copyBlock(
  op: string,
  from: Operand,
  stride: number,
  to: Operand,
  first: number,
  rows: number,
  columns: number,
): void {
  native.copyMatrix(op, from, 0, stride, to, first, columns, rows, columns);
}

/** Least work of a native call, some milliseconds, so that small matrices share the cost of a call. */
const leastFlops = { host: 2e7, device: 5e10 };
/** Most matrices of a native call: preparing and finishing them runs on the event loop, for some milliseconds. */
const mostMatrices = 256;

/** Groups of consecutive matrices, one for each native call, large enough for the call's share of the threads. */
function* groups(batches: readonly Batch[]): Generator<readonly Job[]> {
  const matrices = Math.max(1, Math.ceil(threads() / lanes.most));
  let group: Job[] = [];
  let flops = 0;
  for (const batch of batches) {
    const { m, n, thin, count, input } = batch;
    const least = input.device === 'cpu' ? leastFlops.host : leastFlops.device;
    for (let at = 0; at < count; at++) {
      group.push(batch.job(at));
      flops += 20 * m * n * thin;
      if (group.length < mostMatrices && (group.length < matrices || flops < least)) continue;
      yield group;
      group = [];
      flops = 0;
    }
  }
  if (group.length > 0) yield group;
}

/** The results of all inputs. Rejects with the first failure. */
async function runAll(
  op: string,
  inputs: readonly Matrix[],
  nameOf: (index: number) => string,
  plan: Plan,
): Promise<Svd[]> {
  const batches: Batch[] = [];
  try {
    for (const [i, input] of inputs.entries()) batches.push(new Batch(op, nameOf(i), input, plan.rank));
    await run(op, batches, plan);
    return batches.map((batch) => batch.result());
  } finally {
    for (const batch of batches) batch.dispose();
  }
}

/** Runs every job. A rejection comes only when no native call is in flight any more. */
async function run(op: string, batches: readonly Batch[], { driver, signal, onProgress }: Plan): Promise<void> {
  const waiting = groups(batches);
  const total = batches.reduce((sum, { count }) => sum + count, 0);
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
        if (!failed) onProgress?.(done, total);
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
  const problems: SvdProblem[] = [];
  for (const job of group) {
    const copy = job.batch.isLarge ? await job.batch.copyOf(job) : undefined;
    problems.push(job.batch.problem(job, copy));
  }
  try {
    await native.svd(op, driver, problems);
  } catch (error) {
    throw named(error, op, driver, group);
  } finally {
    for (const { a, owned } of problems) if (owned) recycle(op, a as RealArray);
  }
  for (const [i, job] of group.entries()) job.batch.finish(job, problems[i] as SvdProblem);
}

/** Replaces the native side's index within its call by the matrix's name. */
function named(error: unknown, op: string, driver: number, group: readonly Job[]): unknown {
  if (!(error instanceof SigmaError) || typeof error.detail !== 'number') return error;
  const message = reasonOf(error);
  if (error.code === 'UNSUPPORTED')
    return new SigmaError(error.code, op, `options.driver: ${message}, got '${drivers[driver]}'`);
  return new SigmaError(error.code, op, `${group[error.detail]?.name}: ${message}`);
}
