import { checkSignal } from '../check.js';
import { matmul } from '../linalg/matmul.js';
import { thinSvd } from '../linalg/svd.js';
import type { Random } from '../random.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf, output } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import type { Site } from './construct.js';

type Matrix = Tensor<Real, MatrixShape>;

function gaussian(op: string, dtype: Real, rows: number, columns: number, random: Random): Matrix {
  const { array, tensor } = output(op, dtype, [rows, columns]);
  for (let i = 0; i < array.length; i++) array[i] = random.normal();
  return tensor() as Matrix;
}

/** z − (z basisᵀ) basis, in place: takes the rows of the basis (q, n) out of those of z (k, n). */
function project(z: Matrix, basis: Matrix): void {
  const inside = matmul(z, basis, { transposeB: true });
  const part = matmul(inside, basis);
  const [into, from] = [z.dataSync(), part.dataSync()];
  for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) - (from[i] as number);
  inside.dispose();
  part.dispose();
}

/**
 * Orthonormal rows (count, n) that span seeded Gaussians, orthogonal to the rows of `against` (q, n) where it is given.
 * They are those of an SVD, which spans the same space as a QR's.
 */
export async function orthonormalRows(
  { op, dtype, signal, own }: Site,
  count: number,
  n: number,
  random: Random,
  against?: Tensor<Real>,
): Promise<Tensor<Real>> {
  const z = own(gaussian(op, dtype, count, n, random));
  // Twice is enough: the second round takes out what rounding left in the first (Giraud et al. 2005).
  if (against !== undefined) for (let round = 0; round < 2; round++) project(z, against as Matrix);
  checkSignal(op, signal);
  const { u, s, vt } = await thinSvd(op, 'weight', z, signal && { signal });
  for (const tensor of [z, u, s]) tensor.dispose();
  return vt;
}

/** Matrices of one width, one under the other. */
export function stackRows(op: string, upper: Tensor<Real>, lower: Tensor<Real>): Tensor<Real> {
  const [rows, columns] = upper.shape as MatrixShape;
  const { array, tensor } = output(op, upper.dtype, [rows + (lower.shape[0] as number), columns]);
  array.set(memoryOf(op, 'upper', upper));
  array.set(memoryOf(op, 'lower', lower), upper.size);
  return tensor();
}

/** The transpose of a matrix, as a new tensor. */
export function transposed(op: string, a: Tensor<Real>): Tensor<Real> {
  const [rows, columns] = a.shape as MatrixShape;
  const { array, tensor } = output(op, a.dtype, [columns, rows]);
  const from = memoryOf(op, 'matrix', a);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) array[j * rows + i] = from[i * columns + j] as number;
  }
  return tensor();
}
