// @ts-check
// The float64 reference of an adapted layer, from its factors and parameters: Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b.
import { distance, times, timesSparse, timesTransposed } from './probe.js';

/** @typedef {import('sigmatune').AdaptedLinear} AdaptedLinear */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {import('./numbers.js').Numbers} Numbers */
/** @typedef {ArrayLike<number>} Vector */

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

/** The core C as a function of vectors. @param {Inputs} inputs */
function core({ layer, pattern }) {
  const sigma = (parameter(layer, 's') ?? parameter(layer, 'sigma'))?.value ?? layer.factors.s;
  const diagonal = sigma.dataSync();
  const gate = parameter(layer, 'gate')?.value.dataSync()[0];
  const g = gate === undefined ? 1 : 1 / (1 + Math.exp(-gate));
  const m = parameter(layer, 'm')?.value.dataSync();
  return {
    g,
    /** C · v, or Cᵀ · v. @param {Vector} v @param {boolean} transpose */
    apply(v, transpose) {
      const out = Float64Array.from(v, (value, i) => value * diagonal[i]);
      if (pattern && m)
        timesSparse(pattern, m, v, transpose).forEach((value, i) => {
          out[i] += g * value;
        });
      return out;
    },
  };
}

/** W' · z, or W'ᵀ · z. @param {Inputs} inputs @param {Vector} z @param {boolean} transpose */
function timesWeight(inputs, z, transpose) {
  const { layer, weight, onBase } = inputs;
  const { u, vt } = layer.factors;
  const [rank, inFeatures, outFeatures] = [layer.rank, layer.inFeatures, layer.outFeatures];
  const [U, Vt, W] = [u.dataSync(), vt.dataSync(), weight.dataSync()];
  const { apply } = core(inputs);
  const out = transpose
    ? timesTransposed(Vt, inFeatures, apply(timesTransposed(U, rank, z), true))
    : times(U, outFeatures, apply(times(Vt, rank, z), false));
  if (!onBase) return out;
  const base = transpose ? timesTransposed(W, inFeatures, z) : times(W, outFeatures, z);
  return out.map((value, i) => value + base[i]);
}

/** How far y is from the reference, through one random combination of its columns. */
/** @param {Inputs} inputs @param {Vector} y @param {Numbers} random */
export function outputError(inputs, y, random) {
  const { layer, x } = inputs;
  const tokens = /** @type {number} */ (x.shape[0]);
  const z = random.signs(layer.outFeatures);
  const bias = parameter(layer, 'bias')?.value.dataSync();
  const shift = bias ? z.reduce((sum, sign, i) => sum + sign * bias[i], 0) : 0;
  const wanted = times(x.dataSync(), tokens, timesWeight(inputs, z, true)).map((value) => value + shift);
  return distance(times(y, tokens, z), wanted);
}

/** The same for dx. @param {Inputs} inputs @param {Vector} dx @param {Numbers} random */
export function inputGradientError(inputs, dx, random) {
  const { layer, dy } = inputs;
  const tokens = /** @type {number} */ (dy.shape[0]);
  const z = random.signs(layer.inFeatures);
  return distance(times(dx, tokens, z), times(dy.dataSync(), tokens, timesWeight(inputs, z, false)));
}

/** How many entries of a core's gradient are compared: each takes two columns of N × features products. */
const sampled = 24;

/** The gradients of the parameters: bias and gate whole, of the core a sample. @param {Inputs} inputs @param {Numbers} random */
export function parameterGradientError(inputs, random) {
  const { layer, dy, pattern } = inputs;
  const { g } = core(inputs);
  const errors = [];
  const name = ['m', 's', 'sigma'].find((each) => parameter(layer, each)) ?? 'm';
  const grad = gradientOf(layer, name);
  const slots = Array.from({ length: Math.min(sampled, grad.length) }, () => random.below(grad.length));
  const rowOf = (/** @type {number} */ slot) =>
    pattern ? pattern.rowPointers.findLastIndex((start) => start <= slot) : slot;
  const wanted = slots.map((slot) => {
    const row = rowOf(slot);
    return (name === 'm' ? g : 1) * coreDot(inputs, row, pattern ? pattern.columnIndices[slot] : row);
  });
  errors.push(
    distance(
      slots.map((slot) => grad[slot]),
      wanted,
    ),
  );
  const m = parameter(layer, 'm');
  if (m && parameter(layer, 'gate')) {
    const values = m.value.dataSync();
    const gate = grad.reduce((sum, each, slot) => sum + (1 - g) * each * values[slot], 0);
    // A sum of many signs may cancel: what it is judged by is the size of what was summed.
    const size = Math.sqrt(grad.reduce((sum, each, slot) => sum + ((1 - g) * each * values[slot]) ** 2, 0));
    errors.push(Math.abs(gradientOf(layer, 'gate')[0] - gate) / (size || 1));
  }
  if (parameter(layer, 'bias')) {
    const ones = new Float64Array(/** @type {number} */ (dy.shape[0])).fill(1);
    errors.push(distance(gradientOf(layer, 'bias'), timesTransposed(dy.dataSync(), layer.outFeatures, ones)));
  }
  return Math.max(...errors);
}

/** @param {AdaptedLinear} layer @param {string} name */
const gradientOf = (layer, name) => Float64Array.from(parameter(layer, name)?.grad?.dataSync() ?? []);

/** Entry (i, j) of dQᵀ P, with dQ = dY U and P = X V. @param {Inputs} inputs @param {number} i @param {number} j */
function coreDot({ layer, x, dy }, i, j) {
  const { inFeatures, outFeatures, rank, factors } = layer;
  const tokens = /** @type {number} */ (x.shape[0]);
  const u = factors.u.dataSync();
  const column = Float64Array.from({ length: outFeatures }, (_, row) => u[row * rank + i]);
  const row = factors.vt.dataSync().subarray(j * inFeatures, (j + 1) * inFeatures);
  const [dq, p] = [times(dy.dataSync(), tokens, column), times(x.dataSync(), tokens, row)];
  return dq.reduce((sum, value, t) => sum + value * p[t], 0);
}
