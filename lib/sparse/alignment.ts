import { checkBoolean, checkOptions, describe, fail } from '../check.js';
import { native, type RealArray } from '../native.js';
import { anything, checkReal, memoryOf, numbersOf, output } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';

/** The scores UᵀV (r, r) of every pair of singular directions. */
export function alignments(
  op: string,
  u: Tensor,
  vt: Tensor,
  options?: { absolute?: boolean },
): { r: number; scores: RealArray; absolute: boolean } {
  const given = checkOptions(op, 'options', options, ['absolute']);
  const absolute = checkBoolean(op, 'options.absolute', given.absolute ?? true);
  const left = checkReal(op, 'u', u, { ...anything, shape: [null, null] });
  const [n, r] = left.shape as MatrixShape;
  const right = checkReal(op, 'vt', vt, { shape: [r, null], dtype: left.dtype, device: left.device });
  if (right.shape[1] !== n) {
    const got = `${describe([...left.shape])} and ${describe([...right.shape])}`;
    fail('SHAPE_MISMATCH', op, 'vt', 'the factors of a square weight, since u_i · v_j needs equal lengths', got);
  }
  const product = output(op, left, [r, r]);
  native.gemm(op, memoryOf(op, 'u', left), memoryOf(op, 'vt', right), product.memory, r, r, n, true, true);
  const scores = product.tensor();
  const found = numbersOf(op, 'scores', scores);
  scores.dispose();
  return { r, scores: found, absolute };
}

/** The indices of the `count` largest scores, ascending; of equals the first. */
export function largest(scores: ArrayLike<number>, count: number, absolute: boolean): number[] {
  const size = Float64Array.from(scores, absolute ? Math.abs : Number);
  const threshold = size.slice().sort().at(-count) as number;
  let above = 0;
  for (const score of size) if (score > threshold) above += 1;
  let ties = count - above;
  const chosen: number[] = [];
  for (const [cell, score] of size.entries()) {
    if (score > threshold || (score === threshold && ties-- > 0)) chosen.push(cell);
  }
  return chosen;
}
