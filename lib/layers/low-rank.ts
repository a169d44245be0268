// The update ΔW = W' − W0 of a layer as a product of two thin matrices, B A. ΔW is U (C − diag σ) Vᵀ, and U and V are
// orthonormal, so the best product in the Frobenius norm follows from the core alone.
import { matmulLater } from '../linalg/matmul.js';
import { thinSvd } from '../linalg/svd.js';
import { mergeTerms } from '../operator/merged.js';
import { describe, fail } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { inSlices, type Work } from '../runtime/slices.js';
import { allocate, type Real, vectorType } from '../tensor/dtype.js';
import { normOf } from '../tensor/norm.js';
import { fromNumbers, numbersOf, placed } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { FactorMatrix, MatrixShape, Tensor } from '../tensor/tensor.js';
import type { Adapter, Anatomy } from './adapter.js';
import { type CoreChange, compactOf, firstBroken, isDiagonal } from './change.js';
import { changeOf } from './telemetry.js';

/** The update in rank `rank`, on the CPU: ΔW ≈ b a. */
export interface LowRank {
  /** [rank, in] */
  readonly a: Tensor<Real, MatrixShape>;
  /** [out, rank] */
  readonly b: Tensor<Real, MatrixShape>;
  /** ‖ΔW − b a‖_F, the norm of the singular values of ΔW that are left out. */
  readonly error: number;
}

export interface Task {
  readonly op: string;
  /** The layer, as errors name it. */
  readonly argument: string;
  /** undefined for the rank of ΔW: then nothing is left out. At least 1. */
  readonly rank: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** ΔW ≈ u · left · right · vt, in the layout of the weight if that is [out, in], else vtᵀ · left · right · uᵀ. */
interface Reduced {
  readonly u: FactorMatrix;
  readonly vt: FactorMatrix;
  /** (r, rank) */
  readonly left: RealArray;
  /** (rank, r) */
  readonly right: RealArray;
  readonly error: number;
}

type Core = Omit<Reduced, 'u' | 'vt'>;
type Own = <T extends Scoped>(made: T) => T;

/**
 * The best approximation of a layer's update by a product of rank `rank`; a smaller update is filled up with zeros. A
 * diagonal core takes no decomposition, another core an SVD of its cells. If U or V is not orthonormal, or if W' lacks a
 * part of W0, ΔW itself is decomposed: this needs W0, and throws DISPOSED without it.
 */
export async function lowRankOf(layer: Adapter, task: Task): Promise<LowRank> {
  const made: Scoped[] = [];
  const own: Own = (tensor) => {
    made.push(keep(tensor));
    return tensor;
  };
  const { op, argument, signal } = task;
  try {
    const anatomy = layer.anatomy(op, argument);
    const found = isCoreOnly(anatomy) ? ofCore(layer, anatomy, task, own) : ofWeight(anatomy, task, own);
    const { u, vt, left, right, error } = await found;
    const r = vt.shape[0] as number;
    const rank = left.length / r;
    const [l, t] = [own(onHost(op, u)), own(onHost(op, vt))];
    const tall = own(fromNumbers(op, 'cpu', l.dtype, [r, rank], left));
    const wide = own(fromNumbers(op, 'cpu', l.dtype, [rank, r], right));
    // Of a weight that is stored as (in, out), the columns of u belong to the inputs.
    const { transposed } = anatomy.terms;
    const b = own(await matmulLater(op, transposed ? t : l, tall, { transposeA: transposed, signal }));
    const a = own(await matmulLater(op, wide, transposed ? l : t, { transposeB: transposed, signal }));
    made.splice(made.indexOf(b), 1);
    made.splice(made.indexOf(a), 1);
    return { a, b, error };
  } finally {
    for (const each of made) each.dispose();
  }
}

/** Whether ΔW = U (C − diag σ) Vᵀ, with orthonormal U and V. */
function isCoreOnly({ terms, base, spectrum }: Anatomy): boolean {
  return !spectrum.skew && (terms.base !== undefined || base.original !== undefined);
}

function onHost(op: string, matrix: FactorMatrix): Tensor<Real> {
  return placed(op, matrix, { device: 'cpu', dtype: vectorType(matrix.dtype) });
}

async function ofCore(layer: Adapter, { terms, spectrum }: Anatomy, task: Task, own: Own): Promise<Reduced> {
  const { op, argument } = task;
  const change = changeOf(op, terms, spectrum);
  const broken = firstBroken(change);
  if (broken !== undefined) fail('NON_FINITE', op, `${argument}, parameters`, 'finite numbers', describe(broken));
  // A scale of Vᵀ is in the change of the core, so the vectors are taken without.
  const given = spectrum.scale === undefined ? terms : layer.factors;
  const [u, vt] = [own(given.u.share()), own(given.vt.share())];
  const dtype = vectorType(u.dtype);
  const core = isDiagonal(change) ? diagonalCore(change.diagonal, dtype, task) : await generalCore(change, dtype, task);
  return { u, vt, ...core };
}

/** Without a decomposition: the |δ| are the singular values. */
function diagonalCore(delta: ArrayLike<number>, dtype: Real, { op, rank: wanted }: Task): Core {
  const r = delta.length;
  const rank = wanted ?? Math.max(1, Array.from(delta).filter((value) => value !== 0).length);
  const indices = Array.from({ length: r }, (_, i) => i);
  const order = indices.sort((i, j) => Math.abs(delta[j] as number) - Math.abs(delta[i] as number));
  const [left, right] = [allocate(op, dtype, r * rank), allocate(op, dtype, rank * r)];
  for (const [k, i] of order.slice(0, rank).entries()) {
    const size = Math.sqrt(Math.abs(delta[i] as number));
    left[i * rank + k] = Math.sign(delta[i] as number) * size;
    right[k * r + i] = size;
  }
  return { left, right, error: normOf([order.slice(rank).map((i) => delta[i] as number)]) };
}

/** By an SVD of the rows and columns that are not all zero. */
async function generalCore(
  change: CoreChange,
  dtype: Real,
  { op, argument, rank: wanted, signal }: Task,
): Promise<Core> {
  const r = change.diagonal.length;
  const { rows, columns, numbers } = compactOf(op, dtype, change);
  const dense = keep(fromNumbers(op, 'cpu', dtype, [rows.length, columns.length], numbers));
  const found = await thinSvd(op, `${argument}, the change of its core`, dense, signal && { signal });
  dense.dispose();
  try {
    const [s, p, q] = [found.s, found.u, found.vt].map((tensor) => numbersOf(op, 'svd', tensor)) as [
      RealArray,
      RealArray,
      RealArray,
    ];
    const rank = wanted ?? s.length;
    const kept = Math.min(rank, s.length);
    const [left, right] = [allocate(op, dtype, r * rank), allocate(op, dtype, rank * r)];
    for (let k = 0; k < kept; k++) {
      const size = Math.sqrt(s[k] as number);
      for (const [at, i] of rows.entries()) left[i * rank + k] = size * (p[at * s.length + k] as number);
      for (const [at, j] of columns.entries()) {
        right[k * r + j] = size * (q[k * columns.length + at] as number);
      }
    }
    return { left, right, error: normOf([s.subarray(kept)]) };
  } finally {
    for (const tensor of Object.values(found)) tensor.dispose();
  }
}

/** By an SVD of W' − W0. */
async function ofWeight({ base, merge, terms }: Anatomy, task: Task, own: Own): Promise<Reduced> {
  const { op, argument, signal } = task;
  const weight = base.weight();
  if (weight === undefined) {
    const why = "the layer's factors do not contain all of W0, so that its update cannot be told without W0";
    fail('DISPOSED', op, `${argument}, weight`, "a live tensor on the layer's device", `none (${why})`);
  }
  const dtype = vectorType(terms.dtype);
  const before = own(onHost(op, weight));
  const after = own(onHost(op, own(mergeTerms(op, merge()))));
  const numbers = allocate(op, dtype, before.size);
  await inSlices(op, difference(numbers, numbersOf(op, 'weight', after), numbersOf(op, 'weight', before)), signal);
  const change = own(fromNumbers(op, 'cpu', dtype, before.shape, numbers));
  const { u, s, vt } = await thinSvd(op, `${argument}, the change of its weight`, change, signal && { signal });
  for (const tensor of [u, s, vt]) own(tensor);
  return { u, vt, ...diagonalCore(numbersOf(op, 'svd', s), dtype, task) };
}

function* difference(into: RealArray, one: RealArray, other: RealArray): Work<void> {
  for (let i = 0; i < into.length; i++) {
    into[i] = (one[i] as number) - (other[i] as number);
    if (i % 2 ** 15 === 0) yield;
  }
}
