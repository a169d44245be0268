// @ts-check
// Trains layers of several ranks k towards a weight that differs from the pretrained one in its largest directions.
import { AdamW, loraXs, matmul, svd, Tensor, tensor, tidy } from 'sigmatune';

const size = 48;
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.5 * Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1, size * size), [size, size]); // W0 [out, in]
const factors = await svd(weight); // computed once, for all layers
const x = tensor(noise(2, size * size), [size, size]);

// W1 = W0 + U N Vᵀ, where N mixes the eight largest directions.
const mixing = noise(3, size * size).map((value, at) => (at % size < 8 && at < 8 * size ? value : 0));
const change = matmul(matmul(factors.u, tensor(mixing, [size, size])), factors.vt).dataSync();
const wanted = tensor(
  Float32Array.from(weight.dataSync(), (value, i) => value + change[i]),
  [size, size],
);
const target = matmul(x, wanted, { transposeB: true }).dataSync();

for (const rank of [2, 4, 8]) {
  const layer = await loraXs(weight, { rank, factors });
  const optimizer = new AdamW(layer.parameters, { lr: 0.01, weightDecay: 0 });
  let loss = 0;
  for (let step = 0; step < 200; step++) {
    tidy(() => {
      const pass = layer.forward(x);
      const error = Float32Array.from(pass.y.dataSync(), (y, i) => (y - target[i]) / size);
      loss = (size * Math.hypot(...error) ** 2) / 2;
      pass.backward(Tensor.wrap(error, [size, size]), { inputGrad: false });
      optimizer.step();
      optimizer.zeroGrad();
    });
  }
  const { change: moved = Number.NaN } = layer.telemetry();
  console.log(`rank ${rank}: ${layer.parameterCount} parameters, loss ${loss.toFixed(3)}, ‖ΔW‖ ${moved.toFixed(2)}`);
  layer.dispose();
}
