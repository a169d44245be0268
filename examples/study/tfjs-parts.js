// @ts-check
// The parts of the encoder in TensorFlow.js alone, with all pretrained numbers but the embeddings as variables.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-layers'; // registers the gradients of all operations

/** @typedef {import('./batch.js').Batch} Batch */
/** @typedef {import('./encoder.js').Parts} Parts */
/** @typedef {import('./pretrained.js').Numbers} Numbers */

const heads = 4;

/** @param {import('./pretrained.js').Pretrained} pretrained @returns {Parts & { variables: Map<string, tf.Variable> }} */
export function tfjsParts({ linears, norms }) {
  /** @type {Map<string, tf.Variable>} */
  const variables = new Map();
  const add = (/** @type {string} */ name, /** @type {Numbers} */ { data, shape }) => {
    const start = tf.tensor(data.slice(), [...shape]);
    variables.set(name, tf.variable(start));
    start.dispose();
  };
  for (const [name, { weight, bias }] of linears) {
    add(`${name}.weight`, weight);
    add(`${name}.bias`, bias);
  }
  for (const [name, { scale, shift }] of norms) {
    add(`${name}.scale`, scale);
    add(`${name}.shift`, shift);
  }
  const get = (/** @type {string} */ name) => /** @type {any} */ (variables.get(name));
  return {
    variables,
    linear: (name, x) => tf.add(tf.matMul(x, get(`${name}.weight`)), get(`${name}.bias`)),
    norm: (name, x) => {
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const variance = tf.mean(tf.square(centred), -1, true);
      const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-6)));
      return tf.add(tf.mul(normal, get(`${name}.scale`)), get(`${name}.shift`));
    },
    attention,
    add: (a, b) => tf.add(a, b),
    relu: (x) => tf.relu(x),
    mean: (x, { lengths }) => tf.matMul(averages(lengths), x),
  };
}

/** The mean of the tokens of each sentence, as a matrix [B, T]. @param {readonly number[]} lengths */
function averages(lengths) {
  const tokens = lengths.flatMap((length, b) => new Array(length).fill(b));
  const matrix = new Float32Array(lengths.length * tokens.length);
  for (const [token, b] of tokens.entries()) matrix[b * tokens.length + token] = 1 / lengths[b];
  return tf.tensor2d(matrix, [lengths.length, tokens.length]);
}

/** Pads the sentences to the longest, L tokens. @type {Parts['attention']} */
function attention(qkv, { lengths }) {
  const [B, L] = [lengths.length, Math.max(...lengths)];
  const width = qkv.shape[1] / 3;
  const size = width / heads;
  const { packed, padded, mask } = places(lengths, L);
  const rows = take(tf.concat([qkv, tf.zeros([1, 3 * width])]), padded, packed); // [B L, 3 d]
  const split = tf.transpose(tf.reshape(rows, [B, L, 3, heads, size]), [2, 0, 3, 1, 4]);
  const [q, k, v] = tf.unstack(split); // [B, heads, L, size]
  const scores = tf.add(tf.matMul(tf.mul(q, 1 / Math.sqrt(size)), k, false, true), mask);
  const mixed = tf.matMul(tf.softmax(scores), v);
  const joined = /** @type {tf.Tensor2D} */ (tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [B * L, width]));
  return take(joined, packed, padded);
}

/**
 * Where each token stands among the padded ones; where each of these stands among the tokens, T if there is none; and a mask
 * that is 0, or -1e9 if there is none.
 * @param {readonly number[]} lengths @param {number} L
 */
function places(lengths, L) {
  const slots = lengths.flatMap((length, b) => Array.from({ length }, (_, position) => b * L + position));
  const padded = new Int32Array(lengths.length * L).fill(slots.length);
  const mask = new Float32Array(padded.length).fill(-1e9);
  for (const [token, slot] of slots.entries()) {
    padded[slot] = token;
    mask[slot] = 0;
  }
  return {
    packed: tf.tensor1d(slots, 'int32'),
    padded: tf.tensor1d(padded, 'int32'),
    mask: tf.tensor4d(mask, [lengths.length, 1, 1, L]),
  };
}

/**
 * Rows of x. A row is taken once, but for a last one of zeros: so the gradient takes rows too. The gradient of tf.gather adds
 * rows, for which the wasm backend has no kernel.
 * @param {tf.Tensor2D} x [n, d] @param {tf.Tensor1D} rows [m] @param {tf.Tensor1D} inverse the row of the result for each
 * row of x, m if there is none; the row of zeros may be missing
 * @returns {tf.Tensor2D} [m, d]
 */
function take(x, rows, inverse) {
  return tf.customGrad((/** @type {any} */ given, /** @type {any} */ save) => {
    save([inverse]);
    const gradFunc = (/** @type {any} */ dy, /** @type {any} */ [saved]) => {
      const zeros = tf.zeros([1, dy.shape[1]]);
      const gradient = tf.gather(tf.concat([dy, zeros]), saved);
      return given.shape[0] === saved.size ? gradient : tf.concat([gradient, zeros]);
    };
    return { value: tf.gather(given, rows), gradFunc };
  })(x);
}
