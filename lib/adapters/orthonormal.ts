import { checkSignal } from '../check.js';
import { matmul } from '../linalg/matmul.js';
import { thinSvd } from '../linalg/svd.js';
import type { Random } from '../random.js';
import { allocate, type Real, vectorType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, type Place, placed } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import type { Site } from './construct.js';

type Matrix = Tensor<Real, MatrixShape>;

function gaussian(op: string, dtype: Real, rows: number, columns: number, random: Random): Matrix {
  const numbers = allocate(op, dtype, rows * columns);
  for (let i = 0; i < numbers.length; i++) numbers[i] = random.normal();
  return fromNumbers(op, 'cpu', dtype, [rows, columns], numbers) as Matrix;
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
 * They are those of an SVD, which spans the same space as a QR's. Found on the CPU, so that they are the same on all
 * devices.
 */
export async function orthonormalRows(
  { op, device, dtype, vectors, signal, own }: Site,
  count: number,
  n: number,
  random: Random,
  against?: Tensor<Real>,
): Promise<Tensor<Real>> {
  const onHost: Place = { device: 'cpu', dtype: vectors.dtype };
  const z = own(gaussian(op, vectors.dtype, count, n, random));
  // Twice is enough: the second round takes out what rounding left in the first (Giraud et al. 2005).
  const basis = against && own(placed(op, against, onHost));
  if (basis !== undefined) for (let round = 0; round < 2; round++) project(z, basis as Matrix);
  checkSignal(op, signal);
  const { u, s, vt } = await thinSvd(op, 'weight', z, signal && { signal });
  for (const tensor of [u, s, vt]) own(tensor);
  const rows = placed(op, vt, { device, dtype });
  for (const tensor of [z, u, s, vt, basis]) tensor?.dispose();
  return rows;
}

/** Matrices of one width, one under the other. */
export function stackRows(op: string, upper: Tensor<Real>, lower: Tensor<Real>): Tensor<Real> {
  const [rows, columns] = upper.shape as MatrixShape;
  const numbers = allocate(op, vectorType(upper.dtype), upper.size + lower.size);
  numbers.set(numbersOf(op, 'upper', upper));
  numbers.set(numbersOf(op, 'lower', lower), upper.size);
  return fromNumbers(op, upper.device, upper.dtype, [rows + (lower.shape[0] as number), columns], numbers);
}

/** The transpose of a matrix, as a new tensor. */
export function transposed(op: string, a: Tensor<Real>): Tensor<Real> {
  const [rows, columns] = a.shape as MatrixShape;
  const numbers = allocate(op, vectorType(a.dtype), a.size);
  const from = numbersOf(op, 'matrix', a);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) numbers[j * rows + i] = from[i * columns + j] as number;
  }
  return fromNumbers(op, a.device, a.dtype, [columns, rows], numbers);
}
