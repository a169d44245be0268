import { checkInteger } from '../check.js';

/** A CSR structure, and where each given coordinate went. */
export interface Cells {
  readonly rowPointers: Int32Array;
  readonly columnIndices: Int32Array;
  readonly slots?: Int32Array;
}

/** Coordinates in any order to CSR, by row and then by column; equal ones stay in the order given. */
export function coordinateCells(op: string, rows: ArrayLike<number>, columns: ArrayLike<number>, r: number): Cells {
  const count = checkInteger(op, 'rows.length', rows.length, 1);
  for (let p = 0; p < count; p++) {
    checkInteger(op, `rows[${p}]`, rows[p], 0, r - 1);
    checkInteger(op, `columns[${p}]`, columns[p], 0, r - 1);
  }
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

function at(list: ArrayLike<number>, index: number): number {
  return list[index] as number;
}
