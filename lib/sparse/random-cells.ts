import { checkBoolean, checkOptions, checkSeed, reject } from '../check.js';
import { type Random, random } from '../random.js';
import { allocate } from '../tensor/dtype.js';

export interface RandomOptions {
  seed: number;
  /** Draw every cell on its own, so that some repeat. Default false. */
  replacement?: boolean;
  /** Start with the whole diagonal. Default false. */
  includeDiagonal?: boolean;
}

/** `count` distinct integers below `limit` (Floyd 1987). */
function distinct(op: string, generator: Random, count: number, limit: number): number[] {
  const taken = allocate(op, 'int32', Math.ceil(limit / 32)); // a bit for each cell
  const isTaken = (cell: number) => ((taken[Math.floor(cell / 32)] as number) >>> (cell % 32)) & 1;
  const drawn: number[] = [];
  for (let j = limit - count; j < limit; j++) {
    const candidate = generator.below(j + 1);
    const cell = isTaken(candidate) ? j : candidate;
    const word = Math.floor(cell / 32);
    taken[word] = (taken[word] as number) | (1 << (cell % 32));
    drawn.push(cell);
  }
  return drawn;
}

/** Coordinates of `count` random cells of the r x r core. */
export function randomCells(
  op: string,
  r: number,
  count: number,
  options: RandomOptions,
): { rows: number[]; columns: number[] } {
  if (options === undefined) reject(op, 'options', 'an object with a seed', options);
  const given = checkOptions(op, 'options', options, ['seed', 'replacement', 'includeDiagonal']);
  const generator = random(checkSeed(op, 'options.seed', given.seed));
  const replacement = checkBoolean(op, 'options.replacement', given.replacement ?? false);
  const diagonal = checkBoolean(op, 'options.includeDiagonal', given.includeDiagonal ?? false);

  const fixed = diagonal ? Array.from({ length: r }, (_, i) => i * r + i) : [];
  if (count < fixed.length) reject(op, 'size', `at least the ${r} entries of the diagonal`, count);
  const free = diagonal && !replacement ? r * r - r : r * r;
  const wanted = count - fixed.length;
  if (!replacement && wanted > free) reject(op, 'size', `at most ${free + fixed.length} distinct entries`, count);

  const drawn = replacement
    ? Array.from({ length: wanted }, () => generator.below(r * r))
    : distinct(op, generator, wanted, free);
  // Numbering the cells off the diagonal: each run of r of them starts just after a diagonal cell.
  const cells = diagonal && !replacement ? drawn.map((k) => k + Math.floor(k / r) + 1) : drawn;
  const all = [...fixed, ...cells];
  return { rows: all.map((cell) => Math.floor(cell / r)), columns: all.map((cell) => cell % r) };
}
