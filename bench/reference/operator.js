// @ts-check
// The adapter operator in float64: C = diag(σ) + g·M; Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b.
import { add, build, diagonal, entry, matmul, times, timesTransposed, transpose } from './dense.js';
import { coordinates, densify, timesSparse } from './sparse.js';

/** @typedef {import('./dense.js').Vector} Vector */
/** @typedef {import('./dense.js').View} View */
/** @typedef {import('./dense.js').Matrix} Matrix */

/**
 * @typedef {object} Operator
 * @property {View | undefined} [base] W0 [out, in], where the family has a base term
 * @property {View} u [out, r]
 * @property {View} vt [r, in]
 * @property {Vector} sigma the diagonal of the core, [r]
 * @property {{ pattern: import('./sparse.js').Csr, values: Vector } | undefined} [m]
 * @property {number | undefined} [gate] γ, where M is gated: g = sigmoid(γ); else g = 1
 * @property {Vector | undefined} [bias]
 * @property {Readonly<Record<string, 'sigma' | 'm'>>} [names] what the family calls its parameters, where a parameter's own name does not say which gradient it has
 */

/** @param {number} x */
export const sigmoid = (x) => 1 / (1 + Math.exp(-x));
/** g @param {Operator} operator */
export const strength = ({ gate }) => (gate === undefined ? 1 : sigmoid(gate));

/** C as a dense matrix. @param {Operator} operator @returns {Matrix} */
export function core(operator) {
  const c = diagonal(operator.sigma);
  if (!operator.m) return c;
  const m = densify(operator.m.pattern, operator.m.values);
  const g = strength(operator);
  return build(c.rows, c.columns, (i, j) => entry(c, i, j) + g * entry(m, i, j));
}

/** @param {Operator} operator @returns {Matrix} */
export function mergedWeight(operator) {
  const update = matmul(matmul(operator.u, core(operator)), operator.vt);
  return operator.base ? add(operator.base, update) : update;
}

/** C · v, or Cᵀ · v. @param {Operator} operator @param {Vector} v @param {boolean} transposed */
function timesCore(operator, v, transposed) {
  const out = new Float64Array(v.length);
  for (let i = 0; i < out.length; i++) out[i] = v[i] * operator.sigma[i];
  if (!operator.m) return out;
  const g = strength(operator);
  const more = timesSparse(operator.m.pattern, operator.m.values, v, transposed);
  for (let i = 0; i < out.length; i++) out[i] += g * more[i];
  return out;
}

/** W' · v, or W'ᵀ · v, without W': as many products as W' has numbers. @param {Operator} operator @param {Vector} v @param {boolean} [transposed] */
export function timesWeight(operator, v, transposed = false) {
  const { base, u, vt } = operator;
  const out = transposed
    ? timesTransposed(vt, timesCore(operator, timesTransposed(u, v), true))
    : times(u, timesCore(operator, times(vt, v), false));
  if (!base) return out;
  const more = transposed ? timesTransposed(base, v) : times(base, v);
  for (let i = 0; i < out.length; i++) out[i] += more[i];
  return out;
}

/** x · Wᵀ + b @param {View} x @param {View} weight @param {Vector} [bias] */
export function linear(x, weight, bias) {
  const y = matmul(x, transpose(weight));
  return bias ? build(y.rows, y.columns, (i, j) => entry(y, i, j) + bias[j]) : y;
}

/** Each row of a matrix, turned into another. @param {View} a @param {number} columns @param {(row: Float64Array) => Vector} change */
function rowByRow({ rows, columns: from, data }, columns, change) {
  const out = new Float64Array(rows * columns);
  const row = new Float64Array(from);
  for (let t = 0; t < rows; t++) {
    for (let i = 0; i < from; i++) row[i] = data[t * from + i];
    out.set(change(row), t * columns);
  }
  return { rows, columns, data: out };
}

/** @param {Operator} operator @param {View} x [tokens, in] @returns {Matrix} */
export function forward(operator, x) {
  const { bias, u } = operator;
  return rowByRow(x, u.rows, (row) => {
    const y = timesWeight(operator, row);
    return bias ? y.map((value, i) => value + bias[i]) : y;
  });
}

/**
 * @typedef {object} Gradients
 * @property {Matrix} dx
 * @property {Float64Array} sigma
 * @property {Float64Array} bias
 * @property {Float64Array} m one for each slot; empty where there is no M
 * @property {number} gate dγ; 0 where M is not gated
 * @property {Readonly<Record<string, Float64Array>>} named the gradients of the parameters that the operator's `names` has
 * @property {number} gateSize the size of the terms of dγ, which may cancel: the root of the sum of their squares, as their errors add up
 */

/** @param {Operator} operator @param {View} x [tokens, in] @param {View} dy [tokens, out] @returns {Gradients} */
export function backward(operator, x, dy) {
  const [dq, p] = [matmul(dy, operator.u), matmul(x, transpose(operator.vt))];
  const k = matmul(transpose(dq), p);
  const g = strength(operator);
  const dots = operator.m ? coordinates(operator.m.pattern).map(({ row, column }) => entry(k, row, column)) : [];
  const { gate, gateSize } = gateGradient(operator, dots);
  const parts = {
    sigma: Float64Array.from({ length: k.rows }, (_, i) => entry(k, i, i)),
    m: Float64Array.from(dots, (dot) => g * dot),
  };
  return {
    ...parts,
    dx: rowByRow(dy, operator.vt.columns, (row) => timesWeight(operator, row, true)),
    bias: biasGradient(dy),
    named: Object.fromEntries(Object.entries(operator.names ?? {}).map(([name, part]) => [name, parts[part]])),
    gate,
    gateSize,
  };
}

/** @param {View} dy */
export const biasGradient = (dy) => timesTransposed(dy, new Float64Array(dy.rows).fill(1));

/** dγ of the dot products in M's slots, before g. @param {Operator} operator @param {Vector} dots */
export function gateGradient(operator, dots) {
  const g = strength(operator);
  const gated = operator.gate === undefined ? 0 : g * (1 - g);
  const values = operator.m?.values ?? [];
  let [sum, squares] = [0, 0];
  for (let slot = 0; slot < dots.length; slot++) {
    sum += dots[slot] * values[slot];
    squares += (dots[slot] * values[slot]) ** 2;
  }
  return { gate: gated * sum, gateSize: gated * Math.sqrt(squares) };
}

/**
 * Entry (i, j) of dQᵀ P, with dQ = dY U and P = X V: the gradient of C, for the cost of two columns.
 * @param {Operator} operator @param {View} x @param {View} dy @param {number} i @param {number} j
 */
export function coreGradient({ u, vt }, x, dy, i, j) {
  const column = Float64Array.from({ length: u.rows }, (_, row) => u.data[row * u.columns + i]);
  const row = Float64Array.from({ length: vt.columns }, (_, at) => vt.data[j * vt.columns + at]);
  const [dq, p] = [times(dy, column), times(x, row)];
  return dq.reduce((sum, value, t) => sum + value * p[t], 0);
}
