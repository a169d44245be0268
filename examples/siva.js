// @ts-check
// Prints how many singular values the variance rule selects, and how training them changes the effective rank.
import { AdamW, siva, svd, Tensor, tensor, tidy } from 'sigmatune';

const size = 48;
const noise = (/** @type {number} */ seed) =>
  Float32Array.from({ length: size * size }, (_, i) => Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1), [size, size]); // W0 [out, in]
const x = tensor(noise(2), [size, size]);
const target = noise(3);
const factors = await svd(weight); // computed once, for all layers

/** @type {Record<string, import('sigmatune').SivaOptions>} */
const choices = {
  'perc 0.95': { perc: 0.95 },
  'perc 0.80': { perc: 0.8 },
  'perc 0.80 of σ': { perc: 0.8, spectrum: 'linear' },
  '12 lowest': { count: 12 },
  '12 largest': { count: 12, select: 'top' },
  '12 random': { count: 12, basis: 'random', seed: 1 },
  '12 lowest, Theorem 1': { count: 12, init: { energy: 4 } },
};

for (const [name, options] of Object.entries(choices)) {
  const layer = await siva(weight, { ...options, factors });
  const optimizer = new AdamW(layer.parameters, { lr: 0.05, weightDecay: 0 });
  const start = layer.telemetry().effectiveRank.after ?? Number.NaN; // undefined for a random basis
  for (let step = 0; step < 100; step++) {
    tidy(() => {
      const pass = layer.forward(x);
      const error = pass.y.dataSync().map((y, i) => (y - target[i]) / size);
      pass.backward(Tensor.wrap(error, [size, size]), { inputGrad: false });
      optimizer.step();
      optimizer.zeroGrad();
    });
  }
  const { before, after = Number.NaN } = layer.telemetry().effectiveRank;
  const ranks = [before, start, after].map((rank) => rank.toFixed(1)).join(' → ');
  console.log(`${name}: k = ${layer.rank}, effective rank ${ranks}`);
  layer.dispose();
}
