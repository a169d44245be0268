// @ts-check
// The encoder with the layers of one method, and a linear head with two classes on its embeddings.
import * as tf from '@tensorflow/tfjs-core';
import { tidy } from 'sigmatune';
import { adaptedDense } from 'sigmatune/tfjs';
import { attention } from './attention.js';
import { add, mean, relu } from './elementwise.js';
import { encode } from './encoder.js';
import { Dense, Norm } from './layers.js';

/** @typedef {import('./batch.js').Batch} Batch */
/** @typedef {import('./data.js').Example} Example */
/** @typedef {import('./methods.js').Base} Base */
/** @typedef {import('./methods.js').Layer} Layer */
/** @typedef {import('./methods.js').Method} Method */
/** @typedef {import('./pretrained.js').Pretrained} Pretrained */
/** @typedef {import('sigmatune').Parameter} Parameter */
/** @typedef {(x: tf.Tensor) => tf.Tensor} Operation */

const classes = 2;
const width = 512; // of the embeddings

export class Classifier {
  /**
   * @param {object} parts
   * @param {ReadonlyMap<string, Layer>} parts.layers
   * @param {ReadonlyMap<string, Norm>} parts.norms
   * @param {import('./batch.js').MakeBatch} parts.makeBatch
   * @param {boolean} parts.frozen whether only the head trains
   */
  constructor({ layers, norms, makeBatch, frozen }) {
    this.layers = layers;
    this.norms = norms;
    this.makeBatch = makeBatch;
    this.frozen = frozen;
    const zeros = (/** @type {number[]} */ ...shape) => ({
      data: new Float32Array(shape.reduce((product, n) => product * n, 1)),
      shape,
    });
    this.head = new Dense('head', { weight: zeros(width, classes), bias: zeros(classes) });
    this.headOperation = operationOf(this.head);
    const operations = new Map([...layers, ...norms].map(([name, layer]) => [name, operationOf(layer)]));
    const run = (/** @type {string} */ name, /** @type {tf.Tensor2D} */ x) =>
      /** @type {tf.Tensor2D} */ (operations.get(name)?.(x));
    this.parts = { linear: run, norm: run, attention, add, relu, mean };
  }

  /** What trains, without the head. @returns {Parameter[]} */
  get parameters() {
    if (this.frozen) return [];
    const norms = [...this.norms.values()].flatMap((norm) => norm.parameters.filter(({ trainable }) => trainable));
    return [...[...this.layers.values()].flatMap((layer) => [...layer.parameters]), ...norms];
  }

  /** Adds the gradients into every parameter's grad. @param {readonly Example[]} examples @returns {number} the mean cross-entropy */
  backward(examples) {
    return tf.tidy(() => {
      const batch = this.makeBatch(examples.map(({ ids }) => ids));
      const labels = tf.oneHot(
        examples.map(({ label }) => label),
        classes,
      );
      const fixed = this.frozen ? encode(this.parts, batch) : undefined;
      const loss = () => {
        const logits = this.headOperation(fixed ?? encode(this.parts, batch));
        return /** @type {tf.Scalar} */ (tf.losses.softmaxCrossEntropy(labels, logits));
      };
      return tf.variableGrads(loss).value.dataSync()[0];
    });
  }

  /** The logit of class 1 minus that of class 0. @param {readonly Example[]} examples @returns {number[]} */
  scores(examples) {
    const chunk = 128;
    const scores = [];
    for (let first = 0; first < examples.length; first += chunk) {
      const ids = examples.slice(first, first + chunk).map((example) => example.ids);
      const logits = tidy(() =>
        tf.tidy(() =>
          this.headOperation(encode(this.parts, this.makeBatch(ids)))
            .dataSync()
            .slice(),
        ),
      );
      for (let i = 0; i < ids.length; i++) scores.push(logits[2 * i + 1] - logits[2 * i]);
    }
    return scores;
  }

  dispose() {
    for (const each of [...this.layers.values(), ...this.norms.values(), this.head]) each.dispose();
  }
}

/** @param {Layer | Norm} layer @returns {Operation} */
const operationOf = (layer) => adaptedDense(/** @type {any} */ (layer));

/**
 * @param {Method} method @param {readonly Base[]} bases @param {Pretrained} pretrained @param {import('./batch.js').MakeBatch} makeBatch
 * @param {number} seed of initial numbers
 */
export async function makeClassifier(method, bases, pretrained, makeBatch, seed) {
  /** @type {Map<string, Layer>} */
  const layers = new Map();
  for (const base of bases) layers.set(base.name, await method.adapt(base, seed));
  const norms = new Map(
    [...pretrained.norms].map(([name, norm]) => [name, new Norm(name, norm, method.norms ?? false)]),
  );
  return new Classifier({ layers, norms, makeBatch, frozen: method.frozen ?? false });
}
