import { checkInteger } from '../check.js';
import { allocate, readNumbers } from '../tensor/dtype.js';

type Indices = Int32Array | readonly number[];

/** A CSR structure, and where each given coordinate went. */
export interface Cells {
  readonly rowPointers: Int32Array;
  readonly columnIndices: Int32Array;
  readonly slots?: Int32Array;
}

/** Indices of the r x r core, each read once. */
export function readIndices(op: string, argument: string, given: unknown, r: number): Int32Array {
  const list = readNumbers(op, argument, given);
  const count = checkInteger(op, `${argument}.length`, list.length, 1);
  const indices = allocate(op, 'int32', count);
  for (let p = 0; p < count; p++) indices[p] = checkInteger(op, `${argument}[${p}]`, list[p], 0, r - 1);
  return indices;
}

/** Coordinates in any order to CSR, by row and then by column; equal ones stay in the order given. */
export function coordinateCells(rows: Indices, columns: Indices, r: number): Cells {
  const count = rows.length;
  const order = Int32Array.from({ length: count }, (_, p) => p);
  order.sort((p, q) => at(rows, p) - at(rows, q) || at(columns, p) - at(columns, q) || p - q);

  const rowPointers = new Int32Array(r + 1);
  const columnIndices = new Int32Array(count);
  const slots = new Int32Array(count);
  for (const [slot, p] of order.entries()) {
    rowPointers[at(rows, p) + 1] = slot + 1;
    columnIndices[slot] = at(columns, p);
    slots[p] = slot;
  }
  for (let i = 1; i <= r; i++) rowPointers[i] = Math.max(rowPointers[i] as number, rowPointers[i - 1] as number);
  return { rowPointers, columnIndices, slots };
}

function at(list: Indices, index: number): number {
  return list[index] as number;
}
