// @ts-check
// Trains one adapter for each of eight learning rates in one pass, and compares with eight separate runs.
import { AdamW, decompose, forwardEach, svft, Tensor, tensor, tidy } from 'sigmatune';

const [size, tokens] = [64, 48];
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.3 * Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1, size * size), [size, size]);
const factors = await decompose(weight);
const rates = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

const x = noise(2, tokens * size);
const target = noise(3, tokens * size);
const make = () => svft(weight, { factors, pattern: 'banded', offDiagonals: 2 });

/** Trains layers side by side; each has its rows of the batch, its learning rate and its loss.
 * @param {readonly number[]} rates */
async function train(rates) {
  const layers = await Promise.all(rates.map(make));
  const optimizers = layers.map(({ parameters }, i) => new AdamW(parameters, { lr: rates[i] }));
  const copies = (/** @type {Float32Array} */ data) => Float32Array.from(rates.flatMap(() => [...data]));
  const batch = tensor(copies(x), [rates.length * tokens, size]);
  const wanted = copies(target);
  const which = Int32Array.from({ length: rates.length * tokens }, (_, row) => Math.floor(row / tokens));
  /** @type {number[]} */
  let losses = [];
  for (let step = 0; step < 60; step++) {
    tidy(() => {
      const pass = layers.length > 1 ? forwardEach(layers, batch, which) : layers[0].forward(batch);
      const error = pass.y.dataSync().map((y, i) => (y - wanted[i]) / tokens);
      losses = rates.map((_, i) => Math.hypot(...error.subarray(i * x.length, (i + 1) * x.length)) ** 2);
      pass.backward(Tensor.wrap(error, batch.shape), { inputGrad: false }); // each layer gets the gradient of its rows
      for (const optimizer of optimizers) {
        optimizer.step();
        optimizer.zeroGrad();
      }
    });
  }
  return losses;
}

const together = await train(rates);
const apart = [];
for (const rate of rates) apart.push(...(await train([rate])));
for (const [i, rate] of rates.entries()) {
  console.log(`learning rate ${rate}: loss ${together[i].toFixed(4)}, ${apart[i].toFixed(4)} in a run of its own`);
}
console.log(`best: ${rates[together.indexOf(Math.min(...together))]}`);
