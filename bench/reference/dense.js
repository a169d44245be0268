// @ts-check
// Dense matrices in float64, naively: the meaning of the package in as few lines as it takes. The tests and the benchmarks
// share these files. They use nothing of the package, so that an error has to be made twice to go unseen.

/** @typedef {ArrayLike<number>} Vector */
/** @typedef {{ readonly rows: number, readonly columns: number, readonly data: Vector }} View row-major */
/** @typedef {{ readonly rows: number, readonly columns: number, readonly data: Float64Array }} Matrix a View that owns its numbers */

/** A view on numbers of any type, without a copy. @param {number} rows @param {number} columns @param {Vector} data @returns {View} */
export function view(rows, columns, data) {
  if (data.length !== rows * columns) throw new RangeError(`${rows} × ${columns} from ${data.length} numbers`);
  return { rows, columns, data };
}

/** @param {number} rows @param {number} columns @param {Vector} data @returns {Matrix} */
export const matrix = (rows, columns, data) => ({ ...view(rows, columns, data), data: Float64Array.from(data) });

/** @param {View} a @param {number} i @param {number} j @returns {number} */
export function entry(a, i, j) {
  const value = a.data[i * a.columns + j];
  if (value === undefined) throw new RangeError(`no entry (${i}, ${j}) in ${a.rows} × ${a.columns}`);
  return value;
}

/** @param {number} rows @param {number} columns @param {(i: number, j: number) => number} value @returns {Matrix} */
export function build(rows, columns, value) {
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) data[i * columns + j] = value(i, j);
  return { rows, columns, data };
}

/** @param {View} a */
export const transpose = (a) => build(a.columns, a.rows, (i, j) => entry(a, j, i));
/** @param {View} a @param {View} b */
export const add = (a, b) => build(a.rows, a.columns, (i, j) => entry(a, i, j) + entry(b, i, j));
/** @param {View} a @param {View} b */
export const subtract = (a, b) => build(a.rows, a.columns, (i, j) => entry(a, i, j) - entry(b, i, j));
/** @param {number} n */
export const identity = (n) => build(n, n, (i, j) => (i === j ? 1 : 0));
/** @param {Vector} d */
export const diagonal = (d) => build(d.length, d.length, (i, j) => (i === j ? d[i] : 0));
/** The Frobenius norm. @param {View} a */
export const norm = (a) => length(a.data);
/** @param {View} a */
export const largest = (a) => Array.from(a.data).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** @param {View} a @param {View} b @returns {Matrix} */
export function matmul(a, b) {
  if (a.columns !== b.rows) throw new RangeError(`${a.rows} × ${a.columns} by ${b.rows} × ${b.columns}`);
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++) {
    const to = i * b.columns;
    for (let k = 0; k < a.columns; k++) {
      const [factor, from] = [a.data[i * a.columns + k], k * b.columns];
      for (let j = 0; j < b.columns; j++) data[to + j] += factor * b.data[from + j];
    }
  }
  return { rows: a.rows, columns: b.columns, data };
}

/** a · v @param {View} a @param {Vector} v */
export function times({ rows, columns, data }, v) {
  const out = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += data[i * columns + j] * v[j];
    out[i] = sum;
  }
  return out;
}

/** aᵀ · v, by rows, which lie together. @param {View} a @param {Vector} v */
export function timesTransposed({ rows, columns, data }, v) {
  const out = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j] += data[i * columns + j] * v[i];
  }
  return out;
}

/** The Euclidean norm. @param {Vector} v */
export function length(v) {
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += v[i] ** 2;
  return Math.sqrt(sum);
}

/** ‖found − wanted‖ / ‖wanted‖; NaN becomes Infinity, so that it fails every bound. @param {Vector} found @param {Vector} wanted */
export function distance(found, wanted) {
  if (found.length !== wanted.length) return Number.POSITIVE_INFINITY;
  const relative = length(Float64Array.from(wanted, (value, i) => found[i] - value)) / (length(wanted) || 1);
  return Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative;
}

/**
 * A matrix with these singular values: a diagonal matrix between three reflections on each side, which `normals` draws.
 * @param {number} rows @param {number} columns @param {(j: number) => number} spectrum
 * @param {(count: number) => ArrayLike<number>} normals @returns {Matrix}
 */
export function withSingularValues(rows, columns, spectrum, normals) {
  const made = build(rows, columns, (i, j) => (i === j ? spectrum(i) : 0));
  const { data } = made;
  for (let pass = 0; pass < 3; pass++) {
    const [u, v] = [normals(rows), normals(columns)];
    const [ofU, ofV] = [2 / length(u) ** 2, 2 / length(v) ** 2];
    const image = times(made, v);
    for (let i = 0; i < rows; i++) {
      const factor = ofV * image[i];
      for (let j = 0; j < columns; j++) data[i * columns + j] -= factor * v[j];
    }
    const back = timesTransposed(made, u);
    for (let i = 0; i < rows; i++) {
      const factor = ofU * u[i];
      for (let j = 0; j < columns; j++) data[i * columns + j] -= factor * back[j];
    }
  }
  return made;
}

/** Singular values by one-sided Jacobi rotations, descending: independent of LAPACK, accurate to rounding. @param {View} a */
export function singularValues(a) {
  const { rows, columns, data } = a.rows >= a.columns ? transpose(a) : matrix(a.rows, a.columns, a.data);
  // `rows` vectors of length `columns` are rotated until they are orthogonal; their norms are the answer.
  const row = (/** @type {number} */ i) => data.subarray(i * columns, (i + 1) * columns);
  for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
    rotated = false;
    for (let p = 0; p < rows; p++) {
      for (let q = p + 1; q < rows; q++) rotated = rotate(row(p), row(q)) || rotated;
    }
  }
  const norms = Float64Array.from({ length: rows }, (_, i) => Math.hypot(...row(i)));
  return norms.sort().reverse();
}

/** Makes two vectors orthogonal; false if they are. @param {Float64Array} x @param {Float64Array} y */
function rotate(x, y) {
  let [xx, yy, xy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xx += x[i] * x[i];
    yy += y[i] * y[i];
    xy += x[i] * y[i];
  }
  // Orthogonal to the rounding of the sums; what is left of xy enters σ squared.
  if (Math.abs(xy) <= 1e-15 * Math.sqrt(xx * yy)) return false;
  const zeta = (yy - xx) / (2 * xy);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < x.length; i++) {
    const [left, right] = [x[i], y[i]];
    x[i] = cosine * left - sine * right;
    y[i] = sine * left + cosine * right;
  }
  return true;
}

/** @param {Vector} s */
export function effectiveRank(s) {
  const magnitudes = Array.from(s, Math.abs);
  const total = magnitudes.reduce((sum, value) => sum + value, 0);
  if (total === 0) return 0;
  let entropy = 0;
  for (const value of magnitudes) if (value > 0) entropy -= (value / total) * Math.log(value / total);
  return Math.exp(entropy);
}
