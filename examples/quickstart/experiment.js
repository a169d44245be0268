// @ts-check
import { effectiveRank, svd } from 'sigmatune';
import { Network } from './network.js';
import { seeded } from './random.js';
import { mean } from './table.js';
import { accuracy, countSteps, train } from './train.js';

/** @typedef {import('./methods.js').BaseLayer} BaseLayer */
/** @typedef {import('./methods.js').Method} Method */
/** @typedef {import('./network.js').Layer} Layer */
/** @typedef {import('./mnist.js').Digits} Digits */
/** @typedef {{ epochs: number; batchSize: number; weightDecay: number; warmup: number }} Recipe */
/** @typedef {{ train: Digits; heldOut: Digits; test: Digits }} Task */
/** @typedef {{ tick: (note?: string) => void }} Progress */

/**
 * A fresh network of the method's layers over the frozen base.
 * @param {Method} method
 * @param {readonly BaseLayer[]} base
 * @param {number} seed
 */
async function build(method, base, seed) {
  const generator = seeded(seed);
  const layers = [];
  for (const layer of base) layers.push(await method.adapt(layer, generator));
  return new Network(layers);
}

/**
 * Tries every learning rate of the method with a whole run each, and takes the one that is best on the held-out split.
 * If it is the first or last of its grid, the grid is widened, for every method alike, so that the choice has neighbours.
 * @param {Method} method
 * @param {readonly BaseLayer[]} base
 * @param {Task} task
 * @param {{ recipe: Recipe; seed: number; progress: Progress }} options
 */
export async function chooseRate(method, base, task, { recipe, seed, progress }) {
  const attempt = async (/** @type {number} */ lr) => {
    const network = await build(method, base, seed);
    train(network, { ...recipe, data: task.train, lr, seed, onStep: () => progress.tick(method.name) });
    const heldOut = accuracy(network, task.heldOut);
    network.dispose();
    return { lr, accuracy: heldOut };
  };
  const tried = [];
  for (const lr of method.rates) tried.push(await attempt(lr));
  for (let widened = 0; widened < 4; widened++) {
    const index = tried.indexOf(best(tried));
    if (index > 0 && index < tried.length - 1) break;
    if (index === 0) tried.unshift(await attempt(tried[0].lr / 2));
    else tried.push(await attempt(2 * tried[index].lr));
  }
  return { lr: best(tried).lr, tried };
}

/**
 * The most accurate trial; of two equal ones that with the smaller rate.
 * @param {{ lr: number; accuracy: number }[]} tried
 */
const best = (tried) => tried.reduce((top, next) => (next.accuracy > top.accuracy ? next : top));

/**
 * One reported run: its accuracy on the test images, after each of `curveEpochs` and at the end.
 * @param {Network} network
 * @param {Task} task
 * @param {{ recipe: Recipe; lr: number; seed: number; curveEpochs: readonly number[]; onStep: () => void }} options
 */
function runOnce(network, task, { recipe, lr, seed, curveEpochs, onStep }) {
  const stepsPerEpoch = countSteps({ ...recipe, data: task.train, epochs: 1 });
  /** @type {{ step: number; accuracy: number }[]} */
  const curve = [];
  const onEpoch = (/** @type {number} */ epoch) => {
    if (curveEpochs.includes(epoch)) {
      curve.push({ step: epoch * stepsPerEpoch, accuracy: accuracy(network, task.test) });
    }
  };
  const seconds = train(network, { ...recipe, data: task.train, lr, seed, onStep, onEpoch });
  return { accuracy: accuracy(network, task.test), curve, seconds };
}

/**
 * The effective rank of the layers' weights as they are now, on average.
 * @param {readonly Layer[]} layers
 */
export async function meanEffectiveRank(layers) {
  const ranks = [];
  for (const layer of layers) {
    const weight = layer.mergedWeight();
    const { u, s, vt } = await svd(weight);
    ranks.push(effectiveRank(s));
    for (const part of [weight, u, s, vt]) part.dispose();
  }
  return mean(ranks);
}

/**
 * The runs that are reported, one for each method and seed. The training curves are those of the first seed. The methods
 * take turns, so that other load on the machine affects all of them alike.
 * @param {readonly { method: Method; lr: number }[]} choices
 * @param {readonly BaseLayer[]} base
 * @param {Task} task
 * @param {{ recipe: Recipe; seeds: readonly number[]; curveEpochs: readonly number[]; progress: Progress }} options
 */
export async function measure(choices, base, task, { recipe, seeds, curveEpochs, progress }) {
  const results = choices.map(() => ({
    accuracies: /** @type {number[]} */ ([]),
    effectiveRanks: /** @type {number[]} */ ([]),
    curve: /** @type {{ step: number; accuracy: number }[]} */ ([]),
    seconds: /** @type {number[]} */ ([]),
    parameters: 0,
  }));
  for (const seed of seeds) {
    for (const [index, { method, lr }] of choices.entries()) {
      const network = await build(method, base, seed);
      const onStep = () => progress.tick(method.name);
      const first = seed === seeds[0];
      const run = runOnce(network, task, { recipe, lr, seed, curveEpochs: first ? curveEpochs : [], onStep });
      const result = results[index];
      result.accuracies.push(run.accuracy);
      result.seconds.push(...run.seconds);
      result.curve.push(...run.curve);
      result.parameters = network.parameterCount;
      result.effectiveRanks.push(await meanEffectiveRank(network.layers));
      network.dispose();
    }
  }
  return results.map(({ seconds, ...result }) => ({ ...result, msPerStep: 1000 * median(seconds) }));
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
