// @ts-check
// How the frozen matrices of a layer may be kept: the study's storages. A layer in bfloat16 computes in it: its inputs,
// outputs and their gradients are rounded, too.
import { decompose, Tensor } from 'sigmatune';

/** @typedef {import('sigmatune').AdaptedLinear<'bfloat16'>} Half */
/** @typedef {import('sigmatune').Factors<'bfloat16'>} HalfFactors */
/** @typedef {import('./methods.js').Base} Base */
/** @typedef {import('./layers.js').View} View */
/** @typedef {{ weight: import('sigmatune').Tensor<'bfloat16'>, factors: HalfFactors }} Kept */

/** @type {WeakMap<Base, Promise<Kept>>} */
const kept = new WeakMap();

/** The weight of a base and its factors in bfloat16, computed once. @param {Base} base @returns {Promise<Kept>} */
export function inBfloat16(base) {
  const known = kept.get(base);
  if (known !== undefined) return known;
  const weight = base.weight.cast('bfloat16');
  const made = decompose(weight, { storage: 'bfloat16' }).then((factors) => ({ weight, factors }));
  kept.set(base, made);
  return made;
}

/** A layer in bfloat16 among layers in float32. */
export class Bfloat16 {
  /** @param {Half} layer it is disposed with this one */
  constructor(layer) {
    this.layer = layer;
    this.parameters = layer.parameters;
  }

  /** @param {View} x */
  apply(x) {
    return this.layer.apply(narrow(x)).cast('float32');
  }

  /** @param {View} x */
  forward(x) {
    const pass = this.layer.forward(narrow(x));
    const backward = (/** @type {View} */ dy) => pass.backward(narrow(dy)).cast('float32');
    return { y: pass.y.cast('float32'), backward, dispose: () => pass.dispose() };
  }

  mergedWeight() {
    const merged = this.layer.mergedWeight();
    const wide = merged.cast('float32');
    merged.dispose();
    return wide;
  }

  dispose() {
    this.layer.dispose();
  }
}

/** @param {View} view */
const narrow = ({ data, shape }) => Tensor.wrap(data, [...shape]).cast('bfloat16');
