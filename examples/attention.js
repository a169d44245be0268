// @ts-check
// A stand-in for a model and its training data, used by adapt.js: one head of linear attention, y = (q kᵀ) v / tokens, with
// the names of a Llama checkpoint.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { matmul, Tensor, writeSafetensors } from 'sigmatune';

const [width, tokens] = [64, 128];
const noise = (/** @type {number} */ seed, /** @type {number} */ rows, /** @type {number} */ scale) => {
  const numbers = Float32Array.from({ length: rows * width }, (_, i) => scale * Math.sin(seed + i * i * 0.618));
  return Tensor.wrap(numbers, [rows, width]); // the same on every run
};
const weights = new Map(
  ['q', 'k', 'v'].map((role, i) => [`model.layers.0.self_attn.${role}_proj.weight`, noise(i, width, 0.2)]), // [out, in]
);

/** Writes `model.safetensors` into a new folder, which is removed when the process ends. */
export async function writeCheckpoint() {
  const folder = mkdtempSync(join(tmpdir(), 'adapt-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  await writeSafetensors(join(folder, 'model.safetensors'), weights);
  return folder;
}

const x = noise(3, tokens, 1);
/** The projections of x by weights that differ from the model's by noise of this size. */
const projections = (/** @type {number} */ shift) =>
  [...weights.values()].map((weight, i) => {
    const difference = noise(i + 4, width, shift).dataSync();
    const other = weight.dataSync().map((value, at) => value + difference[at]);
    return matmul(x, Tensor.wrap(other, [width, width]), { transposeB: true });
  });
const [, key] = projections(0);
const k = Tensor.wrap(
  key.dataSync().map((value) => value / tokens),
  [tokens, width],
);
const [otherQ, , otherV] = projections(0.03);
/** What training aims at: the same head with a slightly different query and value. */
const target = matmul(matmul(otherQ, k, { transposeB: true }), otherV).dataSync();

/**
 * Half the squared error for each token. The gradients are added to the layers' parameters.
 *
 * @param {Iterable<import('sigmatune').AdaptedLinear>} layers the adapted query and value
 */
export function lossAndGradients(layers) {
  const [query, value] = /** @type {Iterable<import('sigmatune').AdaptedLinear<'float32'>>} */ (layers);
  const [q, v] = [query.forward(x), value.forward(x)];
  const scores = matmul(q.y, k, { transposeB: true });
  const y = matmul(scores, v.y).dataSync();
  const error = y.map((number, i) => (number - target[i]) / tokens);
  const dy = Tensor.wrap(error, [tokens, width]);
  v.backward(matmul(scores, dy, { transposeA: true }), { inputGrad: false });
  q.backward(matmul(matmul(dy, v.y, { transposeB: true }), k), { inputGrad: false });
  return (tokens * Math.hypot(...error) ** 2) / 2;
}
