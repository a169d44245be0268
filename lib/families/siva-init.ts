import { entropyOf, sumsOf } from '../linalg/effective-rank.js';
import type { RealArray } from '../runtime/native.js';
import { dtypeOf, epsilonOf } from '../tensor/dtype.js';
import { largestMagnitude, normOf } from '../tensor/norm.js';

/**
 * SiVA's Theorem 1: the perturbation δ of the singular values first … first + k − 1 that raises the spectrum's entropy
 * H most, to first order, among all δ with Σ δ² = energy:
 *
 *   δ_i = √energy · c_i / ‖c‖,   c_i = −(log(σ_i / S) + H) / S,   S = Σσ.
 *
 * c is unbounded at σ = 0, so values below the rounding error are raised to it. A spectrum of zeros has no entropy: all
 * its values rise alike. A flat spectrum has maximal entropy, so δ is zero.
 */
export function entropyPerturbation(s: RealArray, first: number, k: number, energy: number): Float64Array {
  const largest = largestMagnitude(s);
  if (largest === 0) return new Float64Array(k).fill(Math.sqrt(energy) / Math.sqrt(k));
  const rounding = epsilonOf(dtypeOf(s));
  const scaled = Float64Array.from(s, (value) => Math.max(value / largest, rounding));
  const sums = sumsOf(scaled);
  const entropy = entropyOf(sums);
  const rise = scaled.subarray(first, first + k).map((value) => -(Math.log(value / sums.sum) + entropy));
  const norm = normOf([rise]);
  // For a flat spectrum c is only rounding noise.
  if (largestMagnitude(rise) <= 16 * Math.sqrt(s.length) * rounding) return new Float64Array(k);
  return rise.map((value) => (Math.sqrt(energy) * value) / norm);
}
