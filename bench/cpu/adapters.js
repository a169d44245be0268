// @ts-check
// Forward and backward of each core over the best floor of the cost model, in GEMMs timed in the same rounds.
import { matmul, svd, svft, vectorFit, zeros } from 'sigmatune';
import { alternate, quartiles, ratio } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'Forward + backward over the best floor';
export const columns = ['weight', 'tokens', 'floor, GEMMs', 'core', 'over the floor', 'quartiles', 'strategy', 'goal'];

/** @type {readonly (readonly [string, import('sigmatune').SvftOptions | null, number])[]} null is VectorFit */
const cores = [
  ['diagonal', {}, 1.08],
  ['σ and bias', null, 1.08],
  ['band, d = 2', { pattern: 'banded', offDiagonals: 2 }, 1.15],
  ['band, d = 8', { pattern: 'banded', offDiagonals: 8 }, 1.15],
  ['16 random a row', { pattern: 'random', offDiagonals: 8, seed: 1 }, 1.3],
  ['33 random a row', { pattern: 'random', offDiagonals: 16, seed: 1 }, 1.3],
];

/** @param {import('sigmatune').AdaptedLinear} layer @param {import('sigmatune').Tensor} x @param {import('sigmatune').Tensor} dy */
export function step(layer, x, dy) {
  // As an optimiser does: the parameters change, and gradients start from nothing.
  layer.parameters[0].value.dataSync()[0] += 1e-6;
  const pass = layer.forward(x);
  const dx = pass.backward(dy);
  for (const each of [pass.y, dx]) each.dispose();
  for (const parameter of layer.parameters) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}

export async function* run({ rounds = 15 } = {}) {
  for (const [out, inFeatures] of [
    [768, 768],
    [3072, 768],
    [768, 3072],
  ]) {
    const weight = gaussianTensor([out, inFeatures], 1 / Math.sqrt(inFeatures));
    const bias = gaussianTensor([out]);
    const factors = await svd(weight);
    const r = Math.min(out, inFeatures);
    for (const tokens of [512, 2048, 4096]) {
      const x = gaussianTensor([tokens, inFeatures]);
      const dy = gaussianTensor([tokens, out]);
      // A bare GEMM writes into memory that stands.
      const [y, dx] = [zeros([tokens, out]), zeros([tokens, inFeatures])];
      const floor = Math.min(2 + (2 * r) / Math.max(out, inFeatures), 3 + (2 * r) / tokens);
      /** @type {Record<string, import('sigmatune').AdaptedLinear>} */
      const layers = {};
      for (const [name, options] of cores) {
        layers[name] = options
          ? await svft(weight, { ...options, factors })
          : await vectorFit(weight, { factors, bias });
      }
      const samples = await alternate(
        {
          // One GEMM each way, as the factors of a mean.
          gemm: () => {
            matmul(x, weight, { transposeB: true, out: y });
            matmul(dy, weight, { out: dx });
          },
          ...Object.fromEntries(Object.entries(layers).map(([name, layer]) => [name, () => step(layer, x, dy)])),
        },
        { rounds },
      );
      for (const [name, , goal] of cores) {
        const over = ratio(
          samples[name],
          samples.gemm.map((two) => (two / 2) * floor),
        );
        const { strategy } = layers[name].explain(tokens);
        yield [
          `${out} × ${inFeatures}`,
          tokens,
          floor.toFixed(2),
          name,
          over.median.toFixed(2),
          quartiles(over),
          strategy,
          `≤ ${goal}`,
        ];
        layers[name].dispose();
      }
      for (const each of [x, dy, y, dx]) each.dispose();
    }
    for (const each of [weight, bias, ...Object.values(factors)]) each.dispose();
  }
}
