// @ts-check
// Adapters by family, shape, tokens and strategy: forward, backward, and the step of a training loop.
import { whereWords } from './case.js';
import { families, patterns } from './families.js';
import { knownWeight } from './known.js';
import { layerError } from './layer.js';
import { disposeAll, isHalf, numbersOf, Operands, Shared, width } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('./families.js').Strategy} Strategy */
/** @typedef {readonly [out: number, inFeatures: number]} Shape */
/** @typedef {'forward' | 'backward' | 'step' | 'pass'} What `pass`: a step without the optimiser, whose parameters have just changed */

/**
 * @typedef {object} Adapter
 * @property {string} family
 * @property {Shape} shape
 * @property {number} tokens
 * @property {Strategy} [strategy] the planner's choice if there is none
 * @property {What} what
 * @property {'int8'} [storage] of U and Vᵀ, if not that of the weight
 */

const titles = { forward: 'Forward', backward: 'Backward', step: 'Step', pass: 'Forward and backward' };

/** In units of 2 · N flops: numbers that each token is multiplied with. @param {Adapter & { strategy: Strategy }} adapter */
function weightNumbers({ family, strategy, shape: [out, inFeatures] }) {
  const thin = families[family].rank(Math.min(out, inFeatures)) * (out + inFeatures);
  return { factored: thin, merged: out * inFeatures, lowrank: out * inFeatures + thin }[strategy];
}

/** @param {Adapter & { strategy: Strategy }} adapter */
function flopsOf(adapter) {
  const { family, strategy, shape, tokens, what } = adapter;
  const { pattern, denseCore, rank } = families[family];
  const [out, inFeatures] = shape;
  const r = Math.min(out, inFeatures);
  const core = pattern ? patterns[pattern].entries(r) : rank(r) ** (denseCore ? 2 : 1);
  // W' and its gradient each take a product of r × out × in; the other strategies pass M once each way, and once more.
  const once = strategy === 'merged' ? rank(r) * out * inFeatures : core * tokens;
  const forward = 2 * (tokens * weightNumbers(adapter) + (strategy === 'merged' ? 0 : once));
  const gradient = strategy === 'merged' ? 2 * (tokens * out * inFeatures + once) : 2 * once;
  const build = strategy === 'merged' ? 2 * once : 0;
  const step = 2 * forward + gradient + build;
  return { forward, backward: forward + gradient, step, pass: step }[what];
}

/** @param {Adapter & { strategy: Strategy }} adapter @param {number} bytes of a number */
function bytesOf(adapter, bytes) {
  const { family, strategy, shape, tokens, what } = adapter;
  const [out, inFeatures] = shape;
  const saved = strategy === 'merged' ? inFeatures : families[family].rank(Math.min(out, inFeatures));
  const forward = tokens * (out + inFeatures + saved) + weightNumbers(adapter);
  return bytes * (what === 'step' || what === 'pass' ? 2 * forward : forward);
}

/**
 * The fewest GEMMs of size N · out · in that the mathematics of a step can do with.
 * @param {Adapter & import('./operands.js').Where} adapter
 */
export function floorOf({ family, shape: [out, inFeatures], tokens, dtype }) {
  const { onBase, rank } = families[family];
  const k = rank(Math.min(out, inFeatures));
  if (onBase) return 2 + (2 * k * (out + inFeatures)) / (out * inFeatures);
  const factored = 2 + (2 * k) / Math.max(out, inFeatures);
  return isHalf(dtype) ? factored : Math.min(factored, 3 + (2 * k) / tokens);
}

/** A weight with its factors and a batch, for all layers that are made of them. @param {Library} library @param {Adapter & import('./operands.js').Where} adapter */
function scene(library, { shape: [out, inFeatures], tokens, ...where }) {
  const operands = new Operands(library, 8, where);
  const known = knownWeight(operands, out, inFeatures);
  const bias = operands.gaussian([out], 1, operands.real);
  const [x, dy] = [operands.gaussian([tokens, inFeatures]), operands.gaussian([tokens, out])];
  return { ...known, bias, x, dy, random: operands.random, dispose: () => disposeAll(known, bias, x, dy) };
}

/** @param {Library} library @param {Adapter & import('./operands.js').Where} adapter @param {Shared} [group] @returns {Promise<import('./case.js').Prepared>} */
async function prepare(library, adapter, group) {
  const { family, shape, tokens, strategy, what } = adapter;
  const shared = group ?? new Shared();
  const { weight, factors, bias, x, dy, random } = shared.get('adapters', () => scene(library, adapter));
  const { pattern: name, onBase = false, make } = families[family];
  const pattern = name === undefined ? undefined : patterns[name].make(library, Math.min(...shape));
  const { storage } = adapter;
  const coded = storage && [factors.u.cast(storage), factors.vt.cast(storage)];
  const kept = coded ? { u: coded[0], s: factors.s, vt: coded[1] } : factors;
  const given = {
    factors: /** @type {typeof factors} */ (/** @type {unknown} */ (kept)),
    ...(strategy && { strategy }),
  };
  const layer = await make(library, weight, given, { ...(pattern && { pattern }), bias });
  for (const { name, value } of layer.parameters) {
    if (/(^|\.)([msr]|delta)$/.test(name)) value.assign(random.gaussian(value.size, 0.01));
  }
  const optimizer = new library.AdamW(layer.parameters, { lr: 1e-6 });
  const clear = () => optimizer.zeroGrad();
  const readGradients = () => layer.parameters.map(({ grad }) => grad);
  const forward = () => layer.forward(x);
  const change = changing(layer);

  /** @type {import('sigmatune').Pass | undefined} */
  let waiting;
  const back = () => {
    waiting?.backward(dy).dispose();
    readGradients(); // which is where a gradient that was gathered is projected
  };
  const both = () => {
    const pass = forward();
    disposeAll(pass.y, pass.backward(dy));
  };
  const calls = {
    forward: {
      call: () => {
        const pass = forward();
        disposeAll(pass.y, pass);
      },
    },
    backward: {
      before: () => {
        clear();
        waiting = forward();
        waiting.y.dispose();
      },
      call: back,
    },
    step: {
      call: () => {
        both();
        optimizer.step();
        clear();
      },
    },
    pass: {
      call: () => {
        change();
        both();
        readGradients();
        clear();
      },
    },
  };
  return {
    ...calls[what],
    detail: layer.explain(tokens).strategy,
    error: () => {
      clear();
      const pass = forward();
      const dx = pass.backward(dy);
      const worst = layerError({ layer, weight, onBase, pattern, x, dy }, pass.y, dx, random);
      disposeAll(pass.y, dx);
      clear();
      return worst;
    },
    outputs: () => {
      clear();
      both();
      return layer.parameters.map((parameter) => {
        const { grad } = parameter;
        parameter.grad = null;
        return /** @type {import('sigmatune').Tensor} */ (grad);
      });
    },
    dispose: () => {
      disposeAll(layer, coded ?? []);
      if (!group) shared.dispose();
    },
  };
}

/**
 * Writes the smallest parameter, as an optimiser would: what was built from it is rebuilt.
 * @param {import('sigmatune').AdaptedLinear} layer
 */
function changing(layer) {
  const { value } = layer.parameters.reduce((least, each) => (each.value.size < least.value.size ? each : least));
  const numbers = /** @type {Float32Array} */ (numbersOf(value)).slice();
  return () => {
    numbers[0] += 1e-6;
    value.assign(numbers);
  };
}

/** @param {Adapter & import('./operands.js').Where} adapter @returns {Case} */
export function adapterCase(adapter) {
  const { family, shape, tokens, what, device = 'cpu', dtype = 'float32' } = adapter;
  const { strategy = families[family].onBase ? 'lowrank' : 'factored' } = adapter;
  const label = adapter.strategy ?? 'auto';
  const planned = { ...adapter, strategy };
  return {
    name: `adapters ${family}, ${shape.join(' × ')}, ${tokens} tokens, ${label}, ${what}${adapter.storage ? `, ${adapter.storage} factors` : ''}${whereWords(adapter)}`,
    suite: 'adapters',
    panel: `${titles[what]} of ${tokens} tokens, by numbers in a square weight`,
    series: shape[0] === shape[1] ? `${family}, ${label}` : `${family}, ${label}, ${shape.join(' × ')}`,
    size: shape[0] * shape[1],
    parameters: { family, out: shape[0], in: shape[1], tokens, strategy: label, what },
    flops: adapter.strategy ? flopsOf(planned) : floorOf(adapter) * 2 * tokens * shape[0] * shape[1],
    bytes: bytesOf(planned, width(dtype)),
    // A card's sums are longer, since its shapes are larger; TF32 would be off by 3e-4.
    bound: isHalf(dtype) ? 2e-2 : device === 'cpu' ? 5e-6 : 2e-5,
    prepare: (library, group) => prepare(library, adapter, group),
  };
}

/** What the suite measures: each family by the strategies that it has. @type {Readonly<Record<string, readonly Strategy[]>>} */
const suite = {
  'svft plain': ['factored', 'merged'],
  'svft band 8': ['factored', 'merged'],
  'svft random 17': ['factored'],
  siva: ['lowrank', 'merged'],
  vectorfit: ['factored', 'merged'],
  svdiff: ['factored'],
  'loraxs 16': ['lowrank'],
};

/** @type {readonly Shape[]} */
const shapes = [
  [256, 256],
  [512, 512],
  [768, 768],
  [1024, 256],
  [256, 1024],
];

/** The steps that cover each family and each strategy once. */
const shortOnes = ['svft band 8, factored', 'svft band 8, merged', 'siva, lowrank', 'vectorfit, factored'];

/** @type {readonly Case[]} */
const wide = Object.entries(suite).flatMap(([family, strategies]) =>
  strategies.flatMap((strategy) =>
    shapes.flatMap((shape) =>
      [64, 512].flatMap((tokens) =>
        /** @type {const} */ (['forward', 'backward', 'step']).map((what) => ({
          ...adapterCase({ family, shape, tokens, strategy, what }),
          short:
            Math.max(...shape) === 256 &&
            tokens === 64 &&
            what === 'step' &&
            shortOnes.includes(`${family}, ${strategy}`),
        })),
      ),
    ),
  ),
);

/** Steps in 16 bits, which have kernels of their own. @type {readonly Case[]} */
const narrow = /** @type {const} */ (['bfloat16', 'float16']).flatMap((dtype) =>
  [...Object.entries(suite), /** @type {const} */ (['svft band 8', ['merged']])].flatMap(([family, [strategy]]) =>
    [256, 768].map((size) => ({
      ...adapterCase({ family, shape: [size, size], tokens: size === 256 ? 64 : 512, strategy, what: 'step', dtype }),
      short: size === 256 && dtype === 'bfloat16' && shortOnes.includes(`${family}, ${strategy}`),
    })),
  ),
);

export const cases = [...wide, ...narrow];
