// @ts-check
// Adapters by family, shape, tokens and strategy: forward, backward, and the step of a training loop.
import { disposeAll, gaussianTensor } from './case.js';
import { knownWeight } from './known.js';
import { inputGradientError, outputError, parameterGradientError } from './layer.js';
import { numbers } from './numbers.js';
import { entriesOf, patterns } from './sparse.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('./layer.js').Inputs} Inputs */
/** @typedef {'factored' | 'merged' | 'lowrank'} Strategy */
/** @typedef {{ factors: import('sigmatune').Svd, strategy: Strategy }} Given */
/** @typedef {readonly [out: number, inFeatures: number]} Shape */

/**
 * @typedef {object} Family
 * @property {readonly Strategy[]} strategies
 * @property {string} [pattern] of M, by its name in the sparse suite
 * @property {boolean} [onBase] it adds to W0
 * @property {(r: number) => number} rank singular triples in use
 * @property {(library: Library, weight: import('sigmatune').Tensor, given: Given, more: { pattern?: import('sigmatune').SparsityPattern, bias: import('sigmatune').Tensor }) => Promise<import('sigmatune').AdaptedLinear>} make
 */

/** @param {string} pattern @param {readonly Strategy[]} strategies @returns {Family} */
const svftFamily = (pattern, strategies) => ({
  strategies,
  pattern,
  rank: (r) => r,
  make: ({ svft }, weight, given, more) => svft(weight, { ...given, ...(more.pattern && { pattern: more.pattern }) }),
});

/** @type {Readonly<Record<string, Family>>} */
const families = {
  'svft plain': svftFamily('diagonal', ['factored', 'merged']),
  'svft band 8': svftFamily('band 8', ['factored', 'merged']),
  'svft random 17': svftFamily('random 17', ['factored']),
  siva: {
    strategies: ['lowrank', 'merged'],
    onBase: true,
    rank: (r) => r / 8,
    make: ({ siva }, weight, given) =>
      siva(weight, { ...given, count: Math.min(.../** @type {readonly number[]} */ (weight.shape)) / 8 }),
  },
  vectorfit: {
    strategies: ['factored', 'merged'],
    rank: (r) => r,
    make: ({ vectorFit }, weight, given, { bias }) => vectorFit(weight, { ...given, bias }),
  },
};

/** @type {readonly Shape[]} */
const shapes = [
  [256, 256],
  [512, 512],
  [768, 768],
  [1024, 256],
  [256, 1024],
];
const passes = /** @type {const} */ (['forward', 'backward', 'step']);
const titles = { forward: 'Forward', backward: 'Backward', step: 'Step' };
/** @typedef {typeof passes[number]} What */

/** In units of 2 · N flops: numbers that each token is multiplied with. */
/** @param {Family} family @param {Strategy} strategy @param {Shape} shape */
function weightNumbers(family, strategy, [out, inFeatures]) {
  const k = family.rank(Math.min(out, inFeatures));
  const thin = k * (out + inFeatures);
  return { factored: thin, merged: out * inFeatures, lowrank: out * inFeatures + thin }[strategy];
}

/** @param {Family} family @param {Strategy} strategy @param {Shape} shape @param {number} tokens @param {What} what */
function flopsOf(family, strategy, shape, tokens, what) {
  const [out, inFeatures] = shape;
  const r = Math.min(out, inFeatures);
  const core = family.pattern ? entriesOf(family.pattern, r) : family.rank(r);
  // W' and its gradient each take a product of r × out × in; the other strategies pass M once each way, and once more.
  const once = strategy === 'merged' ? family.rank(r) * out * inFeatures : core * tokens;
  const forward = 2 * (tokens * weightNumbers(family, strategy, shape) + (strategy === 'merged' ? 0 : once));
  const gradient = strategy === 'merged' ? 2 * (tokens * out * inFeatures + once) : 2 * once;
  const build = strategy === 'merged' && what === 'step' ? 2 * once : 0;
  return { forward, backward: forward + gradient, step: 2 * forward + gradient + build }[what];
}

/** @param {Family} family @param {Strategy} strategy @param {Shape} shape @param {number} tokens @param {What} what */
function bytesOf(family, strategy, shape, tokens, what) {
  const [out, inFeatures] = shape;
  const r = Math.min(out, inFeatures);
  const saved = strategy === 'merged' ? inFeatures : family.rank(r);
  const forward = tokens * (out + inFeatures + saved) + weightNumbers(family, strategy, shape);
  return 4 * { forward, backward: forward, step: 2 * forward }[what];
}

/**
 * @param {Library} library @param {Family} family @param {Strategy} strategy @param {Shape} shape @param {number} tokens
 * @param {What} what
 * @returns {Promise<import('./case.js').Prepared>}
 */
async function prepare(library, family, strategy, shape, tokens, what) {
  const [out, inFeatures] = shape;
  const random = numbers(8);
  const { weight, factors } = knownWeight(library, random, out, inFeatures);
  const bias = gaussianTensor(library, random, [out]);
  const [x, dy] = [
    gaussianTensor(library, random, [tokens, inFeatures]),
    gaussianTensor(library, random, [tokens, out]),
  ];
  const pattern = family.pattern ? patterns[family.pattern](library, Math.min(out, inFeatures)) : undefined;
  const layer = await family.make(library, weight, { factors, strategy }, { ...(pattern && { pattern }), bias });
  for (const { name, value } of layer.parameters) {
    if (/(^|\.)[ms]$/.test(name)) value.dataSync().set(random.gaussian(value.size, 0.01));
  }
  const optimizer = new library.AdamW(layer.parameters, { lr: 1e-6 });
  const clear = () => optimizer.zeroGrad();
  const readGradients = () => layer.parameters.map(({ grad }) => grad);
  const forward = () => layer.forward(x);

  /** @type {import('sigmatune').Pass | undefined} */
  let waiting;
  const back = () => {
    waiting?.backward(dy).dispose();
    readGradients(); // which is where a gradient that was gathered is projected
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
        const pass = forward();
        disposeAll(pass.y, pass.backward(dy));
        optimizer.step();
        clear();
      },
    },
  };
  /** @type {Inputs} */
  const inputs = { layer, weight, onBase: family.onBase ?? false, pattern, x, dy };
  return {
    ...calls[what],
    error: () => {
      clear();
      const pass = forward();
      const dx = pass.backward(dy);
      const worst = Math.max(
        outputError(inputs, pass.y.dataSync(), random),
        inputGradientError(inputs, dx.dataSync(), random),
        parameterGradientError(inputs, random),
      );
      disposeAll(pass.y, dx);
      clear();
      return worst;
    },
    dispose: () => disposeAll(layer, weight, bias, x, dy, ...Object.values(factors)),
  };
}

/** @type {readonly Case[]} */
export const cases = Object.entries(families).flatMap(([name, family]) =>
  family.strategies.flatMap((strategy) =>
    shapes.flatMap((shape) =>
      [64, 512].flatMap((tokens) =>
        passes.map((what) => ({
          name: `adapters ${name}, ${shape.join(' × ')}, ${tokens} tokens, ${strategy}, ${what}`,
          suite: 'adapters',
          panel: `${titles[what]} of ${tokens} tokens, by numbers in a square weight`,
          series: shape[0] === shape[1] ? `${name}, ${strategy}` : `${name}, ${strategy}, ${shape.join(' × ')}`,
          size: shape[0] * shape[1],
          parameters: { family: name, out: shape[0], in: shape[1], tokens, strategy, what },
          flops: flopsOf(family, strategy, shape, tokens, what),
          bytes: bytesOf(family, strategy, shape, tokens, what),
          bound: 5e-6,
          short: isShort(name, strategy, shape, tokens, what),
          prepare: (/** @type {Library} */ library) => prepare(library, family, strategy, shape, tokens, what),
        })),
      ),
    ),
  ),
);

/** The steps that cover each family and each strategy once. @param {string} name @param {Strategy} strategy @param {Shape} shape @param {number} tokens @param {What} what */
function isShort(name, strategy, [out, inFeatures], tokens, what) {
  if (out !== 256 || inFeatures !== 256 || tokens !== 64 || what !== 'step') return false;
  return ['svft band 8 factored', 'svft band 8 merged', 'siva lowrank', 'vectorfit factored'].includes(
    `${name} ${strategy}`,
  );
}
