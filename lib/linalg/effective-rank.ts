import { reject } from '../check.js';
import { readNumbers } from '../tensor/dtype.js';
import { checkReal, numbersOf } from '../tensor/operand.js';
import { Tensor } from '../tensor/tensor.js';

/** A spectrum (q), each value read once. */
function readSpectrum(op: string, s: Tensor | ArrayLike<number>): ArrayLike<number> {
  const values = Tensor.is(s) ? numbersOf(op, 's', checkReal(op, 's', s)) : readNumbers(op, 's', s);
  if (values.length === 0) reject(op, 's', 'a Tensor or an array of at least one number', s);
  return values;
}

/** x log x, which is 0 at 0. */
export function xLogX(x: number): number {
  return x === 0 ? 0 : x * Math.log(x);
}

/** What the entropy of a spectrum is made of: Σσ and Σ σ log σ. */
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

/** H = −Σ p log p = log S − Σ σ log σ / S of p = σ / S, S = Σσ; NaN where the spectrum has one. */
export function entropyOf({ sum, logs }: Sums): number {
  return Math.log(sum) - logs / sum;
}

/** The largest of magnitudes, NaN where there is one: numbers divided by it neither overflow nor vanish together. */
export function largestOf(sigma: Float64Array): number {
  return sigma.reduce((most, value) => Math.max(most, value), 0);
}

/**
 * exp of the entropy of |s| / Σ|s| (Roy and Vetterli 2007); 0 for all zeros. Between 1 and the number of values.
 *
 * @param s singular values, or a spectrum that training has moved
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * effectiveRank([1, 1, 1, 0]); // 3
 */
export function effectiveRank(s: Tensor | ArrayLike<number>): number {
  const sigma = Float64Array.from(readSpectrum('effectiveRank', s), Math.abs);
  const largest = largestOf(sigma);
  if (largest === 0) return 0;
  return Math.exp(entropyOf(sumsOf(sigma.map((value) => value / largest))));
}

/**
 * The derivative of `effectiveRank` by each value: erank · c_i, where c_i = −(log p_i + H) / Σ|s| is the direction in
 * which the entropy rises (SiVA, Theorem 1), with the sign of s_i. Subtract a multiple of it from the gradient of the
 * loss to train towards a higher effective rank. Where s_i is 0 the slope has no bound and the sign is open: 0 is returned.
 *
 * @param s singular values, or a spectrum that training has moved
 * @returns as many numbers as s has
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * effectiveRankGradient([3, 1]); // negative, positive: a smaller first or a larger second value levels the spectrum
 */
export function effectiveRankGradient(s: Tensor | ArrayLike<number>): Float64Array {
  const op = 'effectiveRankGradient';
  const signed = readSpectrum(op, s);
  const sigma = Float64Array.from(signed, Math.abs);
  const largest = largestOf(sigma);
  const scaled = sigma.map((value) => value / largest);
  const sums = sumsOf(scaled);
  const entropy = entropyOf(sums);
  return scaled.map((value, i) => {
    if (sigma[i] === 0) return 0;
    const rise = -(Math.log(value / sums.sum) + entropy) / sums.sum / largest;
    return Math.sign(signed[i] as number) * Math.exp(entropy) * rise;
  });
}
