// @ts-check
import { Tensor } from 'sigmatune';
import { Dense } from './dense.js';
import { uniform } from './random.js';

/** @typedef {import('sigmatune').Tensor<'float32'>} Matrix */
/** @typedef {import('sigmatune').Parameter} Parameter */
/** @typedef {import('./random.js').Generator} Generator */

/**
 * One forward pass, and the pull-back of its gradient: dy → dx, adding into each parameter's grad on the way.
 * @typedef {object} Pass
 * @property {import('sigmatune').Tensor} y
 * @property {(dy: Matrix, options?: { inputGrad: false }) => import('sigmatune').Tensor | undefined} backward
 */

/**
 * A layer of a network: the package's AdaptedLinear, or Dense or Lora of this example.
 * @typedef {object} Layer
 * @property {readonly Parameter[]} parameters
 * @property {(x: Matrix) => import('sigmatune').Tensor} apply
 * @property {(x: Matrix) => Pass} forward
 * @property {() => import('sigmatune').Tensor<'float32' | 'float64'>} mergedWeight the weight as it is now, in a new tensor
 * @property {() => void} dispose
 */

/**
 * max(0, h), in place: as a product, because a branch on random signs is mispredicted half of the time.
 * @param {Matrix} h
 */
function relu(h) {
  const values = h.dataSync();
  for (let i = 0; i < values.length; i++) values[i] *= Number(values[i] > 0);
}

/**
 * The pull-back of relu, in place: the gradient is 0 if the unit was off.
 * @param {Matrix} dh
 * @param {Matrix} h
 */
function reluBackward(dh, h) {
  const gradient = dh.dataSync();
  const values = h.dataSync();
  for (let i = 0; i < gradient.length; i++) gradient[i] *= Number(values[i] > 0);
}

/** Layers with a ReLU between each two. Any kind of layer will do. */
export class Network {
  /** @param {readonly Layer[]} layers the network takes ownership of them */
  constructor(layers) {
    this.layers = layers;
  }

  get parameters() {
    return this.layers.flatMap((layer) => layer.parameters);
  }

  /** How many numbers are trained. */
  get parameterCount() {
    return this.parameters.reduce((sum, { value }) => sum + value.size, 0);
  }

  /**
   * The logits, keeping nothing for a backward.
   * @param {Matrix} x
   */
  apply(x) {
    let h = x;
    this.layers.forEach((layer, index) => {
      h = /** @type {Matrix} */ (layer.apply(h));
      if (index < this.layers.length - 1) relu(h);
    });
    return h;
  }

  /**
   * The logits, and the pull-back through every layer.
   * @param {Matrix} x
   */
  forward(x) {
    /** @type {Pass[]} */
    const passes = [];
    let h = x;
    for (const layer of this.layers) {
      if (passes.length > 0) relu(h);
      const pass = layer.forward(h);
      passes.push(pass);
      h = /** @type {Matrix} */ (pass.y);
    }
    /** @param {Matrix} gradient */
    const backward = (gradient) => {
      let dy = gradient;
      for (let index = passes.length - 1; index > 0; index--) {
        dy = /** @type {Matrix} */ (passes[index]?.backward(dy));
        reluBackward(dy, /** @type {Matrix} */ (passes[index - 1]?.y));
      }
      passes[0]?.backward(dy, { inputGrad: false }); // the gradient of the images is not needed
    };
    return { logits: h, backward };
  }

  dispose() {
    for (const layer of this.layers) layer.dispose();
  }
}

/**
 * Fully connected layers of the given widths, initialised as PyTorch does: uniform within 1/√in.
 * @param {readonly number[]} widths
 * @param {Generator} generator
 */
export function createLayers(widths, generator) {
  return widths.slice(1).map((out, index) => {
    const inputs = widths[index];
    const bound = 1 / Math.sqrt(inputs);
    const weight = Tensor.wrap(uniform(generator, out * inputs, bound), [out, inputs]);
    const bias = Tensor.wrap(uniform(generator, out, bound), [out]);
    return new Dense(`layer${index}`, weight, bias);
  });
}
