import { checkInteger, checkOptions, fail, reject, rejectInstance } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { atOnce } from '../runtime/slices.js';
import { allocate, type Real } from '../tensor/dtype.js';
import { anything, checkReal, fromNumbers, numbersOf } from '../tensor/operand.js';
import type { Tensor, VectorShape } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { largest } from './alignment.js';
import { slotCoordinates } from './coordinates.js';
import { readScores } from './gradient-cells.js';
import { SparsityPattern } from './pattern.js';

/** The result of `regrow`. */
export interface Regrown {
  /** As many entries as before. */
  readonly pattern: SparsityPattern;
  /** [entries] The values that stay, in their new slots, and 0 for the entries that have grown. You own it. */
  readonly values: Tensor<Real, VectorShape>;
  /** [entries] The slot that each entry had before; −1 for one that has grown. */
  readonly from: Int32Array;
}

/**
 * Prune and regrow: drops the `drop` entries with the smallest values, and grows as many where the gradient is largest
 * among the cells that have no entry then (RigL: Evci et al. 2020). Make the layer again with the result, on the same
 * factors, and move the optimiser's moments with `movedState`.
 *
 * @param pattern without duplicate coordinates
 * @param values [entries], of M
 * @param scores [r, r], from `coreGradient`
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, DISPOSED, OUT_OF_MEMORY
 * @example
 * const { pattern, values, from } = regrow(layer.pattern, m.value, scores, { drop: 400 });
 * const next = await svft(weight, { factors, pattern, gate: false, init: { m: values.dataSync() } });
 */
export function regrow(
  pattern: SparsityPattern,
  values: TensorLike,
  scores: TensorLike,
  options: { drop: number },
): Regrown {
  const op = 'regrow';
  if (!SparsityPattern.is(pattern)) rejectInstance(op, 'pattern', 'SparsityPattern', pattern);
  const given = checkOptions<{ drop?: number }>(op, 'options', options, ['drop']);
  const { entries, cells } = pattern;
  const drop = checkInteger(op, 'options.drop', given.drop, 1, entries);
  const before = checkReal(op, 'values', values, { ...anything, shape: [entries] });
  const { dtype, device } = before;
  const { r, numbers: gradient } = readScores(op, 'scores', scores);
  const [size] = pattern.shape;
  if (r !== size)
    fail('SHAPE_MISMATCH', op, 'scores', `a score for each cell of the ${size} x ${size} core`, `${r} x ${r}`);
  const numbers = numbersOf(op, 'values', before);
  if (numbers.some(Number.isNaN)) reject(op, 'values', 'numbers', Number.NaN);

  // Cells of the core by slot, in row-major numbers.
  const { rows, columns } = slotCoordinates(cells);
  const cellOf = Float64Array.from(rows, (row, slot) => row * r + (columns[slot] as number));
  const kept = keptSlots(op, numbers, entries - drop);
  const twice = cellOf.findIndex((cell, slot) => slot > 0 && cell === cellOf[slot - 1]);
  if (twice >= 0) {
    const cell = cellOf[twice] as number;
    reject(op, 'pattern', 'no duplicate coordinates', [Math.floor(cell / r), cell % r]);
  }
  const ranked = gradient.map(Math.abs);
  for (const slot of kept) ranked[cellOf[slot] as number] = Number.POSITIVE_INFINITY; // stays
  const chosen = atOnce(largest(op, ranked, entries, true));
  const slotOf = new Map(kept.map((slot) => [cellOf[slot] as number, slot]));
  const from = allocate(op, 'int32', entries);
  const next = allocate(op, dtype, entries);
  for (const [slot, cell] of chosen.entries()) {
    const before = slotOf.get(cell) ?? -1;
    from[slot] = before;
    next[slot] = before < 0 ? 0 : (numbers[before] as number);
  }
  return {
    pattern: SparsityPattern.ofCells(op, chosen, r),
    values: fromNumbers(op, device, dtype, [entries], next),
    from,
  };
}

/** The slots of the `count` largest values, ascending. */
function keptSlots(op: string, values: RealArray, count: number): readonly number[] {
  return count === 0 ? [] : Array.from(atOnce(largest(op, values, count, true)));
}
