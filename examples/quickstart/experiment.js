// @ts-check
import { Network } from './network.js';
import { seeded } from './random.js';
import { accuracy, countSteps, train } from './train.js';

/** @typedef {import('./methods.js').BaseLayer} BaseLayer */
/** @typedef {import('./methods.js').Method} Method */
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
 * If that is the last of its grid the grid is widened, the same for every method, so that the choice has neighbours.
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
 * The most accurate, the smaller rate where two are equal.
 * @param {{ lr: number; accuracy: number }[]} tried
 */
const best = (tried) => tried.reduce((top, next) => (next.accuracy > top.accuracy ? next : top));

/**
 * The runs that are reported: one per seed, judged on the test images after every epoch of the first and at the end.
 * @param {Method} method
 * @param {readonly BaseLayer[]} base
 * @param {Task} task
 * @param {{ recipe: Recipe; lr: number; seeds: readonly number[]; start: number; progress: Progress }} options
 */
export async function measure(method, base, task, { recipe, lr, seeds, start, progress }) {
  const stepsPerEpoch = countSteps({ ...recipe, data: task.train, epochs: 1 });
  const curve = [{ step: 0, accuracy: start }];
  const accuracies = [];
  const seconds = [];
  let parameters = 0;
  for (const seed of seeds) {
    const network = await build(method, base, seed);
    const record = (/** @type {number} */ epoch) =>
      curve.push({ step: epoch * stepsPerEpoch, accuracy: accuracy(network, task.test) });
    seconds.push(
      ...train(network, {
        ...recipe,
        data: task.train,
        lr,
        seed,
        onStep: () => progress.tick(method.name),
        ...(seed === seeds[0] && { onEpoch: record }),
      }),
    );
    accuracies.push(seed === seeds[0] ? curve[curve.length - 1].accuracy : accuracy(network, task.test));
    parameters = network.parameterCount;
    network.dispose();
  }
  return { accuracies, curve, parameters, msPerStep: 1000 * median(seconds) };
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
