// @ts-check
// The encoder's layers in TensorFlow.js alone, with every pretrained number as a variable.
import * as tf from '@tensorflow/tfjs-core';

/** @typedef {import('./encoder.js').Parts} Parts */
/** @typedef {import('./pretrained.js').Numbers} Numbers */

/** @param {import('./pretrained.js').Pretrained} pretrained @returns {Parts & { variables: tf.Variable[] }} */
export function tfjsParts({ linears, norms, embeddings, frequencies }) {
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
  for (const [name, { scale, bias }] of norms) {
    add(`${name}.scale`, scale);
    add(`${name}.shift`, bias);
  }
  add('embeddings', embeddings);
  const get = (/** @type {string} */ name) => /** @type {tf.Variable} */ (variables.get(name));

  return {
    variables: [...variables.values()],
    frequencies: tf.tensor2d(frequencies.data, [1, frequencies.data.length]),
    embed: (ids) => tf.gather(get('embeddings'), tf.tensor1d(ids, 'int32')),
    linear: (name, x) => tf.add(tf.matMul(/** @type {tf.Tensor2D} */ (x), get(`${name}.weight`)), get(`${name}.bias`)),
    norm: (name, x) => {
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const variance = tf.mean(tf.square(centred), -1, true);
      const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-6)));
      return tf.add(tf.mul(normal, get(`${name}.scale`)), get(`${name}.shift`));
    },
  };
}
