// @ts-check
// A step of one layer, forward and backward, over the best floor of the cost model, in GEMMs timed in the same rounds: a
// layer that is switched off is one GEMM forward and one backward, of the same operands.
import { SparsityPattern, siva, svft, vectorFit } from 'sigmatune';
import { adapterErrors } from './adapter-reference.js';
import { mark } from './case.js';
import { free, normal, operand } from './data.js';
import { measure } from './measure.js';
import { baseLayer, hostFactors, weightWithFactors } from './weights.js';

export const title = 'Forward + backward over the best floor';

/**
 * @typedef {object} Core
 * @property {string} name
 * @property {'svft' | 'vectorfit' | 'siva'} family
 * @property {number} goal
 * @property {(r: number) => SparsityPattern} [pattern] of SVFT
 */

/** @type {readonly Core[]} */
export const cores = [
  { name: 'SVFT diagonal', family: 'svft', goal: 1.08, pattern: (r) => SparsityPattern.diagonal(r) },
  { name: 'VectorFit, σ and bias', family: 'vectorfit', goal: 1.08 },
  { name: 'SVFT band, d = 2', family: 'svft', goal: 1.15, pattern: (r) => SparsityPattern.banded(r, 2) },
  { name: 'SVFT band, d = 8', family: 'svft', goal: 1.15, pattern: (r) => SparsityPattern.banded(r, 8) },
  { name: 'SVFT band, d = 32', family: 'svft', goal: 1.15, pattern: (r) => SparsityPattern.banded(r, 32) },
  { name: 'SVFT 16 random a row', family: 'svft', goal: 1.3, pattern: (r) => random(r, 16) },
  { name: 'SVFT 33 random a row', family: 'svft', goal: 1.45, pattern: (r) => random(r, 33) },
  { name: 'SiVA, k = 64', family: 'siva', goal: 1.08 },
];

const random = (/** @type {number} */ r, /** @type {number} */ row) =>
  SparsityPattern.random(r, { entries: row * r }, { seed: 1 });

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  const shapes = context.dry
    ? [
        [72, 72],
        [96, 72],
      ]
    : [
        [768, 768],
        [3072, 768],
        [4096, 4096],
        [4096, 14336],
      ];
  for (const [out, inFeatures] of shapes) {
    for (const dtype of /** @type {const} */ (['bfloat16', 'float32'])) {
      // Made by the first job of a weight, shared by all, and given back by the last.
      const shared = lazy(() => prepare(out, inFeatures, dtype));
      const batches = context.dry ? [40] : [512, 2048, 4096];
      for (const [i, tokens] of batches.entries()) {
        const last = i + 1 === batches.length;
        const run = () => steps(context, shared, tokens, last);
        yield { name: `${out} × ${inFeatures}, N = ${tokens}, ${dtype}`, run };
      }
    }
  }
}

/** @template T @param {() => Promise<T>} make */
function lazy(make) {
  /** @type {Promise<T> | undefined} */
  let made;
  return () => {
    made ??= make();
    return made;
  };
}

/**
 * All layers of one weight. M is not nothing, so that an error in it shows.
 * @param {number} out @param {number} inFeatures @param {import('./data.js').Narrow} dtype
 */
async function prepare(out, inFeatures, dtype) {
  const weight = await weightWithFactors(out, inFeatures, dtype);
  const bias = operand([out]);
  const r = Math.min(out, inFeatures);
  const { factors } = weight;
  const base = await baseLayer(weight);
  /** @type {{ core: Core, layer: import('sigmatune').AdaptedLinear, pattern?: SparsityPattern }[]} */
  const layers = [];
  for (const core of cores) {
    if (core.family === 'siva') {
      const made = await siva(weight.weight.on, { factors, count: Math.min(64, r >> 1), strategy: 'lowrank' });
      made.parameters[0].value.assign(normal(made.rank, 0.1));
      layers.push({ core, layer: made });
    } else if (core.family === 'vectorfit') {
      layers.push({ core, layer: await vectorFit(weight.weight.on, { factors, bias: bias.on }) });
    } else {
      const pattern = /** @type {(r: number) => SparsityPattern} */ (core.pattern)(r);
      const init = { m: normal(pattern.entries, 0.1), gate: 0.5 };
      layers.push({ core, pattern, layer: await svft(weight.weight.on, { factors, pattern, init }) });
    }
  }
  const host = await hostFactors(layers[0].layer.factors);
  const ready = await Promise.all(layers.map(async (each) => ({ ...each, step: await stepOf(each.layer) })));
  const dispose = () => free(base, bias.on, weight, ...layers.map(({ layer }) => layer));
  return { weight, bias, base, layers: ready, host, dispose };
}

/** @typedef {Awaited<ReturnType<typeof prepare>>} Prepared */

/**
 * One step of a layer, as an optimiser's loop has it: a parameter was written, and gradients start from nothing.
 * @param {import('sigmatune').AdaptedLinear} layer
 * @returns {Promise<(x: import('sigmatune').Tensor, dy: import('sigmatune').Tensor) => void>}
 */
export async function stepOf(layer) {
  // The smallest, so that what is timed is the layer, and its own numbers: what was built from them is built anew.
  const { value } = layer.parameters.reduce((least, each) => (each.value.size < least.value.size ? each : least));
  const numbers = (await value.data()).slice();
  return (x, dy) => {
    value.assign(numbers);
    const pass = layer.forward(x);
    free(pass.y, pass.backward(dy));
    for (const parameter of layer.parameters) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  };
}

/**
 * @param {import('./case.js').Context} context @param {() => Promise<Prepared>} shared @param {number} tokens
 * @param {boolean} last @returns {Promise<readonly import('./case.js').Case[]>}
 */
async function steps(context, shared, tokens, last) {
  const prepared = await shared();
  const { weight, base, layers } = prepared;
  const { out, inFeatures, dtype } = weight;
  const [x, dy] = [operand([tokens, inFeatures], dtype), operand([tokens, out], dtype)];
  const measured = measure(context, {
    // One GEMM each way, as the factors of a mean.
    gemms: () => {
      const pass = base.forward(x.on);
      const dx = pass.backward(dy.on);
      free(pass.y, dx);
    },
    ...Object.fromEntries(layers.map(({ core, step }) => [core.name, () => step(x.on, dy.on)])),
  });
  const cases = [];
  for (const each of layers) {
    const floor = floorOf(each, prepared, tokens);
    const { strategy } = each.layer.explain(tokens);
    cases.push({
      name: each.core.name,
      dtype,
      size: `${out} × ${inFeatures}, N = ${tokens}`,
      flops: floor * 2 * tokens * out * inFeatures,
      time: measured.time(each.core.name),
      marks: mark(
        `over ${floor.toFixed(2)} GEMMs`,
        measured.ratio(each.core.name, 'gemms', 2 / floor),
        'lower',
        each.core.goal,
      ),
      errors: await adapterErrors(each, prepared, x, dy, tokens),
      detail: strategy,
    });
  }
  free(x.on, dy.on);
  if (last) prepared.dispose();
  return cases;
}

/**
 * The fewest GEMMs of size N · in · out that the layer's mathematics can do with.
 * @param {Prepared['layers'][number]} layer @param {Prepared} prepared @param {number} tokens
 */
function floorOf({ core, layer }, { weight: { out, inFeatures, dtype } }, tokens) {
  if (core.family === 'siva') return 2 + (2 * layer.rank * (out + inFeatures)) / (out * inFeatures);
  const r = Math.min(out, inFeatures);
  const factored = 2 + (2 * r) / Math.max(out, inFeatures);
  return dtype === 'bfloat16' ? factored : Math.min(factored, 3 + (2 * r) / tokens);
}
