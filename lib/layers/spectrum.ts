// The singular values of a layer's weight W' and of its change ΔW. Cores that are diagonal need no SVD.
import { thinSvd } from '../linalg/svd.js';
import { mergeTerms } from '../operator/merged.js';
import { placeOf, type Terms } from '../operator/terms.js';
import { describe, fail } from '../runtime/check.js';
import { allocate, type MatrixDType, vectorType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, type Place } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Matrix, Vector } from '../tensor/tensor.js';
import type { Anatomy } from './adapter.js';
import { compactOf, firstBroken, isDiagonal } from './change.js';
import { changeOf, knownSpectrum, type Spectrum } from './telemetry.js';

interface Task {
  readonly op: string;
  /** min(out, in), the length of the result. */
  readonly thin: number;
  readonly signal: AbortSignal | undefined;
}

/** The singular values of W' (thin), descending. */
export async function weightSpectrum({ terms, spectrum, merge }: Anatomy, task: Task): Promise<Vector> {
  const { op, thin } = task;
  const known = knownSpectrum(op, terms, spectrum, thin);
  return known ? vectorOf(known, placeOf(terms), task) : valuesOf(mergeTerms(op, merge()), 'weight', task);
}

/**
 * The singular values of ΔW (thin), descending: those of C − diag(σ), and zeros. If U or V is not orthonormal, ΔW
 * itself is decomposed.
 */
export async function changeSpectrum({ terms, spectrum }: Anatomy, task: Task): Promise<Vector> {
  const { op } = task;
  if (spectrum.skew) return valuesOf(mergeTerms(op, changeAlone(terms, spectrum)), 'weight', task);
  const change = changeOf(op, terms, spectrum);
  const broken = firstBroken(change);
  if (broken !== undefined) fail('NON_FINITE', op, 'parameters', 'finite numbers', describe(broken));
  if (isDiagonal(change)) return vectorOf(change.diagonal.map(Math.abs).sort().reverse(), placeOf(terms), task);
  const dtype = vectorType(terms.dtype);
  const { rows, columns, numbers } = compactOf(op, dtype, change);
  const dense = fromNumbers(op, terms.u.device, dtype, [rows.length, columns.length], numbers);
  const found = await valuesOf(dense, 'parameters', task);
  try {
    return vectorOf(numbersOf(op, 'svd', found), placeOf(terms), task);
  } finally {
    found.dispose();
  }
}

/** Terms of ΔW: those of W' less σ and the base. */
function changeAlone(terms: Terms, { initial }: Spectrum): Terms {
  return terms.base === undefined ? { ...terms, origin: initial } : { ...terms, base: undefined };
}

/** The singular values of a matrix, which is disposed. */
async function valuesOf(matrix: Matrix, argument: string, { op, signal }: Task): Promise<Vector> {
  keep(matrix);
  try {
    const { u, s, vt } = await thinSvd(op, argument, matrix, signal && { signal });
    for (const tensor of [u, vt]) tensor.dispose();
    return s;
  } finally {
    matrix.dispose();
  }
}

/** A new tensor (thin) of the layer's type and on its device, with these numbers and then zeros. */
function vectorOf(
  numbers: ArrayLike<number>,
  { device, dtype: matrices }: Place<MatrixDType>,
  { op, thin }: Task,
): Vector {
  const dtype = vectorType(matrices);
  const values = allocate(op, dtype, thin);
  values.set(numbers);
  const broken = values.find((value) => !Number.isFinite(value));
  if (broken !== undefined)
    fail('NON_FINITE', op, 'parameters', `numbers that are finite in ${dtype}`, describe(broken));
  return keep(fromNumbers(op, device, dtype, [thin], values));
}
