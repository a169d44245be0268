import { checkNumber, checkOptions } from '../runtime/check.js';
import { dtypeOf, epsilonOf } from '../tensor/dtype.js';
import { largestMagnitude } from '../tensor/norm.js';
import { Tensor } from '../tensor/tensor.js';
import { type TensorLike, viewOf } from '../tensor/view.js';
import { readSpectrum } from './effective-rank.js';

export interface NumericalRankOptions {
  /**
   * A value counts if it is above this share of the largest. Default q · ε, with ε = 2⁻²³ for float32 and
   * 2⁻⁵² otherwise. NumPy and PyTorch use max(out, in) · ε, which differs for a weight that is not square.
   */
  tolerance?: number;
}

/**
 * The numerical rank of a matrix with the singular values s: how many of them are larger than `tolerance` times the
 * largest. It is 0 if all values are 0, and NaN if a value is not finite.
 *
 * @param s singular values [q], in any order; magnitudes count
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * numericalRank([2, 1, 1e-20]); // 2
 */
export function numericalRank(s: TensorLike | ArrayLike<number>, options?: NumericalRankOptions): number {
  const op = 'numericalRank';
  const { tolerance } = checkOptions(op, 'options', options, ['tolerance']);
  const share = tolerance === undefined ? undefined : checkNumber(op, 'options.tolerance', tolerance, 0);
  const given = Tensor.is(s) ? s : viewOf(op, 's', s);
  const values = readSpectrum(op, given ?? s);
  const largest = largestMagnitude(values);
  if (!Number.isFinite(largest)) return Number.NaN;
  const epsilon = epsilonOf(given?.dtype ?? dtypeOf(s));
  const least = (share ?? values.length * epsilon) * largest;
  return values.reduce((count, value) => (Math.abs(value) > least ? count + 1 : count), 0);
}
