// @ts-check
// node examples/quickstart/learned.js [D]: SVFT with patterns that the gradient chooses, next to bands, random and top-k patterns of
// the size of a band of D, on the quickstart's task. docs/svft.md shows the result.
import {
  AdamW,
  coreGradient,
  linearSchedule,
  movedState,
  regrow,
  SparsityPattern,
  svd,
  svft,
  Tensor,
  tidy,
} from 'sigmatune';
import { percent, rate } from './format.js';
import { softmaxCrossEntropy } from './loss.js';
import { CLASSES, copyRows, PIXELS } from './mnist.js';
import { createLayers, Network } from './network.js';
import { permutation, seeded } from './random.js';
import { settings } from './settings.js';
import { mean } from './table.js';
import { loadTask } from './task.js';
import { accuracy, train } from './train.js';

/** @typedef {import('sigmatune').AdaptedLinear<'float32'>} Layer */
/** @typedef {import('./network.js').Matrix} Matrix */

const { adapt: recipe, base: pretraining, reportedSeeds, seed, shift, tuningSeed, widths } = settings;
const rates = [2e-2, 5e-2, 1e-1, 2e-1, 5e-1, 1];
const { epochs, batchSize } = recipe;
/** Regrowing: after these epochs, and the share of the entries that moves. */
const regrowth = { epochs: [1, 2, 3, 4, 5], share: 0.2 };

const { upright, rotated } = await loadTask(shift, seed);
const dense = createLayers(widths, seeded(seed));
train(new Network(dense), { ...pretraining, data: upright.train, seed });
/** @type {{ name: string; weight: Matrix; bias: Tensor; factors: import('sigmatune').Svd<'float32'> }[]} */
const base = [];
for (const [i, { weight, bias }] of dense.entries())
  base.push({ name: `l${i}`, weight, bias, factors: await svd(weight) });
const ranks = base.map(({ factors }) => factors.s.size);

/** Layers with these patterns, and with these numbers, if any. */
const layersWith = (/** @type {readonly SparsityPattern[]} */ patterns, /** @type {readonly Tensor[]} */ starts = []) =>
  base.map(({ weight, factors, bias, name }, i) => {
    const init = starts[i] && { m: starts[i].dataSync() };
    return svft.from(factors, { weight, bias, name, pattern: patterns[i], gate: false, ...(init && { init }) });
  });

/** The scores of each core, summed over the first `batches` batches in this order of the data. */
function scoresOf(
  /** @type {readonly Layer[]} */ layers,
  /** @type {Int32Array} */ order,
  /** @type {number} */ batches,
) {
  /** @type {(Tensor | undefined)[]} */
  const scores = layers.map(() => undefined);
  const network = new Network(
    layers.map((layer, i) => ({
      parameters: layer.parameters,
      apply: (x) => layer.apply(x),
      mergedWeight: () => layer.mergedWeight(),
      dispose: () => layer.dispose(),
      forward: (x) => {
        const pass = layer.forward(x);
        /** @type {import('./network.js').Pass['backward']} */
        const backward = (dy, options) => {
          scores[i] = coreGradient(layer, x, dy, { into: scores[i] });
          return pass.backward(dy, options);
        };
        return { y: pass.y, backward };
      },
    })),
  );
  for (let k = 0; k < batches; k++) backward(network, order.subarray(k * batchSize, (k + 1) * batchSize));
  for (const parameter of network.parameters) parameter.grad = null;
  return /** @type {Tensor[]} */ (scores);
}

/** The loss of these rows; their gradients are added. */
function backward(/** @type {Network} */ network, /** @type {Int32Array} */ rows) {
  const [images, labels] = [new Float32Array(rows.length * PIXELS), new Uint8Array(rows.length)];
  copyRows(rotated.train, rows, images, labels);
  const gradient = Tensor.wrap(new Float32Array(rows.length * CLASSES), [rows.length, CLASSES]);
  const pass = network.forward(Tensor.wrap(images, [rows.length, PIXELS]));
  const loss = softmaxCrossEntropy(pass.logits, labels, gradient);
  pass.backward(gradient);
  return loss;
}

/** Trains new layers as train.js does, and regrows their patterns if `regrows`. */
function run(
  /** @type {readonly SparsityPattern[]} */ patterns,
  /** @type {number} */ lr,
  /** @type {number} */ order,
  regrows = false,
) {
  const generator = seeded(order);
  let layers = layersWith(patterns);
  let optimizer = new AdamW(new Network(layers).parameters, { lr, weightDecay: recipe.weightDecay });
  const steps = Math.floor(rotated.train.labels.length / batchSize);
  const schedule = linearSchedule({ warmup: Math.round(recipe.warmup * epochs * steps), total: epochs * steps });
  for (let epoch = 0; epoch < epochs; epoch++) {
    const rows = permutation(generator, rotated.train.labels.length);
    if (regrows && regrowth.epochs.includes(epoch)) {
      const scores = scoresOf(layers, rows, 8);
      const grown = layers.map(({ pattern, parameters: [m] }, i) => {
        const before = /** @type {SparsityPattern} */ (pattern);
        return regrow(before, m.value, scores[i], { drop: Math.ceil(regrowth.share * before.entries) });
      });
      const moved = Object.fromEntries(layers.map(({ parameters: [m] }, i) => [m.name, grown[i].from]));
      const state = movedState(optimizer.state(), moved);
      for (const layer of layers) layer.dispose();
      layers = layersWith(
        grown.map(({ pattern }) => pattern),
        grown.map(({ values }) => values),
      );
      optimizer = new AdamW(new Network(layers).parameters, { lr, weightDecay: recipe.weightDecay });
      optimizer.loadState(state);
    }
    const network = new Network(layers);
    for (let k = 0; k < steps; k++) {
      optimizer.lrScale = schedule(epoch * steps + k);
      tidy(() => {
        backward(network, rows.subarray(k * batchSize, (k + 1) * batchSize));
        optimizer.step();
        optimizer.zeroGrad();
      });
    }
  }
  const network = new Network(layers);
  const [heldOut, test] = [accuracy(network, rotated.heldOut), accuracy(network, rotated.test)];
  const all = Int32Array.from({ length: rotated.train.labels.length }, (_, i) => i);
  const loss = tidy(() => backward(network, all));
  network.dispose();
  return { loss, heldOut, test };
}

/** The slope of the loss under plain gradient descent: the squared norm of the gradient of M. */
function slope(/** @type {readonly SparsityPattern[]} */ patterns) {
  const network = new Network(layersWith(patterns));
  const all = Int32Array.from({ length: rotated.train.labels.length }, (_, i) => i);
  tidy(() => backward(network, all));
  const squares = network.parameters.map(({ grad }) => Math.hypot(...(grad?.dataSync() ?? [])) ** 2);
  network.dispose();
  return squares.reduce((sum, each) => sum + each, 0);
}

const probe = layersWith(ranks.map((r) => SparsityPattern.diagonal(r)));
const scores = scoresOf(probe, permutation(seeded(tuningSeed), rotated.train.labels.length), 16);

const offDiagonals = Number(process.argv[2] ?? 2);
const banded = ranks.map((r) => SparsityPattern.banded(r, Math.min(offDiagonals, r - 1)));
const sizes = banded.map(({ entries }) => ({ entries }));
const random = ranks.map((r, i) => SparsityPattern.random(r, sizes[i], { seed: i }));
const byGradient = scores.map((each, i) => SparsityPattern.fromGradient(each, sizes[i]));
const entries = sizes.reduce((sum, size) => sum + size.entries, 0);
const shared = SparsityPattern.fromGradients(Object.fromEntries(scores.map((each, i) => [i, each])), { entries });
// Top-k by alignment is defined for square weights only: the others get the band.
const topK = base.map(({ weight, factors: { u, vt } }, i) =>
  weight.shape[0] === weight.shape[1] ? SparsityPattern.topK(u, vt, sizes[i]) : banded[i],
);
console.log(`d = ${offDiagonals}: ${entries} entries`);
const unit = slope(banded);
for (const [name, patterns, regrows] of /** @type {const} */ ([
  ['banded', banded, false],
  ['random', random, false],
  ['top-k', topK, false],
  ['fromGradient', byGradient, false],
  ['fromGradients', Object.values(shared), false],
  ['random, regrown', random, true],
  ['fromGradient, regrown', byGradient, true],
])) {
  const tried = rates.map((lr) => ({ lr, ...run(patterns, lr, tuningSeed, regrows) }));
  const { lr } = tried.reduce((best, each) => (each.heldOut > best.heldOut ? each : best));
  const results = reportedSeeds.map((order) => run(patterns, lr, order, regrows));
  const list = results.map(({ test }) => percent(test)).join(', ');
  console.log(
    `  ${name}: ${percent(mean(results.map(({ test }) => test)))} (${list}), training loss ` +
      `${mean(results.map(({ loss }) => loss)).toFixed(4)}, rate ${rate(lr)}, slope ${(slope(patterns) / unit).toFixed(1)}`,
  );
}
