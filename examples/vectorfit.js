// @ts-check
// Trains the singular values and biases of two layers, and freezes the vector that has moved most from time to time.
import { AdamW, AdaptiveVectorFreezing, Tensor, tensor, tidy, vectorFit } from 'sigmatune';

const size = 32;
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.5 * Math.sin(seed + i * i * 0.618)); // the same on every run
const pretrained = (/** @type {number} */ seed) => ({
  weight: tensor(noise(seed, size * size), [size, size]), // W0 [out, in]
  bias: tensor(noise(seed + 1, size), [size]),
});
const [one, two] = [pretrained(1), pretrained(3)];
const first = await vectorFit(one.weight, { bias: one.bias, name: 'first' });
const second = await vectorFit(two.weight, { bias: two.bias, name: 'second', nonnegative: true });

const x = tensor(noise(5, 64 * size), [64, size]);
const target = noise(6, 64 * size);
const parameters = [...first.parameters, ...second.parameters];
const optimizer = new AdamW(parameters, { lr: 1e-2, weightDecay: 0 });
const freezing = new AdaptiveVectorFreezing(parameters, { start: 60, every: 20, count: 5, freeze: 1 });

for (let step = 1; step <= 180; step++) {
  const loss = tidy(() => {
    const one = first.forward(x);
    const hidden = Tensor.wrap(one.y.dataSync().map(Math.tanh), [64, size]);
    const two = second.forward(hidden);
    const error = two.y.dataSync().map((y, i) => (y - target[i]) / 64);
    const back = two.backward(Tensor.wrap(error, [64, size])).dataSync();
    const slope = hidden.dataSync().map((h, i) => back[i] * (1 - h * h));
    one.backward(Tensor.wrap(slope, [64, size]), { inputGrad: false });
    return 32 * Math.hypot(...error) ** 2;
  });
  optimizer.step();
  optimizer.zeroGrad();
  freezing.step(step); // after the optimiser's step
  if (step % 20 === 0) console.log(`step ${step}: loss ${loss.toFixed(2)}, frozen: ${freezing.frozen[0] ?? 'none'}`);
}
for (const [name, strength] of freezing.strengths) console.log(`${name}: strength ${strength.toExponential(1)}`);
console.log('σ of first has moved by', first.telemetry().drift);
