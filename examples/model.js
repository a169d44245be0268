// @ts-check
// Adapts the attention of a small GPT-2-like model: plans, decomposes, trains, and gives the merged weights back.
import { AdamW, adaptModel, planModel, Tensor, targetsOf, tidy } from 'sigmatune';

const [layers, width, tokens] = [2, 48, 32];
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.2 * Math.sin(seed + i * i * 0.618)); // the same on every run
/** A checkpoint: weights [in, out] by name, query, key and value in one, as Hugging Face's GPT-2 has them.
 * @type {Record<string, Tensor<'float32'>>} */
const weights = {};
for (let i = 0; i < layers; i++) {
  weights[`h.${i}.attn.c_attn.weight`] = Tensor.wrap(noise(i, 3 * width * width), [width, 3 * width]);
  weights[`h.${i}.attn.c_attn.bias`] = Tensor.wrap(noise(i + 10, 3 * width), [3 * width]);
}

/** @type {import('sigmatune').ModelOptions} */
const options = { ...targetsOf('gpt2', 'QV'), family: 'svft', options: { pattern: 'banded', offDiagonals: 2 } };

// What would train? This needs shapes only.
const shapes = Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]));
for (const { name, out, in: inputs, parameters } of planModel(shapes, options)) {
  console.log(`${name} [${out}, ${inputs}]: ${parameters} parameters`);
}

const model = await adaptModel(weights, options);
const optimizer = new AdamW(model.parameters, { lr: 0.05 });
const x = Tensor.wrap(noise(20, tokens * width), [tokens, width]);
const target = noise(21, tokens * width);
for (const step of Array(101).keys()) {
  tidy(() => {
    let loss = 0;
    for (const layer of model.layers.values()) {
      const pass = layer.forward(x);
      const error = Float32Array.from(pass.y.dataSync(), (y, i) => (y - target[i]) / tokens);
      loss += (tokens * Math.hypot(...error) ** 2) / 2;
      pass.backward(Tensor.wrap(error, [tokens, width]), { inputGrad: false });
    }
    optimizer.step();
    optimizer.zeroGrad();
    if (step % 50 === 0) console.log(`step ${step}: loss ${loss.toFixed(3)}`);
  });
}

for (const [name, weight] of model.merged()) {
  console.log(`${name} [${weight.shape.join(', ')}]`); // whole, in the layout of the checkpoint
  weight.dispose();
}
model.dispose();
