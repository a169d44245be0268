import { matmul } from '../linalg/matmul.js';
import { svd } from '../linalg/svd.js';
import type { Random } from '../random.js';
import type { Real } from '../tensor/dtype.js';
import { output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';

function gaussian(op: string, dtype: Real, rows: number, columns: number, random: Random): Tensor<Real, MatrixShape> {
  const { array, tensor } = output(op, dtype, [rows, columns]);
  for (let i = 0; i < array.length; i++) array[i] = random.normal();
  return keep(tensor());
}

/** z − u(uᵀz), in place: takes the directions of u (rows, q) out of z (rows, columns). */
function project(z: Tensor<Real, MatrixShape>, u: Tensor<Real>): void {
  const matrix = u as Tensor<Real, MatrixShape>;
  const inside = keep(matmul(matrix, z, { transposeA: true }));
  const part = keep(matmul(matrix, inside));
  const into = z.dataSync() as Float64Array;
  const from = part.dataSync();
  for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) - (from[i] as number);
  inside.dispose();
  part.dispose();
}

/**
 * An orthonormal basis (rows, columns) of the span of seeded Gaussians, orthogonal to the columns of `against` where it
 * is given. The basis is that of an SVD, which spans the same space as a QR's.
 */
export async function orthonormalColumns(
  op: string,
  dtype: Real,
  rows: number,
  columns: number,
  random: Random,
  against?: Tensor<Real>,
): Promise<Tensor<Real>> {
  const z = gaussian(op, dtype, rows, columns, random);
  // Twice is enough: the second round takes out what rounding left in the first (Giraud et al. 2005).
  if (against !== undefined) for (let round = 0; round < 2; round++) project(z, against);
  const { u, s, vt } = await svd(z);
  for (const tensor of [z, s, vt]) tensor.dispose();
  return u;
}

/** [a | b] by columns; both have the same rows. */
export function concatColumns(op: string, a: Tensor<Real>, b: Tensor<Real>): Tensor<Real> {
  const [rows, left] = a.shape as MatrixShape;
  const right = b.shape[1] as number;
  const { array, tensor } = output(op, a.dtype, [rows, left + right]);
  const [from, more] = [a.dataSync(), b.dataSync()];
  for (let i = 0; i < rows; i++) {
    array.set(from.subarray(i * left, (i + 1) * left), i * (left + right));
    array.set(more.subarray(i * right, (i + 1) * right), i * (left + right) + left);
  }
  return keep(tensor());
}

/** The transpose of a matrix, as a new tensor. */
export function transposed(op: string, a: Tensor<Real>): Tensor<Real> {
  const [rows, columns] = a.shape as MatrixShape;
  const { array, tensor } = output(op, a.dtype, [columns, rows]);
  const from = a.dataSync();
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) array[j * rows + i] = from[i * columns + j] as number;
  }
  return keep(tensor());
}
