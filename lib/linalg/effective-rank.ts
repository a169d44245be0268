import { reject } from '../check.js';
import { checkReal, memoryOf } from '../tensor/operand.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * exp of the entropy of |s| / Σ|s| (Roy and Vetterli 2007); 0 for all zeros.
 *
 * @param s singular values, or a spectrum that training has moved
 * @example
 * effectiveRank([1, 1, 1, 0]); // 3
 */
export function effectiveRank(s: Tensor | ArrayLike<number>): number {
  const values = Tensor.is(s) ? memoryOf('effectiveRank', 's', checkReal('effectiveRank', 's', s)) : s;
  if (typeof values !== 'object' || values === null || !Number.isInteger(values.length) || values.length < 1) {
    reject('effectiveRank', 's', 'a Tensor or an array of at least one number', s);
  }
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    if (typeof values[i] !== 'number') reject('effectiveRank', `s[${i}]`, 'a number', values[i]);
    sum += Math.abs(values[i] as number);
  }
  if (sum === 0) return 0;
  let entropy = 0;
  for (let i = 0; i < values.length; i++) {
    const p = Math.abs(values[i] as number) / sum;
    if (p > 0) entropy -= p * Math.log(p);
    else if (Number.isNaN(p)) return Number.NaN;
  }
  return Math.exp(entropy);
}
