import { reject } from '../runtime/check.js';
import { readNumbers } from '../tensor/dtype.js';
import { largestMagnitude } from '../tensor/norm.js';
import { checkReal, numbersOf } from '../tensor/operand.js';
import { Tensor } from '../tensor/tensor.js';
import { type TensorLike, viewOf } from '../tensor/view.js';

/** @internal Reads each number of a spectrum (q) once. */
export function readSpectrum(op: string, s: TensorLike | ArrayLike<number>): Float64Array {
  const given = Tensor.is(s) ? s : viewOf(op, 's', s);
  const values = given ? numbersOf(op, 's', checkReal(op, 's', given)) : readNumbers(op, 's', s);
  if (values.length === 0) reject(op, 's', 'a Tensor or an array of at least one number', s);
  return Float64Array.from(values);
}

/** x log x, which is 0 at 0. */
export function xLogX(x: number): number {
  return x === 0 ? 0 : x * Math.log(x);
}

/** Σσ and Σ σ log σ, from which the entropy follows. */
export interface Sums {
  sum: number;
  logs: number;
}

export function sumsOf(sigma: Float64Array): Sums {
  let sum = 0;
  let logs = 0;
  for (let i = 0; i < sigma.length; i++) {
    sum += sigma[i] as number;
    logs += xLogX(sigma[i] as number);
  }
  return { sum, logs };
}

/** H = −Σ p log p = log S − Σ σ log σ / S with p = σ / S, S = Σσ. NaN if a σ is NaN. */
export function entropyOf({ sum, logs }: Sums): number {
  return Math.log(sum) - logs / sum;
}

/**
 * The effective rank of a spectrum: exp of the entropy of |s| / Σ|s| (Roy and Vetterli 2007). It lies between 1 and the
 * number of nonzero values. It is 0 if all values are 0, and NaN if a value is not finite.
 *
 * @param s singular values [q], in any order; magnitudes count
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * effectiveRank([1, 1, 1, 0]); // 3
 */
export function effectiveRank(s: TensorLike | ArrayLike<number>): number {
  const values = readSpectrum('effectiveRank', s);
  const largest = largestMagnitude(values);
  if (largest === 0) return 0;
  const rank = Math.exp(entropyOf(sumsOf(values.map((value) => Math.abs(value) / largest))));
  const most = values.reduce((count, value) => (value === 0 ? count : count + 1), 0);
  return Math.max(1, Math.min(most, rank)); // rounding
}

/**
 * The gradient of `effectiveRank` with respect to s: erank · c_i, with c_i = −(log p_i + H) / Σ|s| (SiVA, Theorem 1)
 * and the sign of s_i. Subtract a multiple of it from the gradient of the loss to train towards a higher effective
 * rank. At s_i = 0 the slope is unbounded and its sign undefined, so the result is 0 there. If a value is not finite,
 * the result is NaN.
 *
 * @param s singular values [q], in any order
 * @returns q numbers
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * effectiveRankGradient([3, 1]); // negative, positive: a smaller first or a larger second value levels the spectrum
 */
export function effectiveRankGradient(s: TensorLike | ArrayLike<number>): Float64Array {
  const values = readSpectrum('effectiveRankGradient', s);
  const largest = largestMagnitude(values);
  const sums = sumsOf(values.map((value) => Math.abs(value) / largest));
  const entropy = entropyOf(sums);
  return values.map((value) => {
    if (value === 0) return 0;
    const size = Math.abs(value) / largest;
    // A tiny quotient is denormal or 0; the difference of logarithms is exact enough.
    const log = size < 2 ** -1000 ? Math.log(Math.abs(value)) - Math.log(largest) : Math.log(size);
    return (Math.sign(value) * Math.exp(entropy) * -(log - Math.log(sums.sum) + entropy)) / sums.sum / largest;
  });
}
