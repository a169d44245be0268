import type { Site } from '../layers/construct.js';
import { matmulLater } from '../linalg/matmul.js';
import { thinSvd } from '../linalg/svd.js';
import { checkSignal } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import type { Random } from '../runtime/random.js';
import { inSlices, type Work } from '../runtime/slices.js';
import { allocate, vectorType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, type Place, placed } from '../tensor/operand.js';
import type { Matrix, MatrixShape, Vector } from '../tensor/tensor.js';

/** Fills an array with normal numbers of mean 0 and this standard deviation. */
export function* fillNormal(into: RealArray, random: Random, deviation: number): Work<void> {
  for (let i = 0; i < into.length; i++) {
    into[i] = deviation * random.normal();
    if (i % 1024 === 0) yield;
  }
}

/** z − (z basisᵀ) basis, in place: makes the rows of z (k, n) orthogonal to the rows of the basis (q, n). */
async function project({ op, signal, own }: Site, z: Vector, basis: Vector): Promise<void> {
  const inside = own(await matmulLater(op, z, basis, { transposeB: true, signal }));
  const part = own(await matmulLater(op, inside, basis, { signal }));
  await inSlices(op, subtract(z.dataSync() as RealArray, part.dataSync() as RealArray), signal);
  inside.dispose();
  part.dispose();
}

function* subtract(into: RealArray, from: RealArray): Work<void> {
  for (let i = 0; i < into.length; i++) {
    into[i] = (into[i] as number) - (from[i] as number);
    if (i % 2 ** 15 === 0) yield;
  }
}

/**
 * Random orthonormal rows (count, n), orthogonal to the rows of `against` (q, n) if it is given. They are the right
 * singular vectors of Gaussian rows, computed on the CPU so that all devices have the same.
 */
export async function orthonormalRows(
  site: Site,
  count: number,
  n: number,
  random: Random,
  against?: Matrix,
): Promise<Matrix> {
  const { op, device, dtype, vectors, signal, own } = site;
  const onHost: Place = { device: 'cpu', dtype: vectors.dtype };
  const numbers = allocate(op, vectors.dtype, count * n);
  await inSlices(op, fillNormal(numbers, random, 1), signal);
  const z = own(fromNumbers(op, 'cpu', vectors.dtype, [count, n], numbers));
  // Gram-Schmidt twice is enough: the second round removes the rounding errors of the first (Giraud et al. 2005).
  const basis = against && own(placed(op, against, onHost));
  if (basis !== undefined) for (let round = 0; round < 2; round++) await project(site, z, basis);
  checkSignal(op, signal);
  const { u, s, vt } = await thinSvd(op, 'weight', z, signal && { signal });
  for (const tensor of [u, s, vt]) own(tensor);
  const rows = placed(op, vt, { device, dtype });
  for (const tensor of [z, u, s, vt, basis]) tensor?.dispose();
  return rows;
}

/** Concatenates two matrices along the rows. */
export function stackRows(op: string, upper: Matrix, lower: Matrix): Matrix {
  const [rows, columns] = upper.shape as MatrixShape;
  const numbers = allocate(op, vectorType(upper.dtype), upper.size + lower.size);
  numbers.set(numbersOf(op, 'upper', upper));
  numbers.set(numbersOf(op, 'lower', lower), upper.size);
  return fromNumbers(op, upper.device, upper.dtype, [rows + (lower.shape[0] as number), columns], numbers);
}
