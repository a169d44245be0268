// @ts-check
// What cost.js compares: the same model, with other layers.
import * as tf from '@tensorflow/tfjs-core';
import { AdamW, tidy } from 'sigmatune';
import { adaptedDense } from 'sigmatune/tfjs';
import { seeded, uniform } from '../quickstart/random.js';
import { attention } from './attention.js';
import { decomposeLinears } from './bases.js';
import { add, mean, relu } from './elementwise.js';
import { encode } from './encoder.js';
import { Norm } from './layers.js';
import { methods } from './methods.js';
import { tfjsParts } from './tfjs-parts.js';

/** @typedef {import('./encoder.js').Parts} Parts */
/** @typedef {import('./pretrained.js').Pretrained} Pretrained */
/**
 * @typedef {object} Side
 * @property {'cpu' | 'wasm'} backend
 * @property {'tfjs' | 'study'} parts who computes what is not a linear layer
 * @property {string} method 'full' and 'lora' are in TensorFlow.js; others are those of methods.js
 */

/** @type {Record<string, Side>} */
export const sides = {
  'TensorFlow.js, full fine-tuning (wasm)': { backend: 'wasm', parts: 'tfjs', method: 'full' },
  'TensorFlow.js, LoRA r=4 (wasm)': { backend: 'wasm', parts: 'tfjs', method: 'lora' },
  'adaptedDense, SVFT banded (wasm)': { backend: 'wasm', parts: 'tfjs', method: 'SVFT banded' },
  'adaptedDense, VectorFit (wasm)': { backend: 'wasm', parts: 'tfjs', method: 'VectorFit without AVF' },
  'study, full fine-tuning': { backend: 'cpu', parts: 'study', method: 'full fine-tuning' },
  'study, LoRA r=1': { backend: 'cpu', parts: 'study', method: 'LoRA r=1' },
  'study, LoRA r=8': { backend: 'cpu', parts: 'study', method: 'LoRA r=8' },
  'study, SVFT plain': { backend: 'cpu', parts: 'study', method: 'SVFT plain' },
  'study, SVFT banded': { backend: 'cpu', parts: 'study', method: 'SVFT banded' },
  'study, SiVA lowest': { backend: 'cpu', parts: 'study', method: 'SiVA lowest' },
  'study, VectorFit without AVF': { backend: 'cpu', parts: 'study', method: 'VectorFit without AVF' },
};

/** @type {Promise<import('./methods.js').Base[]> | undefined} */
let bases;

/**
 * A training step of a side, towards embeddings that are given.
 * @param {string} name @param {Pretrained} pretrained @param {() => import('./batch.js').Batch} makeBatch @param {Float32Array} target
 * @param {number} [lr] @returns {Promise<() => number>} it returns the loss before the step
 */
export async function makeSide(name, pretrained, makeBatch, target, lr = 1e-5) {
  const { backend, parts: kind, method } = sides[name];
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no backend ${backend}`);
  const loss = (/** @type {Parts} */ parts) => () => {
    const error = tf.sub(encode(parts, makeBatch()), tf.tensor2d(target, [target.length / 512, 512]));
    return /** @type {tf.Scalar} */ (tf.sum(tf.square(error)));
  };
  if (method === 'full' || method === 'lora') {
    const { parts, variables } = method === 'full' ? allTrain(pretrained) : loraOf(pretrained, 4);
    const optimizer = tf.train.adam(lr);
    return () =>
      tf.tidy(() => /** @type {tf.Scalar} */ (optimizer.minimize(loss(parts), true, variables)).dataSync()[0]);
  }
  const { parts, parameters } = await adaptedParts(pretrained, method, kind);
  const optimizer = new AdamW(parameters, { lr, weightDecay: 0 });
  return () =>
    tidy(() => {
      const value = tf.tidy(() => tf.variableGrads(loss(parts)).value.dataSync()[0]);
      optimizer.step();
      optimizer.zeroGrad();
      return value;
    });
}

/** @param {Pretrained} pretrained */
function allTrain(pretrained) {
  const parts = tfjsParts(pretrained);
  return { parts, variables: [...parts.variables.values()] };
}

/** LoRA in TensorFlow.js's operations, on frozen dense layers. @param {Pretrained} pretrained @param {number} r */
function loraOf(pretrained, r) {
  const parts = tfjsParts(pretrained);
  for (const variable of parts.variables.values()) variable.trainable = false;
  const generator = seeded(1);
  /** @type {Map<string, [tf.Variable, tf.Variable]>} */
  const pairs = new Map();
  for (const [name, { weight }] of pretrained.linears) {
    const [inFeatures, out] = weight.shape;
    const a = tf.tensor2d(uniform(generator, inFeatures * r, 1 / Math.sqrt(inFeatures)), [inFeatures, r]);
    pairs.set(name, [tf.variable(a), tf.variable(tf.zeros([r, out]))]);
  }
  /** @type {Parts['linear']} */
  const linear = (name, x) => {
    const [a, b] = /** @type {[any, any]} */ (pairs.get(name));
    return tf.add(parts.linear(name, x), tf.mul(tf.matMul(tf.matMul(x, a), b), 2));
  };
  return { parts: { ...parts, linear }, variables: [...pairs.values()].flat() };
}

/** @param {Pretrained} pretrained @param {string} name @param {'tfjs' | 'study'} kind */
async function adaptedParts(pretrained, name, kind) {
  const method = methods.find((each) => each.name === name);
  if (method === undefined) throw new Error(`no method ${name}`);
  bases ??= decomposeLinears(pretrained);
  const layers = new Map();
  for (const base of await bases) layers.set(base.name, await method.adapt(base, 1));
  const norms = new Map(
    [...pretrained.norms].map(([place, norm]) => [place, new Norm(place, norm, method.norms ?? false)]),
  );
  const operations = new Map([...layers, ...norms].map(([place, layer]) => [place, adaptedDense(layer)]));
  const run = (/** @type {string} */ place, /** @type {tf.Tensor2D} */ x) =>
    /** @type {any} */ (operations.get(place)?.(x));
  const trained = method.norms ? [...layers.values(), ...norms.values()] : [...layers.values()];
  const parameters = trained.flatMap((layer) => [...layer.parameters]);
  if (kind === 'study') return { parts: { linear: run, norm: run, attention, add, relu, mean }, parameters };
  const frozen = tfjsParts(pretrained);
  for (const variable of frozen.variables.values()) variable.trainable = false;
  return { parts: { ...frozen, linear: run }, parameters };
}
