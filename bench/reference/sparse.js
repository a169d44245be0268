// @ts-check
// Sparse products in float64.
import { build, entry, matmul, transpose } from './dense.js';

/** @typedef {import('./dense.js').Vector} Vector */
/** @typedef {import('./dense.js').View} View */

/**
 * What the package calls a SparsityPattern, as far as a product needs it.
 * @typedef {{ readonly shape: readonly [number, number], readonly rowPointers: Vector, readonly columnIndices: Vector }} Csr
 */

/** The coordinates in slot order. @param {Csr} pattern @returns {{ row: number, column: number }[]} */
export function coordinates({ shape, rowPointers, columnIndices }) {
  const out = [];
  for (let i = 0; i < shape[0]; i++) {
    for (let p = rowPointers[i]; p < rowPointers[i + 1]; p++) out.push({ row: i, column: columnIndices[p] });
  }
  return out;
}

/** M as a dense matrix: duplicates sum. @param {Csr} pattern @param {Vector} values */
export function densify(pattern, values) {
  const m = build(pattern.shape[0], pattern.shape[1], () => 0);
  for (const [p, { row, column }] of coordinates(pattern).entries()) {
    m.data[row * m.columns + column] = entry(m, row, column) + values[p];
  }
  return m;
}

/** M · v, or Mᵀ · v. @param {Csr} pattern @param {Vector} values @param {Vector} v @param {boolean} [transposed] */
export function timesSparse({ shape, rowPointers, columnIndices }, values, v, transposed = false) {
  const out = new Float64Array(shape[transposed ? 1 : 0]);
  for (let i = 0; i < shape[0]; i++) {
    for (let p = rowPointers[i]; p < rowPointers[i + 1]; p++) {
      const j = columnIndices[p];
      if (transposed) out[j] += values[p] * v[i];
      else out[i] += values[p] * v[j];
    }
  }
  return out;
}

/** @param {Csr} pattern @param {Vector} values @param {View} dense @param {boolean} [transposed] */
export function spmm(pattern, values, dense, transposed = false) {
  const m = densify(pattern, values);
  return matmul(transposed ? transpose(m) : m, dense);
}

/** Entry (row, column) of a · bᵀ. @param {View} a @param {View} b @param {number} row @param {number} column */
export function dotOfRows(a, b, row, column) {
  let sum = 0;
  for (let t = 0; t < a.columns; t++) sum += a.data[row * a.columns + t] * b.data[column * b.columns + t];
  return sum;
}

/** @param {Csr} pattern @param {View} a @param {View} b */
export const sddmm = (pattern, a, b) =>
  Float64Array.from(coordinates(pattern), ({ row, column }) => dotOfRows(a, b, row, column));
