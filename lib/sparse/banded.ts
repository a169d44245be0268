import { checkInteger, checkOptions, isRecord } from '../runtime/check.js';
import { allocate } from '../tensor/dtype.js';
import type { Cells } from './coordinates.js';

/** Number of off-diagonals below and above the diagonal. */
export interface Band {
  lower: number;
  upper: number;
}

/** Checks a band. A number stands for both sides. */
export function readBand(op: string, argument: string, width: number | Band): Band {
  if (!isRecord(width)) {
    const both = checkInteger(op, argument, width, 0);
    return { lower: both, upper: both };
  }
  const { lower, upper } = checkOptions(op, argument, width, ['lower', 'upper']);
  return {
    lower: checkInteger(op, `${argument}.lower`, lower, 0),
    upper: checkInteger(op, `${argument}.upper`, upper, 0),
  };
}

/** Clips a band to the core. */
function cut(r: number, { lower, upper }: Band): Band {
  return { lower: Math.min(lower, r - 1), upper: Math.min(upper, r - 1) };
}

/** Number of entries of a band on the r x r core; r(2d + 1) − d(d + 1) if both sides have d off-diagonals. */
export function bandedEntries(r: number, band: Band): number {
  const [n, lower, upper] = [r, ...Object.values(cut(r, band))].map(BigInt) as [bigint, bigint, bigint];
  // BigInt, because the terms may exceed 2^53 although their sum does not.
  return Number(n * (lower + upper + 1n) - (lower * (lower + 1n)) / 2n - (upper * (upper + 1n)) / 2n);
}

/** All (i, j) with −lower ≤ j − i ≤ upper. */
export function bandedCells(op: string, r: number, band: Band): Cells {
  const { lower, upper } = cut(r, band);
  const entries = checkInteger(op, 'entries of the band', bandedEntries(r, band), 1);
  const rowPointers = allocate(op, 'int32', r + 1);
  const columnIndices = allocate(op, 'int32', entries);
  let slot = 0;
  for (let i = 0; i < r; i++) {
    const last = Math.min(r - 1, i + upper);
    for (let j = Math.max(0, i - lower); j <= last; j++) columnIndices[slot++] = j;
    rowPointers[i + 1] = slot;
  }
  return { rowPointers, columnIndices, slots: undefined };
}
