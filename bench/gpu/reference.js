// @ts-check
// What a device should have computed: float64 on the host, for a sample of the outputs where there are many.

let state = 99;

/** `count` of the numbers below `limit`, all of them where there are no more. @param {number} limit @param {number} count @returns {number[]} */
export function some(limit, count) {
  if (limit <= count) return Array.from({ length: limit }, (_, i) => i);
  const chosen = new Set();
  while (chosen.size < count) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chosen.add(Math.floor((state / 2 ** 32) * limit));
  }
  return [...chosen];
}

/** @typedef {{ got: number, wanted: number }} Pair */

/**
 * The largest difference, in units of what the wanted numbers are like (their root mean square).
 * @param {readonly Pair[]} pairs @param {string} of @param {number} bound @returns {import('./case.js').Deviation}
 */
export function deviation(pairs, of, bound) {
  const size = Math.sqrt(pairs.reduce((sum, { wanted }) => sum + wanted * wanted, 0) / pairs.length);
  const value = pairs.reduce((most, { got, wanted }) => {
    const off = Math.abs(got - wanted) / (size || 1);
    return most >= off ? most : off; // NaN stays
  }, 0);
  return { value, bound, of: `${of}, the largest of ${pairs.length} over their rms` };
}

/**
 * Σ_i a[from + i · step] · b[start + i · stride]
 * @param {ArrayLike<number>} a @param {number} from @param {number} step
 * @param {ArrayLike<number>} b @param {number} start @param {number} stride @param {number} count
 */
export function dot(a, from, step, b, start, stride, count) {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[from + i * step] * b[start + i * stride];
  return sum;
}

/** The CSR row of each entry. @param {import('sigmatune').SparsityPattern} pattern */
export function rowsOf({ rowPointers, entries }) {
  const rows = new Int32Array(entries);
  for (let i = 0; i + 1 < rowPointers.length; i++) rows.fill(i, rowPointers[i], rowPointers[i + 1]);
  return rows;
}

/** @typedef {{ diagonal: ArrayLike<number>, pattern?: import('sigmatune').SparsityPattern | undefined,
 *   values?: ArrayLike<number>, scale?: number }} Core */

/**
 * C z, or Cᵀ z, of C = diag(d) + scale · M on a pattern.
 * @param {Core} core
 * @param {Float64Array} z @param {boolean} transpose @returns {Float64Array}
 */
export function applyCore({ diagonal, pattern, values, scale = 1 }, z, transpose) {
  const result = Float64Array.from(z, (value, i) => diagonal[i] * value);
  if (!pattern || !values) return result;
  const { rowPointers, columnIndices } = pattern;
  for (let i = 0; i < z.length; i++) {
    for (let p = rowPointers[i]; p < rowPointers[i + 1]; p++) {
      const j = columnIndices[p];
      if (transpose) result[j] += scale * values[p] * z[i];
      else result[i] += scale * values[p] * z[j];
    }
  }
  return result;
}
