import { checkInteger, describe, fail, reject } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { atOnce } from '../runtime/slices.js';
import { allocate } from '../tensor/dtype.js';
import { anything, checkReal, numbersOf } from '../tensor/operand.js';
import { largest } from './alignment.js';

/** A score for each cell of an r x r core. */
export interface Scores {
  readonly r: number;
  readonly numbers: RealArray;
}

export function readScores(op: string, argument: string, given: unknown): Scores {
  const scores = checkReal(op, argument, given, { ...anything, shape: [null, null] });
  const [r, columns] = scores.shape as readonly [number, number];
  if (r !== columns) fail('SHAPE_MISMATCH', op, argument, 'a square matrix [r, r]', describe([...scores.shape]));
  const numbers = numbersOf(op, argument, scores);
  const wrong = numbers.findIndex((each) => !Number.isFinite(each));
  if (wrong >= 0) {
    const at = `${numbers[wrong]} at [${Math.floor(wrong / r)}, ${wrong % r}]`;
    fail('NON_FINITE', op, argument, 'finite numbers', at);
  }
  return { r, numbers };
}

/**
 * The `count` cells with the largest scores of all layers, at least `least` of each layer. For each layer its cells in
 * row-major numbers, ascending.
 */
export function sharedBudget(
  op: string,
  layers: readonly (Scores & { readonly name: string })[],
  count: number,
  least: unknown,
): readonly Float64Array[] {
  const cells = layers.map(({ numbers }) => numbers.length);
  const fewest = checkInteger(op, 'options.least', least, 1);
  const small = layers.find(({ numbers }) => numbers.length < fewest);
  if (small) reject(op, 'options.least', `at most ${small.numbers.length}, the cells of '${small.name}'`, fewest);
  const total = cells.reduce((sum, each) => sum + each, 0);
  if (count < fewest * layers.length) {
    reject(op, 'size.entries', `at least ${fewest * layers.length}: ${fewest} for each layer`, count);
  }
  if (count > total) reject(op, 'size.entries', `at most ${total}, the cells of all layers`, count);
  const wide = layers.some(({ numbers }) => numbers instanceof Float64Array);
  const all = allocate(op, wide ? 'float64' : 'float32', total);
  const starts: number[] = [];
  let start = 0;
  for (const { numbers } of layers) {
    all.set(numbers, start);
    starts.push(start);
    // A layer's own largest come first.
    for (const cell of atOnce(largest(op, numbers, fewest, true))) {
      all[start + cell] = Number.POSITIVE_INFINITY;
    }
    start += numbers.length;
  }
  const chosen = atOnce(largest(op, all, count, true));
  let from = 0;
  return layers.map(({ numbers }, at) => {
    const first = starts[at] as number;
    let to = from;
    while (to < chosen.length && (chosen[to] as number) < first + numbers.length) to++;
    const own = chosen.subarray(from, to).map((cell) => cell - first);
    from = to;
    return own;
  });
}
