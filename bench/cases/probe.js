// @ts-check
// Float64 references that cost little. A product with a random vector of signs shrinks a matrix to one number a row, and
// on average keeps the size of its error; so a result of n³ work is checked against a reference of n².
/** @typedef {ArrayLike<number>} Numbers */

/** matrix [rows, columns] · vector. @param {Numbers} matrix @param {number} rows @param {Numbers} vector */
export function times(matrix, rows, vector) {
  const columns = vector.length;
  const out = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += matrix[i * columns + j] * vector[j];
    out[i] = sum;
  }
  return out;
}

/** matrixᵀ · vector, for a matrix [vector's length, columns]. @param {Numbers} matrix @param {number} columns @param {Numbers} vector */
export function timesTransposed(matrix, columns, vector) {
  const out = new Float64Array(columns);
  for (let i = 0; i < vector.length; i++) {
    for (let j = 0; j < columns; j++) out[j] += matrix[i * columns + j] * vector[i];
  }
  return out;
}

/** @param {Numbers} vector */
export function norm(vector) {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i] ** 2;
  return Math.sqrt(sum);
}

/** ‖found − wanted‖ / ‖wanted‖; NaN becomes Infinity, so that it fails every bound. @param {Numbers} found @param {Numbers} wanted */
export function distance(found, wanted) {
  if (found.length !== wanted.length) return Number.POSITIVE_INFINITY;
  const relative = norm(Float64Array.from(wanted, (value, i) => found[i] - value)) / (norm(wanted) || 1);
  return Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative;
}

/** @typedef {{ rowPointers: Int32Array, columnIndices: Int32Array }} Csr */

/** M · vector, or Mᵀ · vector. @param {Csr} pattern @param {Numbers} values @param {Numbers} vector @param {boolean} [transpose] */
export function timesSparse({ rowPointers, columnIndices }, values, vector, transpose = false) {
  const out = new Float64Array(vector.length);
  for (let i = 0; i + 1 < rowPointers.length; i++) {
    for (let p = rowPointers[i]; p < rowPointers[i + 1]; p++) {
      const j = columnIndices[p];
      if (transpose) out[j] += values[p] * vector[i];
      else out[i] += values[p] * vector[j];
    }
  }
  return out;
}
