// @ts-check
// What stands between the layers, as operations on TensorFlow.js's tape with plain loops: those of its cpu backend take longer
// than the package's products.
import * as tf from '@tensorflow/tfjs-core';

/** @typedef {import('./encoder.js').Parts} Parts */
/** @typedef {{ y: Float32Array, shape: [number, number], pull: (dy: Float32Array) => Float32Array[] }} Result */

/**
 * An operation of matrices: `run` computes y, and the gradients of its inputs from that of y.
 * @param {readonly tf.Tensor2D[]} inputs @param {(...inputs: Float32Array[]) => Result} run @returns {tf.Tensor2D}
 */
export function operation(inputs, run) {
  const shapes = inputs.map(({ shape }) => shape);
  const forward = (/** @type {any[]} */ ...given) => {
    const { y, shape, pull } = run(...inputs.map((_, i) => given[i].dataSync()));
    const gradients = (/** @type {any} */ dy) => pull(dy.dataSync()).map((dx, i) => tf.tensor2d(dx, shapes[i]));
    const gradFunc = (/** @type {any} */ dy) => (inputs.length === 1 ? gradients(dy)[0] : gradients(dy));
    return { value: tf.tensor2d(y, shape), gradFunc };
  };
  return /** @type {tf.Tensor2D} */ (tf.customGrad(/** @type {any} */ (forward))(...inputs));
}

/** @type {Parts['add']} */
export const add = (a, b) =>
  operation([a, b], (x, z) => {
    const y = new Float32Array(x.length);
    for (let i = 0; i < y.length; i++) y[i] = x[i] + z[i];
    return { y, shape: a.shape, pull: (dy) => [dy, dy] };
  });

/** max(0, x), as a product, because a branch on random signs is mispredicted half of the time. @type {Parts['relu']} */
export const relu = (x) =>
  operation([x], (numbers) => {
    const y = new Float32Array(numbers.length);
    for (let i = 0; i < y.length; i++) y[i] = numbers[i] * Number(numbers[i] > 0);
    const pull = (/** @type {Float32Array} */ dy) => {
      const dx = new Float32Array(dy.length);
      for (let i = 0; i < dx.length; i++) dx[i] = dy[i] * Number(numbers[i] > 0);
      return [dx];
    };
    return { y, shape: x.shape, pull };
  });

/** @type {Parts['mean']} */
export const mean = (x, { lengths }) =>
  operation([x], (numbers) => {
    const width = x.shape[1];
    const y = new Float32Array(lengths.length * width);
    const rows = lengths.flatMap((length, b) => new Array(length).fill(b)); // the sentence of each token
    for (const [t, b] of rows.entries()) {
      for (let j = 0; j < width; j++) y[b * width + j] += numbers[t * width + j] / lengths[b];
    }
    const pull = (/** @type {Float32Array} */ dy) => {
      const dx = new Float32Array(numbers.length);
      for (const [t, b] of rows.entries()) {
        for (let j = 0; j < width; j++) dx[t * width + j] = dy[b * width + j] / lengths[b];
      }
      return [dx];
    };
    return { y, shape: [lengths.length, width], pull };
  });
