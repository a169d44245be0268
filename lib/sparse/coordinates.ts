import { checkInteger } from '../runtime/check.js';
import type { Work } from '../runtime/slices.js';
import { allocate, readNumbers } from '../tensor/dtype.js';

/** A CSR structure, and the slot of each given coordinate. */
export interface Cells {
  readonly rowPointers: Int32Array;
  readonly columnIndices: Int32Array;
  readonly slots: Int32Array | undefined;
}

/** Coordinates of cells, in any order. */
export interface Coordinates {
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** Cells between two yields. */
const piece = 2 ** 13;

/** Allocates the coordinates of `count` cells. */
export function coordinates(op: string, count: number): Coordinates {
  return { rows: allocate(op, 'int32', count), columns: allocate(op, 'int32', count) };
}

/** Reads each index of the r x r core once. */
export function readIndices(op: string, argument: string, given: unknown, r: number): Int32Array {
  const list = readNumbers(op, argument, given);
  const count = checkInteger(op, `${argument}.length`, list.length, 1);
  const indices = allocate(op, 'int32', count);
  for (let p = 0; p < count; p++) {
    const index = list[p] as number;
    const fits = Number.isInteger(index) && index >= 0 && index < r;
    indices[p] = fits ? index : checkInteger(op, `${argument}[${p}]`, index, 0, r - 1);
  }
  return indices;
}

/** The coordinates of cells that are numbered in row-major order. */
export function* numberedCoordinates(op: string, cells: ArrayLike<number>, r: number): Work<Coordinates> {
  const { rows, columns } = coordinates(op, cells.length);
  for (let p = 0; p < cells.length; p++) {
    const cell = cells[p] as number;
    rows[p] = Math.floor(cell / r);
    columns[p] = cell % r;
    if (p % piece === 0) yield;
  }
  return { rows, columns };
}

/** The coordinates of the slots of a CSR structure. Its column indices are shared. */
export function slotCoordinates({ rowPointers, columnIndices }: Omit<Cells, 'slots'>): Coordinates {
  const rows = new Int32Array(columnIndices.length);
  for (let i = 0; i + 1 < rowPointers.length; i++) rows.fill(i, rowPointers[i], rowPointers[i + 1]);
  return { rows, columns: columnIndices };
}

/** Coordinates to CSR: a stable sort by row, then by column. */
export function* coordinateCells(op: string, { rows, columns }: Coordinates, r: number): Work<Cells> {
  const byColumn = yield* stableOrder(op, columns, r);
  const { order, starts } = yield* stableOrder(op, rows, r, byColumn.order);
  const columnIndices = allocate(op, 'int32', rows.length);
  const slots = allocate(op, 'int32', rows.length);
  for (let slot = 0; slot < order.length; slot++) {
    const p = order[slot] as number;
    columnIndices[slot] = columns[p] as number;
    slots[p] = slot;
    if (slot % piece === 0) yield;
  }
  return { rowPointers: starts, columnIndices, slots };
}

/**
 * Stable counting sort of keys in [0, r), in the order of `before` within a key. Key i has slots [starts[i], starts[i +
 * 1]).
 */
function* stableOrder(op: string, keys: Int32Array, r: number, before?: Int32Array) {
  const starts = allocate(op, 'int32', r + 1);
  for (let p = 0; p < keys.length; p++) {
    const after = (keys[p] as number) + 1;
    starts[after] = (starts[after] as number) + 1;
    if (p % piece === 0) yield;
  }
  for (let i = 1; i <= r; i++) starts[i] = (starts[i] as number) + (starts[i - 1] as number);
  const next = starts.slice();
  const order = allocate(op, 'int32', keys.length);
  for (let k = 0; k < keys.length; k++) {
    const p = before ? (before[k] as number) : k;
    const key = keys[p] as number;
    const slot = next[key] as number;
    order[slot] = p;
    next[key] = slot + 1;
    if (k % piece === 0) yield;
  }
  return { order, starts };
}
