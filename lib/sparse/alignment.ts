import { endianness } from 'node:os';
import { checkBoolean, checkOptions, describe, fail } from '../runtime/check.js';
import { native, type RealArray } from '../runtime/native.js';
import type { Work } from '../runtime/slices.js';
import { anything, checkReal, memoryOf, numbersOf, output } from '../tensor/operand.js';
import type { MatrixShape } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';

/** The scores UᵀV (r, r) of every pair of singular directions. */
export function alignments(
  op: string,
  u: TensorLike,
  vt: TensorLike,
  options?: { absolute?: boolean },
): { r: number; scores: RealArray; absolute: boolean } {
  const given = checkOptions(op, 'options', options, ['absolute']);
  const absolute = checkBoolean(op, 'options.absolute', given.absolute ?? true);
  const left = checkReal(op, 'u', u, { ...anything, shape: [null, null] });
  const [n, r] = left.shape as MatrixShape;
  const right = checkReal(op, 'vt', vt, { shape: [r, null], dtype: left.dtype, device: left.device });
  if (right.shape[1] !== n) {
    const got = `${describe([...left.shape])} and ${describe([...right.shape])}`;
    fail('SHAPE_MISMATCH', op, 'vt', 'the factors of a square weight, because u_i · v_j needs equal lengths', got);
  }
  const product = output(op, left, [r, r]);
  native.gemm(op, memoryOf(op, 'u', left), memoryOf(op, 'vt', right), product.memory, r, r, n, true, true);
  const scores = product.tensor();
  const found = numbersOf(op, 'scores', scores);
  scores.dispose();
  return { r, scores: found, absolute };
}

/** Scores between two yields. */
const piece = 2 ** 15;

/** The indices of the `count` largest scores, ascending. Ties go to the first. */
export function* largest(op: string, scores: RealArray, count: number, absolute: boolean): Work<Float64Array> {
  const least = yield* leastOf(scores, count, absolute);
  const sizeAt = (i: number) => (absolute ? Math.abs(scores[i] as number) : (scores[i] as number));
  let ties = count;
  for (let i = 0; i < scores.length; i++) {
    const size = sizeAt(i);
    if (Number.isNaN(size)) fail('NON_FINITE', op, 'u · vt', 'finite alignments', 'NaN');
    if (size > least) ties -= 1;
    if (i % piece === 0) yield;
  }
  const chosen = new Float64Array(count);
  for (let i = 0, slot = 0; slot < count; i++) {
    const size = sizeAt(i);
    if (size > least || (size === least && ties-- > 0)) chosen[slot++] = i;
    if (i % piece === 0) yield;
  }
  return chosen;
}

/**
 * The `count`-th largest score, by radix selection: 16 bits at a time, from the highest. As integers the bits of floats
 * are ordered once the sign bit, and all other bits of a negative number, are flipped.
 */
function* leastOf(scores: RealArray, count: number, absolute: boolean): Work<number> {
  const digits = scores.BYTES_PER_ELEMENT / 2;
  const bits = new Uint16Array(scores.buffer, scores.byteOffset, scores.length * digits);
  const place = (digit: number) => (endianness() === 'LE' ? digits - 1 - digit : digit);
  const top = place(0);
  const bins = new Uint32Array(2 ** 16);
  /** Indices of the scores that have the answer's digits so far; undefined means all. */
  let candidates: Float64Array | undefined;
  let rank = count;
  for (let digit = 0; digit < digits; digit++) {
    const at = place(digit);
    const length: number = candidates?.length ?? scores.length;
    const keyOf = (k: number) => {
      const first = (candidates ? (candidates[k] as number) : k) * digits;
      const value = bits[first + at] as number;
      if (absolute) return digit === 0 ? value & 0x7fff : value;
      const isNegative = ((bits[first + top] as number) & 0x8000) !== 0;
      return isNegative ? value ^ 0xffff : digit === 0 ? value | 0x8000 : value;
    };
    bins.fill(0);
    for (let k = 0; k < length; k++) {
      const key = keyOf(k);
      bins[key] = (bins[key] as number) + 1;
      if (k % piece === 0) yield;
    }
    let bin = bins.length - 1;
    while ((bins[bin] as number) < rank) rank -= bins[bin--] as number;
    const next = new Float64Array(bins[bin] as number);
    for (let k = 0, slot = 0; slot < next.length; k++) {
      if (keyOf(k) === bin) next[slot++] = candidates ? (candidates[k] as number) : k;
      if (k % piece === 0) yield;
    }
    candidates = next;
  }
  const found = scores[candidates?.[0] as number] as number;
  return absolute ? Math.abs(found) : found;
}
