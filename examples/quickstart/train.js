// @ts-check
import { AdamW, linearSchedule, Tensor, tidy } from 'sigmatune';
import { countCorrect, softmaxCrossEntropy } from './loss.js';
import { CLASSES, copyRows, PIXELS } from './mnist.js';
import { permutation, seeded } from './random.js';

/** @typedef {import('./mnist.js').Digits} Digits */
/** @typedef {import('./network.js').Network} Network */

/**
 * @typedef {object} TrainOptions
 * @property {Digits} data
 * @property {number} lr
 * @property {number} weightDecay
 * @property {number} epochs
 * @property {number} batchSize
 * @property {number} warmup share of the steps
 * @property {number} seed of the order of the data
 * @property {(loss: number) => void} [onStep]
 * @property {(epoch: number) => void} [onEpoch]
 */

/**
 * Steps of one run; a last batch that is not full is left out.
 * @param {{ data: Digits; epochs: number; batchSize: number }} options
 */
export const countSteps = ({ data, epochs, batchSize }) => epochs * Math.floor(data.labels.length / batchSize);

/**
 * The training loop. For every kind of layer, a step is a forward pass, a loss, its gradient back through the layers, and
 * one step of the optimiser. Returns the seconds of each step.
 * @param {Network} network
 * @param {TrainOptions} options
 */
export function train(network, options) {
  const { data, lr, weightDecay, epochs, batchSize, warmup, seed, onStep, onEpoch } = options;
  const total = countSteps(options);
  const schedule = linearSchedule({ warmup: Math.round(warmup * total), total });
  const optimizer = new AdamW(network.parameters, { lr, weightDecay });
  const generator = seeded(seed);

  // All steps use the memory of one batch: the tensors are views of it.
  const images = new Float32Array(batchSize * PIXELS);
  const labels = new Uint8Array(batchSize);
  const x = Tensor.wrap(images, [batchSize, PIXELS]);
  const gradient = Tensor.wrap(new Float32Array(batchSize * CLASSES), [batchSize, CLASSES]);

  const seconds = new Float64Array(total);
  let step = 0;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    const order = permutation(generator, data.labels.length);
    for (let first = 0; first + batchSize <= order.length; first += batchSize) {
      const start = performance.now();
      copyRows(data, order.subarray(first, first + batchSize), images, labels);
      optimizer.lrScale = schedule(step);
      const loss = tidy(() => {
        const pass = network.forward(x);
        const mean = softmaxCrossEntropy(pass.logits, labels, gradient);
        pass.backward(gradient);
        optimizer.step();
        optimizer.zeroGrad();
        return mean;
      });
      seconds[step++] = (performance.now() - start) / 1000;
      onStep?.(loss);
    }
    onEpoch?.(epoch);
  }
  x.dispose();
  gradient.dispose();
  return seconds;
}

/**
 * The share of the digits that the network gets right.
 * @param {Network} network
 * @param {Digits} digits
 */
export function accuracy(network, { images, labels }) {
  const chunk = 2500; // rows at a time: many enough that an adapted layer merges its weight once for all of them
  let correct = 0;
  for (let first = 0; first < labels.length; first += chunk) {
    const end = Math.min(first + chunk, labels.length);
    const rows = images.subarray(first * PIXELS, end * PIXELS);
    correct += tidy(() => {
      const logits = network.apply(Tensor.wrap(rows, [end - first, PIXELS]));
      return countCorrect(logits, labels.subarray(first, end));
    });
  }
  return correct / labels.length;
}
