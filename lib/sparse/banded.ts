import { checkInteger } from '../check.js';
import { allocate } from '../tensor/dtype.js';
import type { Cells } from './coordinates.js';

/** The entries of a band of d off-diagonals on either side: r(2d + 1) − d(d + 1), with d cut to r − 1. */
export function bandedEntries(r: number, offDiagonals: number): number {
  const d = Math.min(offDiagonals, r - 1);
  return r * (2 * d + 1) - d * (d + 1);
}

/** All (i, j) with −lower ≤ j − i ≤ upper; both are below r. */
export function bandedCells(op: string, r: number, lower: number, upper: number): Cells {
  const entries = r * (lower + upper + 1) - (lower * (lower + 1)) / 2 - (upper * (upper + 1)) / 2;
  checkInteger(op, 'entries of the band', entries, 1);
  const rowPointers = allocate(op, 'int32', r + 1);
  const columnIndices = allocate(op, 'int32', entries);
  let slot = 0;
  for (let i = 0; i < r; i++) {
    const last = Math.min(r - 1, i + upper);
    for (let j = Math.max(0, i - lower); j <= last; j++) columnIndices[slot++] = j;
    rowPointers[i + 1] = slot;
  }
  return { rowPointers, columnIndices };
}
