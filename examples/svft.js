// @ts-check
// Trains M with several sparsity patterns on one weight. Prints how many numbers each pattern trains, and how much of
// the map of another weight it learns.
import { AdamW, matmul, SparsityPattern, svd, svft, Tensor, tensor, tidy } from 'sigmatune';

const size = 48;
const noise = (/** @type {number} */ seed, /** @type {number} */ scale) =>
  Float32Array.from({ length: size * size }, (_, i) => scale * Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1, 0.2), [size, size]); // W0 [out, in]
const x = tensor(noise(2, 1), [size, size]);
const shift = noise(3, 0.02);
const other = tensor(
  weight.dataSync().map((w, i) => w + shift[i]),
  [size, size],
);
const target = matmul(x, other, { transposeB: true }).dataSync();

const factors = await svd(weight); // computed once, for all layers
/** @type {Record<string, import('sigmatune').SvftOptions>} */
const choices = {
  plain: {},
  'banded, d = 2': { pattern: 'banded', offDiagonals: 2 },
  'banded, 4 above': { pattern: 'banded', offDiagonals: { lower: 0, upper: 4 } },
  'random, d = 2': { pattern: 'random', offDiagonals: 2, seed: 1, includeDiagonal: true },
  'top-k, d = 2': { pattern: 'topk', offDiagonals: 2 },
  'a corner': { pattern: SparsityPattern.fromCoordinates([0, 0, 1, 1], [0, 1, 0, 1], size) },
};

for (const [name, options] of Object.entries(choices)) {
  const layer = await svft(weight, { ...options, factors });
  const optimizer = new AdamW(layer.parameters, { lr: 0.02, weightDecay: 0 });
  const losses = Array.from({ length: 200 }, () =>
    tidy(() => {
      const pass = layer.forward(x);
      const error = pass.y.dataSync().map((y, i) => y - target[i]);
      pass.backward(Tensor.wrap(error, [size, size]), { inputGrad: false });
      optimizer.step();
      optimizer.zeroGrad();
      return Math.hypot(...error) ** 2;
    }),
  );
  const { change } = layer.telemetry();
  const learnt = (100 * (1 - losses[199] / losses[0])).toFixed(0);
  console.log(`${name}: ${layer.parameterCount} numbers, ${learnt} % learnt, ‖ΔW‖ = ${change?.toFixed(2)}`);
  layer.dispose();
}
