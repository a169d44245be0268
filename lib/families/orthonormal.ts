import type { Site } from '../layers/site.js';
import { matmulWork } from '../linalg/matmul.js';
import { thinSvdWork } from '../linalg/svd.js';
import type { RealArray } from '../runtime/native.js';
import type { Random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
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
function* project({ op, signal, own }: Site, z: Vector, basis: Vector): Work<void> {
  const inside = own(yield* matmulWork(op, z, basis, { transposeB: true, signal }));
  const part = own(yield* matmulWork(op, inside, basis, { signal }));
  yield* subtract(z.dataSync() as RealArray, part.dataSync() as RealArray);
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
export function* orthonormalRows(site: Site, count: number, n: number, random: Random, against?: Matrix): Work<Matrix> {
  const { op, device, dtype, vectors, signal, own } = site;
  const onHost: Place = { device: 'cpu', dtype: vectors.dtype };
  const numbers = allocate(op, vectors.dtype, count * n);
  yield* fillNormal(numbers, random, 1);
  const z = own(fromNumbers(op, 'cpu', vectors.dtype, [count, n], numbers));
  // Gram-Schmidt twice is enough: the second round removes the rounding errors of the first (Giraud et al. 2005).
  const basis = against && own(placed(op, against, onHost));
  if (basis !== undefined) for (let round = 0; round < 2; round++) yield* project(site, z, basis);
  const { u, s, vt } = yield* thinSvdWork(op, 'weight', z, signal);
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
