// @ts-check
// One batch through many adapters of one weight: `applyEach`, and `forwardEach` with its backward.
import { whereWords } from './case.js';
import { families, patterns } from './families.js';
import { knownWeight } from './known.js';
import { layerError } from './layer.js';
import { disposeAll, numbersOf, Operands, Shared, width } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {'forward' | 'pass'} What `pass`: forward and backward */

/**
 * @typedef {object} Each
 * @property {string} family
 * @property {readonly [out: number, inFeatures: number]} shape
 * @property {number} tokens in the batch
 * @property {number} adapters the rows go through in turn; with 1 it is a plain layer
 * @property {What} what
 */

/** How many of the adapters are compared with the reference. */
const compared = 3;

/** @param {Library} library @param {Each & import('./operands.js').Where} each */
function scene(library, { shape: [out, inFeatures], tokens, ...where }) {
  const operands = new Operands(library, 9, where);
  const known = knownWeight(operands, out, inFeatures);
  const bias = operands.gaussian([out], 1, operands.real);
  const [x, dy] = [operands.gaussian([tokens, inFeatures]), operands.gaussian([tokens, out])];
  return { ...known, bias, x, dy, random: operands.random, dispose: () => disposeAll(known, bias, x, dy) };
}

/** @param {Library} library @param {Each & import('./operands.js').Where} each @param {Shared} [group] @returns {Promise<import('./case.js').Prepared>} */
async function prepare(library, each, group) {
  const { family, shape, tokens, adapters, what, device = 'cpu', dtype = 'float32' } = each;
  if (!('applyEach' in library)) throw new Error('this build has no applyEach');
  const shared = group ?? new Shared();
  const { weight, factors, bias, x, dy, random } = shared.get('each', () => scene(library, each));
  const { pattern: name, onBase = false, make } = families[family];
  const pattern = name === undefined ? undefined : patterns[name].make(library, Math.min(...shape));
  // A single layer computes as a batch does, not through W', which pays only for a single layer.
  /** @type {import('./families.js').Strategy} */
  const strategy = onBase ? 'lowrank' : 'factored';
  /** @type {import('sigmatune').AdaptedLinear[]} */
  const layers = [];
  for (let i = 0; i < adapters; i++) {
    const layer = await make(library, weight, { factors, strategy }, { ...(pattern && { pattern }), bias });
    for (const { name, value } of layer.parameters) {
      if (/(^|\.)[msr]$/.test(name)) value.assign(random.gaussian(value.size, 0.01));
    }
    layers.push(layer);
  }
  const which = Int32Array.from({ length: tokens }, (_, row) => row % adapters);
  const [first] = layers;
  const apply = () => (adapters > 1 ? library.applyEach(layers, x, which) : first.apply(x));
  const forward = () => (adapters > 1 ? library.forwardEach(layers, x, which) : first.forward(x));
  const clear = () => {
    for (const parameter of layers.flatMap(({ parameters }) => parameters)) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  };
  const both = () => {
    const pass = forward();
    disposeAll(pass.y, pass.backward(dy));
  };
  return {
    call: what === 'forward' ? () => apply().dispose() : both,
    detail: `${strategy}, ${first.parameterCount * 4} bytes an adapter`,
    error: () => {
      clear();
      const pass = forward();
      const dx = pass.backward(dy);
      const y = apply();
      const errors = layers.slice(0, compared).map((layer, i) => {
        const rows = [...which.keys()].filter((row) => which[row] === i);
        const [ownX, ownDy, ownY, ownDx] = [x, dy, y, dx].map((tensor) =>
          rowsOf(library, tensor, rows, { device, dtype }),
        );
        const error = layerError({ layer, weight, onBase, pattern, x: ownX, dy: ownDy }, ownY, ownDx, random);
        disposeAll(ownX, ownDy, ownY, ownDx);
        return error;
      });
      disposeAll(pass.y, dx, y);
      clear();
      return Math.max(...errors);
    },
    dispose: () => {
      disposeAll(layers);
      if (!group) shared.dispose();
    },
  };
}

/** A copy of some rows of a matrix. @param {Library} library @param {Tensor} tensor @param {readonly number[]} rows @param {import('./operands.js').Where} where @returns {Tensor} */
function rowsOf(library, tensor, rows, where) {
  const columns = /** @type {number} */ (tensor.shape[1]);
  const numbers = numbersOf(tensor);
  const picked = new Float32Array(rows.length * columns);
  for (const [at, row] of rows.entries())
    picked.set(numbers.subarray(row * columns, (row + 1) * columns), at * columns);
  return library.tensor(picked, [rows.length, columns], where);
}

/** @param {Each & import('./operands.js').Where} each @returns {Case} */
export function eachCase(each) {
  const { family, shape, tokens, adapters, what, dtype = 'float32' } = each;
  const [out, inFeatures] = shape;
  const r = Math.min(out, inFeatures);
  const { rank, onBase = false, pattern } = families[family];
  const numbers = (onBase ? out * inFeatures : 0) + rank(r) * (out + inFeatures);
  const core = pattern ? patterns[pattern].entries(r) : rank(r);
  const passes = what === 'forward' ? 1 : 2;
  return {
    name: `each ${family}, ${shape.join(' × ')}, ${adapters} adapters of ${tokens} rows, ${what}${whereWords(each)}`,
    suite: 'each',
    panel: `${what === 'forward' ? 'Forward' : 'Forward and backward'} of ${tokens} rows through many adapters`,
    series: `${family}, ${adapters} adapters`,
    size: out * inFeatures,
    parameters: { family, out, in: inFeatures, tokens, adapters, what },
    flops: passes * 2 * tokens * (numbers + core) + (what === 'pass' ? 2 * tokens * core : 0),
    bytes: width(dtype) * passes * (tokens * (out + inFeatures) + numbers) + 4 * passes * adapters * core,
    bound: dtype === 'bfloat16' ? 2e-2 : 5e-6,
    prepare: (library, group) => prepare(library, each, group),
  };
}

/** @type {readonly Case[]} */
export const cases = ['svft band 2', 'vectorfit', 'siva 64', 'loraxs 16'].flatMap((family) =>
  /** @type {const} */ ([
    [64, 64, 16, 4],
    [768, 768, 512, 64],
  ]).flatMap(([out, inFeatures, tokens, adapters]) =>
    /** @type {const} */ (['forward', 'pass']).map((what) => ({
      ...eachCase({ family, shape: [out, inFeatures], tokens, adapters, what }),
      short: out === 64 && what === 'pass' && family === 'svft band 2',
    })),
  ),
);
