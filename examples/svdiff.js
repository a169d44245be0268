// @ts-check
// Trains the spectral shift of a layer for two targets, then goes from one shift to the other.
import { AdamW, matmul, svd, svdiff, Tensor, tensor, tidy } from 'sigmatune';

const size = 32;
const tokens = 64;
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.5 * Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1, size * size), [size, size]); // W0 [out, in]
const factors = await svd(weight); // computed once, for all layers
const x = tensor(noise(2, tokens * size), [tokens, size]);

/** What a layer gives whose σ[i] is `change(i)` times the weight's. */
const target = (/** @type {(i: number) => number} */ change) => {
  const s = factors.s.dataSync();
  const u = factors.u.dataSync().map((value, at) => value * s[at % size] * change(at % size));
  const y = matmul(x, matmul(tensor(u, [size, size]), factors.vt), { transposeB: true });
  return Float32Array.from(y.dataSync());
};
const targets = [target((i) => (i < 8 ? 0.5 : 1)), target((i) => (i < 8 ? 1 : 1.5))];

/** @type {Float32Array[]} */
const shifts = [];
for (const wanted of targets) {
  const layer = await svdiff(weight, { factors });
  const optimizer = new AdamW(layer.parameters, { lr: 0.05, weightDecay: 0 });
  for (let step = 0; step < 200; step++) {
    tidy(() => {
      const pass = layer.forward(x);
      const error = pass.y.dataSync().map((y, i) => (y - wanted[i]) / tokens);
      pass.backward(Tensor.wrap(error, [tokens, size]), { inputGrad: false });
      optimizer.step();
      optimizer.zeroGrad();
    });
  }
  shifts.push(Float32Array.from(layer.parameters[0].value.dataSync()));
  layer.dispose();
}

const mixed = await svdiff(weight, { factors });
const [one, two] = shifts;
for (const share of [1, 0.75, 0.5, 0.25, 0]) {
  mixed.parameters[0].value.assign(one.map((shift, i) => share * shift + (1 - share) * two[i]));
  const y = tidy(() => Float32Array.from(mixed.apply(x).dataSync()));
  const losses = targets.map((wanted) => Math.hypot(...y.map((value, i) => value - wanted[i])) ** 2 / (2 * tokens));
  console.log(`${share} of the first shift: losses ${losses.map((loss) => loss.toFixed(2)).join(' and ')}`);
}
console.log('drift of σ:', mixed.telemetry().drift);
