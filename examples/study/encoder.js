// @ts-check
// The Universal Sentence Encoder Lite as a model of TensorFlow.js: a batch → embeddings [B, 512]. Who computes and trains its
// parts is up to the caller, who gives them as functions of tensors: tfjs-parts.js, or those of classifier.js.
import * as tf from '@tensorflow/tfjs-core';

/** @typedef {import('./batch.js').Batch} Batch */
/**
 * @typedef {object} Parts
 * @property {(name: string, x: tf.Tensor2D) => tf.Tensor2D} linear [T, in] → [T, out]
 * @property {(name: string, x: tf.Tensor2D) => tf.Tensor2D} norm layer normalisation [T, d] → [T, d]
 * @property {(qkv: tf.Tensor2D, batch: Batch) => tf.Tensor2D} attention of each token to all of its sentence [T, 3 d] → [T, d]
 * @property {(a: tf.Tensor2D, b: tf.Tensor2D) => tf.Tensor2D} add
 * @property {(x: tf.Tensor2D) => tf.Tensor2D} relu
 * @property {(x: tf.Tensor2D, batch: Batch) => tf.Tensor2D} mean over the tokens of each sentence [T, d] → [B, d]
 */

/** @param {Parts} parts @param {Batch} batch @returns {tf.Tensor2D} of norm 1 */
export function encode(parts, batch) {
  const input = batch.input; // [T, 256]
  const middle = block('block0', input, parts.linear('block0.residual', input), parts, batch); // [T, 512]
  const output = block('block1', middle, middle, parts, batch);
  const final = tf.tanh(parts.linear('final', parts.mean(output, batch)));
  return tf.div(final, tf.norm(final, 2, 1, true));
}

/**
 * @param {string} name @param {tf.Tensor2D} x @param {tf.Tensor2D} residual @param {Parts} parts @param {Batch} batch
 * @returns {tf.Tensor2D}
 */
function block(name, x, residual, { linear, norm, attention, add, relu }, batch) {
  const attended = attention(linear(`${name}.qkv`, norm(`${name}.attention`, x)), batch);
  const y = add(linear(`${name}.out`, attended), residual);
  const hidden = relu(linear(`${name}.up`, norm(`${name}.feedForward`, y)));
  return add(linear(`${name}.down`, hidden), y);
}
