// @ts-check
// Sentences of different lengths as one batch. Their tokens stand one after another, T in all, without padding; only
// attention pads them, to [B, L].
import * as tf from '@tensorflow/tfjs-core';

const longest = 128; // tokens of a sentence, as in the pretrained model

/**
 * @typedef {object} Batch
 * @property {number} sentences B
 * @property {number} length L, tokens of the longest sentence
 * @property {Int32Array} ids of the tokens [T]
 * @property {tf.Tensor2D} positions of the tokens in their sentences [T, 1]
 * @property {tf.Tensor1D} packed where each token stands among the padded ones [T]
 * @property {tf.Tensor1D} padded where each padded token stands among the packed ones, T if there is none [B L]
 * @property {tf.Tensor4D} mask 0, or -1e9 where there is no token [B, 1, 1, L]
 * @property {tf.Tensor2D} average of the tokens of each sentence, as a matrix [B, T]
 */

/** @param {readonly (readonly number[])[]} sentences the tokens of each, one or more @returns {Batch} */
export function makeBatch(sentences) {
  const clipped = sentences.map((ids) => ids.slice(0, longest));
  const ids = Int32Array.from(clipped.flat());
  const length = Math.max(...clipped.map((each) => each.length));
  const slots = clipped.length * length;
  const positions = new Float32Array(ids.length);
  const packed = new Int32Array(ids.length);
  const padded = new Int32Array(slots).fill(ids.length);
  const mask = new Float32Array(slots).fill(-1e9);
  const average = new Float32Array(clipped.length * ids.length);
  let token = 0;
  for (const [b, { length: count }] of clipped.entries()) {
    for (let position = 0; position < count; position++, token++) {
      const slot = b * length + position;
      positions[token] = position;
      packed[token] = slot;
      padded[slot] = token;
      mask[slot] = 0;
      average[b * ids.length + token] = 1 / count;
    }
  }
  return {
    sentences: clipped.length,
    length,
    ids,
    positions: tf.tensor2d(positions, [ids.length, 1]),
    packed: tf.tensor1d(packed, 'int32'),
    padded: tf.tensor1d(padded, 'int32'),
    mask: tf.tensor4d(mask, [clipped.length, 1, 1, length]),
    average: tf.tensor2d(average, [clipped.length, ids.length]),
  };
}
