// @ts-check
// Sentences of different lengths as one batch. Their tokens stand one after another, T in all, without padding.
import * as tf from '@tensorflow/tfjs-core';

const longest = 128; // tokens of a sentence, as in the pretrained model

/**
 * @typedef {object} Batch
 * @property {readonly number[]} lengths tokens of each sentence [B]
 * @property {tf.Tensor2D} input embeddings of the tokens and of their positions [T, 256]
 */
/** @typedef {(sentences: readonly (readonly number[])[]) => Batch} MakeBatch of the tokens of each sentence, one or more */

/** @param {import('./pretrained.js').Pretrained} pretrained @returns {MakeBatch} */
export function batcher({ embeddings, frequencies }) {
  const width = embeddings.shape[1];
  const timing = Array.from({ length: longest }, (_, position) => timingOf(position, frequencies.data));
  return (sentences) => {
    const clipped = sentences.map((ids) => ids.slice(0, longest));
    const lengths = clipped.map(({ length }) => length);
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    const input = new Float32Array(tokens * width);
    let token = 0;
    for (const ids of clipped) {
      for (const [position, id] of ids.entries()) {
        // The pretrained model adds the embedding twice.
        for (let i = 0; i < width; i++) {
          input[token * width + i] = 2 * embeddings.data[id * width + i] + timing[position][i];
        }
        token++;
      }
    }
    return { lengths, input: tf.tensor2d(input, [tokens, width]) };
  };
}

/** Sines, then cosines. @param {number} position @param {Float32Array} frequencies */
function timingOf(position, frequencies) {
  const angles = frequencies.map((frequency) => position * frequency);
  return [...angles.map(Math.sin), ...angles.map(Math.cos)];
}
