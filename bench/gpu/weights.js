// @ts-check
// Weights of layers with their factors, decomposed once for all the layers that are made of one.
import { svd, svft } from 'sigmatune';
import { free, numbersOf, operand } from './data.js';

/**
 * @typedef {object} Weight
 * @property {number} out
 * @property {number} inFeatures
 * @property {import('./data.js').Narrow} dtype
 * @property {import('./data.js').Operand} weight
 * @property {import('sigmatune').Svd} factors in float32, as svd gives them
 * @property {() => void} dispose
 */

/**
 * A random weight [out, in] with entries such that y is of the size of x.
 * @param {number} out @param {number} inFeatures @param {import('./data.js').Narrow} dtype @returns {Promise<Weight>}
 */
export async function weightWithFactors(out, inFeatures, dtype) {
  const weight = operand([out, inFeatures], dtype, 1 / Math.sqrt(inFeatures));
  const factors = await svd(/** @type {import('sigmatune').Tensor<'float32'>} */ (weight.on));
  const dispose = () => free(weight.on, factors.u, factors.s, factors.vt);
  return { out, inFeatures, dtype, weight, factors, dispose };
}

/** Factors as a layer of the weight's type computes with them, on the host. @param {import('sigmatune').Svd<import('sigmatune').MatrixDType>} factors */
export async function hostFactors({ u, s, vt }) {
  return { u: await numbersOf(u), s: await numbersOf(s), vt: await numbersOf(vt) };
}

/** The layer before it was adapted: one GEMM forward, one backward. @param {Weight} of */
export async function baseLayer({ weight, factors }) {
  const layer = await svft(weight.on, { factors });
  layer.enabled = false;
  return layer;
}
