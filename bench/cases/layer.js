// @ts-check
// How far an adapted layer's y, dx and gradients are from the reference.
import { build, distance, times, view } from '../reference/dense.js';
import { biasGradient, coreGradient, gateGradient, strength, timesWeight } from '../reference/operator.js';
import { coordinates } from '../reference/sparse.js';
import { numbersOf } from './operands.js';

/** @typedef {import('sigmatune').AdaptedLinear} AdaptedLinear */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {import('./numbers.js').Numbers} Numbers */

/**
 * @typedef {object} Inputs
 * @property {AdaptedLinear} layer
 * @property {Tensor} weight W0; the layer adds to it where `onBase`
 * @property {boolean} onBase
 * @property {import('sigmatune').SparsityPattern | undefined} pattern of M, where the family has one
 * @property {Tensor} x
 * @property {Tensor} dy
 */

/** One of the layer's parameters as it stands. @param {AdaptedLinear} layer @param {string} name */
const parameter = (layer, name) =>
  layer.parameters.find((each) => each.name === name || each.name.endsWith(`.${name}`));

/** @param {Tensor} tensor */
const matrixOf = (tensor) => {
  const [rows, columns] = /** @type {readonly [number, number]} */ (tensor.shape);
  return view(rows, columns, numbersOf(tensor));
};

/** The layer as the reference's operator. @param {Inputs} inputs @returns {import('../reference/operator.js').Operator} */
function operatorOf({ layer, weight, onBase, pattern }) {
  const numbers = (/** @type {string} */ name) => {
    const found = parameter(layer, name);
    return found && numbersOf(found.value);
  };
  const [m, delta, dense] = [numbers('m'), numbers('delta'), numbers('r')];
  const s = numbersOf(layer.factors.s);
  const vt = matrixOf(layer.factors.vt);
  const terms = {
    base: onBase ? matrixOf(weight) : undefined,
    u: matrixOf(layer.factors.u),
    gate: numbers('gate')?.[0],
    bias: numbers('bias'),
  };
  if (dense) {
    const scaled = build(vt.rows, vt.columns, (i, j) => s[i] * vt.data[i * vt.columns + j]);
    return { ...terms, vt: scaled, sigma: new Float64Array(s.length), m: { pattern: full(s.length), values: dense } };
  }
  const shifted = delta && Float64Array.from(delta, (shift, i) => Math.max(0, s[i] + shift));
  const sigma = numbers('s') ?? numbers('sigma') ?? shifted ?? s;
  return { ...terms, vt, sigma, m: pattern && m ? { pattern, values: m } : undefined };
}

/** Every entry of a square matrix. @param {number} k @returns {import('../reference/sparse.js').Csr} */
const full = (k) => ({
  shape: [k, k],
  rowPointers: Int32Array.from({ length: k + 1 }, (_, i) => i * k),
  columnIndices: Int32Array.from({ length: k * k }, (_, i) => i % k),
});

/** How many entries of a core's gradient are compared: each takes two columns of N × features products. */
const sampled = 24;

/**
 * The largest of all distances. y and dx are compared through one random combination of their columns.
 * @param {Inputs} inputs @param {Tensor} y @param {Tensor} dx @param {Numbers} random
 */
export function layerError(inputs, y, dx, random) {
  const operator = operatorOf(inputs);
  const [x, dy] = [matrixOf(inputs.x), matrixOf(inputs.dy)];
  const { bias } = operator;
  const z = random.signs(dy.columns);
  const shift = bias ? z.reduce((sum, sign, i) => sum + sign * bias[i], 0) : 0;
  const wantedY = times(x, timesWeight(operator, z, true)).map((value) => value + shift);
  const w = random.signs(x.columns);
  return Math.max(
    distance(times(matrixOf(y), z), wantedY),
    distance(times(matrixOf(dx), w), times(dy, timesWeight(operator, w))),
    gradientError(inputs, operator, x, dy, random),
  );
}

/**
 * The gradients of the parameters: bias and gate whole, of the core a sample.
 * @param {Inputs} inputs @param {import('../reference/operator.js').Operator} operator
 * @param {import('../reference/dense.js').View} x @param {import('../reference/dense.js').View} dy @param {Numbers} random
 */
function gradientError({ layer }, operator, x, dy, random) {
  const gradientOf = (/** @type {string} */ name) => {
    const grad = parameter(layer, name)?.grad;
    return grad ? numbersOf(grad) : new Float32Array();
  };
  const name = ['m', 's', 'sigma', 'delta', 'r'].find((each) => parameter(layer, each)) ?? 'm';
  const g = strength(operator);
  const grad = gradientOf(name);
  const slots = Array.from({ length: Math.min(sampled, grad.length) }, () => random.below(grad.length));
  const cells = operator.m && coordinates(operator.m.pattern);
  const wanted = slots.map((slot) => {
    const { row, column } = cells?.[slot] ?? { row: slot, column: slot };
    return g * coreGradient(operator, x, dy, row, column);
  });
  const found = slots.map((slot) => grad[slot]);
  const errors = [distance(found, wanted)];
  if (parameter(layer, 'gate')) {
    // From the gradient of M, of which a sample was compared. A sum of many signs may cancel: what it is judged by is the
    // size of what was summed.
    const dots = Float64Array.from(grad, (value) => value / g);
    const { gate, gateSize } = gateGradient(operator, dots);
    errors.push(Math.abs(gradientOf('gate')[0] - gate) / (gateSize || 1));
  }
  if (parameter(layer, 'bias')) errors.push(distance(gradientOf('bias'), biasGradient(dy)));
  return Math.max(...errors);
}
