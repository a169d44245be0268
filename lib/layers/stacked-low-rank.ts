// The update of a weight whose outputs belong to several layers, such as a fused Q, K and V, as a product of two thin
// matrices.
import { matmulLater } from '../linalg/matmul.js';
import { thinSvd } from '../linalg/svd.js';
import type { RealArray } from '../runtime/native.js';
import { allocate, type Real } from '../tensor/dtype.js';
import { normOf } from '../tensor/norm.js';
import { fromNumbers, numbersOf } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import type { Adapter } from './adapter.js';
import { type LowRank, lowRankOf, type Task } from './low-rank.js';

/** A layer that computes outputs `first` to `first + layer.outFeatures` of a weight. */
export interface StackedPart {
  readonly layer: Adapter;
  /** The layer, as errors name it. */
  readonly argument: string;
  readonly first: number;
}

type Stacking = Omit<Task, 'argument' | 'rank'> & { readonly rank: number };

/**
 * The best approximation of a weight's update by b [out, rank] times a [rank, in]. The parts do not overlap. Outputs that
 * belong to no part have no update.
 */
export async function stackedLowRankOf(parts: readonly StackedPart[], out: number, task: Stacking): Promise<LowRank> {
  const [first] = parts as readonly [StackedPart, ...StackedPart[]];
  if (parts.length > 1) return combined(parts, out, task);
  const found = await lowRankOf(first.layer, { ...task, argument: first.argument });
  if (first.layer.outFeatures === out) return found;
  const { a, b, error } = found;
  const rows = allocate(task.op, b.dtype, out * task.rank);
  rows.set(numbersOf(task.op, 'lora', b), first.first * task.rank);
  b.dispose();
  return { a, b: keep(fromNumbers(task.op, 'cpu', a.dtype, [out, task.rank], rows)) as typeof b, error };
}

/**
 * Each part is P diag(s) Qᵀ. P has orthonormal columns, so that an SVD of the rows diag(s) Qᵀ of all parts is one of ΔW,
 * apart from P.
 */
async function combined(parts: readonly StackedPart[], out: number, task: Stacking): Promise<LowRank> {
  const { op, rank, signal } = task;
  const made: Scoped[] = [];
  const own = <T extends Scoped>(scoped: T): T => {
    made.push(keep(scoped));
    return scoped;
  };
  try {
    const pieces: (LowRank & StackedPart)[] = [];
    for (const part of parts) {
      const found = await lowRankOf(part.layer, { op, argument: part.argument, rank: undefined, signal });
      pieces.push({ ...part, a: own(found.a), b: own(found.b), error: found.error });
    }
    const { a: any } = pieces[0] as LowRank;
    const [dtype, inputs] = [any.dtype, any.shape[1]];
    const total = pieces.reduce((sum, { a }) => sum + a.shape[0], 0);
    const rows = allocate(op, dtype, total * inputs);
    let begin = 0;
    const bases = pieces.map(({ a, b, first }) => {
      const { scaled, basis } = split(op, a, b);
      rows.set(scaled, begin * inputs);
      begin += a.shape[0];
      return { basis: own(fromNumbers(op, 'cpu', dtype, b.shape, basis)), at: begin - a.shape[0], first };
    });
    const matrix = own(fromNumbers(op, 'cpu', dtype, [total, inputs], rows));
    const found = await thinSvd(op, 'the update of a fused weight', matrix, signal && { signal });
    for (const tensor of Object.values(found)) own(tensor);
    const [s, x, y] = [found.s, found.u, found.vt].map((each) => numbersOf(op, 'svd', each)) as [
      RealArray,
      RealArray,
      RealArray,
    ];
    const kept = Math.min(rank, s.length);
    const [a, b] = [allocate(op, dtype, rank * inputs), allocate(op, dtype, out * rank)];
    for (let k = 0; k < kept; k++) {
      const root = Math.sqrt(s[k] as number);
      for (let j = 0; j < inputs; j++) a[k * inputs + j] = root * (y[k * inputs + j] as number);
    }
    for (const { basis, at, first } of bases) {
      const r = basis.shape[1] as number;
      const block = allocate(op, dtype, r * rank);
      for (let i = 0; i < r; i++) {
        for (let k = 0; k < kept; k++) {
          block[i * rank + k] = Math.sqrt(s[k] as number) * (x[(at + i) * s.length + k] as number);
        }
      }
      const tall = own(fromNumbers(op, 'cpu', dtype, [r, rank], block));
      const product = own(await matmulLater(op, basis, tall, { transposeA: false, transposeB: false, signal }));
      b.set(numbersOf(op, 'lora', product), first * rank);
    }
    const tensor = (shape: MatrixShape, numbers: RealArray) =>
      keep(fromNumbers(op, 'cpu', dtype, shape, numbers)) as Tensor<Real, MatrixShape>;
    return { a: tensor([rank, inputs], a), b: tensor([out, rank], b), error: normOf([s.subarray(kept)]) };
  } finally {
    for (const each of made) each.dispose();
  }
}

/** b a = basis · scaled, of which `basis` has orthonormal columns. Both b and a carry √s. */
function split(op: string, a: Tensor<Real, MatrixShape>, b: Tensor<Real, MatrixShape>) {
  const [rank, inputs] = a.shape;
  const scaled = numbersOf(op, 'lora', a).slice();
  const basis = numbersOf(op, 'lora', b).slice();
  for (let k = 0; k < rank; k++) {
    const row = scaled.subarray(k * inputs, (k + 1) * inputs);
    const root = normOf([row]);
    if (root === 0) continue;
    for (let j = 0; j < inputs; j++) row[j] = root * (row[j] as number);
    for (let i = k; i < basis.length; i += rank) basis[i] = (basis[i] as number) / root;
  }
  return { scaled, basis };
}
