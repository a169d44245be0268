// @ts-check
// The Universal Sentence Encoder Lite as a model of TensorFlow.js: a batch → embeddings [B, 512]. Who computes and trains its
// layers is up to the caller, who gives them as functions.
import * as tf from '@tensorflow/tfjs-core';

/** @typedef {import('./batch.js').Batch} Batch */
/**
 * @typedef {object} Parts
 * @property {(ids: Int32Array) => tf.Tensor} embed token ids [T] → [T, 256]
 * @property {(name: string, x: tf.Tensor) => tf.Tensor} linear [T, in] → [T, out]
 * @property {(name: string, x: tf.Tensor) => tf.Tensor} norm layer normalisation [T, d] → [T, d]
 * @property {tf.Tensor2D} frequencies of the positions' sines [1, 128]
 */

const heads = 4;

/** @param {Parts} parts @param {Batch} batch @returns {tf.Tensor} of norm 1 */
export function encode(parts, batch) {
  const embedded = parts.embed(batch.ids);
  const angles = tf.matMul(batch.positions, parts.frequencies);
  const timing = tf.concat([tf.sin(angles), tf.cos(angles)], 1);
  const input = tf.add(tf.add(embedded, embedded), timing); // twice, as the pretrained model does
  const middle = block('block0', input, parts.linear('block0.residual', input), parts, batch);
  const output = block('block1', middle, middle, parts, batch);
  const mean = tf.matMul(batch.average, output);
  const final = tf.tanh(parts.linear('final', mean));
  return tf.div(final, tf.norm(final, 2, 1, true));
}

/**
 * @param {string} name @param {tf.Tensor} x @param {tf.Tensor} residual @param {Parts} parts @param {Batch} batch
 * @returns {tf.Tensor}
 */
function block(name, x, residual, { linear, norm }, batch) {
  const attended = attention(linear(`${name}.qkv`, norm(`${name}.attention`, x)), batch);
  const y = tf.add(linear(`${name}.out`, attended), residual);
  const hidden = tf.relu(linear(`${name}.up`, norm(`${name}.feedForward`, y)));
  return tf.add(linear(`${name}.down`, hidden), y);
}

/** Every token looks at all tokens of its sentence. @param {tf.Tensor} qkv [T, 3 d] @param {Batch} batch @returns {tf.Tensor} [T, d] */
function attention(qkv, { sentences: B, length: L, packed, padded, mask }) {
  const width = qkv.shape[1] / 3;
  const size = width / heads;
  const zero = tf.zeros([1, 3 * width]);
  const rows = take(tf.concat([qkv, zero]), padded, packed); // [B L, 3 d]
  const split = tf.transpose(tf.reshape(rows, [B, L, 3, heads, size]), [2, 0, 3, 1, 4]);
  const [q, k, v] = tf.unstack(split); // [B, heads, L, size]
  const scores = tf.add(tf.matMul(tf.mul(q, 1 / Math.sqrt(size)), k, false, true), mask);
  const mixed = tf.matMul(tf.softmax(scores), v);
  const joined = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [B * L, width]);
  return take(joined, packed, padded);
}

/**
 * Rows of x. Each row is taken once at most, so that the gradient also takes rows: tfjs adds them up in a slow way.
 * @param {tf.Tensor} x [n, d] @param {tf.Tensor1D} rows [m] @param {tf.Tensor1D} inverse the row of the result for each row of x,
 * or m if it is not taken; the last row of x may be missing
 * @returns {tf.Tensor} [m, d]
 */
function take(x, rows, inverse) {
  return tf.customGrad((/** @type {tf.Tensor} */ given) => ({
    value: tf.gather(given, rows),
    gradFunc: (/** @type {tf.Tensor} */ dy) => {
      const zero = tf.zeros([1, dy.shape[1] ?? 0]);
      const gradient = tf.gather(tf.concat([dy, zero]), inverse);
      return given.shape[0] === inverse.size ? gradient : tf.concat([gradient, zero]);
    },
  }))(x);
}
