// @ts-check
// A layer's y, dx and gradients in float64 on the host, for some tokens and some parameters: y = (W0 + U C Vᵀ) x + b.
import { free, numbersOf } from './data.js';
import { applyCore, deviation, dot, rowsOf, some } from './reference.js';

/** @typedef {import('./data.js').Operand} Operand */
/** @typedef {import('./adapters.js').Prepared} Prepared */
/** @typedef {Prepared['layers'][number]} Made */

/**
 * The layer's terms on the host: its own factors as [out, k] and [k, in], its core, its bias and, for SiVA, its base.
 * @typedef {object} Terms
 * @property {Float32Array} u
 * @property {Float32Array} vt
 * @property {number} k
 * @property {import('./reference.js').Core} core
 * @property {number} scale of the values' gradient
 * @property {Float32Array} [base]
 * @property {Float32Array} [bias]
 */

/** @param {Made} made @param {Prepared} prepared @returns {Promise<Terms>} */
async function termsOf({ core, layer, pattern }, { host, weight, bias }) {
  const [first, gate] = await Promise.all(layer.parameters.map(({ value }) => numbersOf(value)));
  if (core.family === 'siva') {
    const { u, s, vt } = layer.factors;
    const own = { u: await numbersOf(u), vt: await numbersOf(vt), k: s.size };
    return { ...own, core: { diagonal: first }, base: weight.weight.host, scale: 1 };
  }
  const own = { u: host.u, vt: host.vt, k: host.s.length };
  if (core.family === 'vectorfit') return { ...own, core: { diagonal: first }, bias: bias.host, scale: 1 };
  const scale = 1 / (1 + Math.exp(-gate[0]));
  return { ...own, core: { diagonal: host.s, pattern, values: first, scale }, scale };
}

/** The bounds in units of the outputs' rms: rounding of float32, or of what a layer keeps in bfloat16 on the way. */
const bounds = { float32: 1e-4, bfloat16: 4e-2 };

/**
 * @param {Made} made @param {Prepared} prepared @param {Operand} x [tokens, in] @param {Operand} dy [tokens, out]
 * @param {number} tokens @returns {Promise<readonly import('./case.js').Deviation[]>}
 */
export async function adapterErrors(made, prepared, x, dy, tokens) {
  const { out: n, inFeatures: m, dtype } = prepared.weight;
  const terms = await termsOf(made, prepared);
  const pass = made.layer.forward(x.on);
  const dx = pass.backward(dy.on);
  const [gotY, gotDx] = [await numbersOf(pass.y), await numbersOf(dx)];
  const grads = await Promise.all(
    made.layer.parameters.map(({ grad }) => numbersOf(/** @type {import('sigmatune').Tensor} */ (grad))),
  );
  free(pass.y, dx);
  for (const parameter of made.layer.parameters) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
  const bound = bounds[dtype];
  /** @type {Record<'y' | 'dx', import('./reference.js').Pair[]>} */
  const pairs = { y: [], dx: [] };
  for (const t of some(tokens, 1)) {
    pairs.y.push(...pairsOf(gotY, t, forwardOf(terms, x.host, t, n, m)));
    pairs.dx.push(...pairsOf(gotDx, t, backwardOf(terms, dy.host, t, n, m)));
  }
  return [
    deviation(pairs.y, 'y', bound),
    deviation(pairs.dx, 'dx', bound),
    deviation(gradientPairs(made, terms, grads[0], x.host, dy.host, { n, m, tokens }), 'gradients', bound),
  ];
}

/** @param {Float32Array} got @param {number} t @param {Float64Array} wanted */
function pairsOf(got, t, wanted) {
  return Array.from(wanted, (value, i) => ({ got: got[t * wanted.length + i], wanted: value }));
}

/** @param {Terms} terms @param {Float32Array} x @param {number} t @param {number} n @param {number} m */
function forwardOf({ u, vt, k, core, base, bias }, x, t, n, m) {
  const inner = new Float64Array(k).map((_, i) => dot(vt, i * m, 1, x, t * m, 1, m));
  const z = applyCore(core, inner, false);
  return new Float64Array(n).map(
    (_, o) => dot(u, o * k, 1, z, 0, 1, k) + (bias ? bias[o] : 0) + (base ? dot(base, o * m, 1, x, t * m, 1, m) : 0),
  );
}

/** @param {Terms} terms @param {Float32Array} dy @param {number} t @param {number} n @param {number} m */
function backwardOf({ u, vt, k, core, base }, dy, t, n, m) {
  const dz = new Float64Array(k);
  const result = new Float64Array(m);
  // By rows, which lie together.
  const add = (
    /** @type {Float64Array} */ to,
    /** @type {ArrayLike<number>} */ from,
    /** @type {number} */ row,
    /** @type {number} */ by,
  ) => {
    for (let i = 0; i < to.length; i++) to[i] += by * from[row * to.length + i];
  };
  for (let o = 0; o < n; o++) {
    add(dz, u, o, dy[t * n + o]);
    if (base) add(result, base, o, dy[t * n + o]);
  }
  const inner = applyCore(core, dz, true);
  for (let i = 0; i < k; i++) add(result, vt, i, inner[i]);
  return result;
}

/**
 * dM[i, j] = g · Σ_t (Uᵀ dy_t)_i (Vᵀ x_t)_j for some entries; of a diagonal i = j.
 * @param {Made} made @param {Terms} terms @param {Float32Array} got @param {Float32Array} x @param {Float32Array} dy
 * @param {{ n: number, m: number, tokens: number }} size
 */
function gradientPairs({ pattern }, { u, vt, k, scale }, got, x, dy, { n, m, tokens }) {
  const rows = pattern && rowsOf(pattern);
  return some(got.length, 3).map((p) => {
    const [i, j] = rows && pattern ? [rows[p], pattern.columnIndices[p]] : [p, p];
    let sum = 0;
    for (let t = 0; t < tokens; t++) {
      sum += dot(u, i, k, dy, t * n, 1, n) * dot(vt, j * m, 1, x, t * m, 1, m);
    }
    return { got: got[p], wanted: scale * sum };
  });
}
