// @ts-check
// node examples/quickstart/others.js: SVDiff and LoRA-XS on the quickstart's task, next to the quickstart's methods, and how
// much of each adapter's ΔW a LoRA of rank 4, 16 and 64 keeps. docs/choosing.md shows the result.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportLora, loraXs, svd, svdiff } from 'sigmatune';
import { chooseRate, meanEffectiveRank } from './experiment.js';
import { count, percent, rate } from './format.js';
import { full, methods } from './methods.js';
import { createLayers, Network } from './network.js';
import { seeded } from './random.js';
import { settings } from './settings.js';
import { mean } from './table.js';
import { loadTask } from './task.js';
import { accuracy, train } from './train.js';

/** @typedef {import('./methods.js').Method} Method */

const { adapt: recipe, base: pretraining, reportedSeeds, seed, shift, tuningSeed, widths } = settings;
const rates = [2e-2, 5e-2, 1e-1, 2e-1, 5e-1];
/** LoRA-XS; a smaller weight takes all of its directions. @type {(k: number) => Method} */
const xs = (k) => ({
  name: `LoRA-XS k=${k}`,
  family: 'control',
  rates,
  adapt: ({ weight, ...options }) => loraXs(weight, { ...options, rank: Math.min(k, ...weight.shape) }),
});
/** @type {readonly Method[]} */
const all = [
  ...methods,
  { name: 'SVDiff', family: 'control', rates, adapt: ({ weight, ...options }) => svdiff(weight, options) },
  ...[16, 32, 64].map(xs),
];

const { upright, rotated } = await loadTask(shift, seed);
const dense = createLayers(widths, seeded(seed));
const pretrained = new Network(dense);
train(pretrained, { ...pretraining, data: upright.train, seed });
const unadapted = accuracy(pretrained, rotated.test);
console.log(`no adaptation: ${percent(unadapted)}, effective rank ${(await meanEffectiveRank(dense)).toFixed(1)}`);
const base = [];
for (const [index, { weight, bias }] of dense.entries()) {
  base.push({ name: `layer${index}`, weight, bias, factors: await svd(weight) });
}

const folder = mkdtempSync(join(tmpdir(), 'others-'));
process.once('exit', () => rmSync(folder, { recursive: true }));
/** ‖ΔW − B A‖ / ‖ΔW‖ over the three layers, for the best B A of a rank. */
async function lostByLora(/** @type {Network} */ network, /** @type {number} */ rank) {
  const layers = /** @type {import('sigmatune').AdaptedLinear[]} */ (/** @type {unknown} */ (network.layers));
  const named = Object.fromEntries(layers.map((layer, i) => [`layer${i}`, layer]));
  const { error } = await exportLora(folder, named, { rank, dropBias: true });
  return Math.hypot(...Object.values(error)) / Math.hypot(...layers.map((layer) => layer.telemetry().change ?? 0));
}

let gain = Number.NaN;
for (const method of all) {
  const progress = { tick: () => {} };
  const { lr } = await chooseRate(method, base, rotated, { recipe, seed: tuningSeed, progress });
  const results = [];
  for (const order of reportedSeeds) {
    const generator = seeded(order);
    const network = new Network(await Promise.all(base.map((layer) => method.adapt(layer, generator))));
    train(network, { ...recipe, data: rotated.train, lr, seed: order });
    const ours = 'telemetry' in network.layers[0];
    results.push({
      accuracy: accuracy(network, rotated.test),
      effectiveRank: await meanEffectiveRank(network.layers),
      parameters: network.parameterCount,
      lost: ours ? [await lostByLora(network, 4), await lostByLora(network, 16), await lostByLora(network, 64)] : [],
    });
    network.dispose();
  }
  const accuracies = results.map((result) => result.accuracy);
  if (method === full) gain = mean(accuracies) - unadapted;
  const lost = results[0].lost.map((share) => share.toFixed(2)).join(', ');
  console.log(
    `${method.name}: ${percent(mean(accuracies))} (${accuracies.map((each) => percent(each)).join(', ')}), ` +
      `${count(results[0].parameters)} parameters, ${percent((mean(accuracies) - unadapted) / gain)} of the gain, ` +
      `rate ${rate(lr)}, effective rank ${mean(results.map(({ effectiveRank }) => effectiveRank)).toFixed(1)}` +
      (lost && `, lost by a LoRA of rank 4, 16, 64: ${lost}`),
  );
}
