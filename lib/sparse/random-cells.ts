import { checkBoolean, checkOptions, checkSeed, reject } from '../runtime/check.js';
import { type Random, random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { allocate } from '../tensor/dtype.js';

export interface RandomOptions {
  /** Any safe integer. */
  seed: number;
  /** Draw with replacement, so that cells can repeat. Default false. */
  replacement?: boolean;
  /** Start with the whole diagonal. Default false. */
  includeDiagonal?: boolean;
}

/** Numbers between two yields. */
const piece = 2 ** 10;

/** Fills `into` with distinct integers below `limit` (Floyd 1987). */
function* distinct(op: string, generator: Random, limit: number, into: Float64Array): Work<void> {
  const taken = allocate(op, 'int32', Math.ceil(limit / 32)); // a bit for each cell
  const isTaken = (cell: number) => ((taken[Math.floor(cell / 32)] as number) >>> (cell % 32)) & 1;
  for (let k = 0; k < into.length; k++) {
    const j = limit - into.length + k;
    const candidate = generator.below(j + 1);
    const cell = isTaken(candidate) ? j : candidate;
    const word = Math.floor(cell / 32);
    taken[word] = (taken[word] as number) | (1 << (cell % 32));
    into[k] = cell;
    if (k % piece === 0) yield;
  }
}

/** `count` random cells of the r x r core, numbered in row-major order. */
export function* randomCells(op: string, r: number, count: number, options: RandomOptions): Work<Float64Array> {
  if (options === undefined) reject(op, 'options', 'an object with a seed', options);
  const given = checkOptions(op, 'options', options, ['seed', 'replacement', 'includeDiagonal']);
  const generator = random(checkSeed(op, 'options.seed', given.seed));
  const replacement = checkBoolean(op, 'options.replacement', given.replacement ?? false);
  const diagonal = checkBoolean(op, 'options.includeDiagonal', given.includeDiagonal ?? false);

  const fixed = diagonal ? r : 0;
  if (count < fixed) reject(op, 'size', `at least the ${r} entries of the diagonal`, count);
  const free = diagonal && !replacement ? r * r - r : r * r;
  if (!replacement && count - fixed > free) reject(op, 'size', `at most ${free + fixed} distinct entries`, count);

  const cells = allocate(op, 'float64', count);
  for (let i = 0; i < fixed; i++) cells[i] = i * r + i;
  const drawn = cells.subarray(fixed);
  if (replacement) {
    for (let k = 0; k < drawn.length; k++) {
      drawn[k] = generator.below(r * r);
      if (k % piece === 0) yield;
    }
    return cells;
  }
  yield* distinct(op, generator, free, drawn);
  // Renumbers the off-diagonal cells: each run of r of them starts just after a diagonal cell.
  if (diagonal) for (let k = 0; k < drawn.length; k++) drawn[k] = offDiagonal(drawn[k] as number, r);
  return cells;
}

function offDiagonal(k: number, r: number): number {
  return k + Math.floor(k / r) + 1;
}
