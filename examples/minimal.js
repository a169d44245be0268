// @ts-check
// Trains a layer to double its output. The weight is frozen; only the numbers between its singular vectors train.
import { AdamW, svft, Tensor, tensor, tidy } from 'sigmatune';

const random = (/** @type {number} */ size) => Float32Array.from({ length: size }, () => Math.random() - 0.5);
const weight = tensor(random(64 * 32), [64, 32]); // [out, in], as in PyTorch
const x = tensor(random(256 * 32), [256, 32]);

const layer = await svft(weight, { pattern: 'banded', offDiagonals: 2 });
const target = Float32Array.from(layer.apply(x).dataSync(), (y) => 2 * y);
const optimizer = new AdamW(layer.parameters, { lr: 0.1 });

for (let step = 0; step <= 100; step++) {
  const loss = tidy(() => {
    const pass = layer.forward(x);
    const error = Float32Array.from(pass.y.dataSync(), (y, i) => y - target[i]);
    pass.backward(Tensor.wrap(error, [256, 64]), { inputGrad: false });
    optimizer.step();
    optimizer.zeroGrad();
    return error.reduce((sum, e) => sum + e * e, 0) / error.length;
  });
  if (step % 20 === 0) console.log(`step ${step}: loss ${loss.toFixed(5)}`);
}
