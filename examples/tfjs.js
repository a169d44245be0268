// @ts-check
// Adapts one layer of a model of TensorFlow.js, twice: an optimiser of tfjs trains it, then one of sigmatune.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { AdamW, decompose, memory, svft } from 'sigmatune';
import { AdaptedDense, adaptedDense, fromTf, toTf } from 'sigmatune/tfjs';

await tf.setBackend('cpu');

/** The same numbers on every run. */
const noise = (/** @type {number} */ seed, /** @type {[number, number]} */ shape) => {
  const length = shape[0] * shape[1];
  return tf.tensor2d(
    Float32Array.from({ length }, (_, i) => Math.sin(seed + i * i * 0.618)),
    shape,
  );
};

// A "pretrained" model, and a new task: other outputs for the same inputs.
const pretrained = layers.dense({ units: 16, inputShape: [32], useBias: false });
sequential({ layers: [pretrained] });
tf.tidy(() => pretrained.setWeights([tf.mul(noise(1, [32, 16]), 0.3)]));
const x = noise(2, [64, 32]);
const target = noise(3, [64, 16]);

// tfjs stores a dense layer's kernel as [in, out]. The decomposition needs a promise, the layers do not.
const [variable] = pretrained.weights;
const kernel = fromTf(variable.read());
const factors = await decompose(kernel);
const make = () => svft.from(factors, { weight: kernel, layout: 'in-out', pattern: 'banded', offDiagonals: 2 });

// 1. As a layer of tf.layers: model.fit trains the numbers.
const layer = make();
const model = sequential({ layers: [new AdaptedDense({ layer, inputShape: [32] })] });
model.compile({ optimizer: tf.train.adam(0.05), loss: 'meanSquaredError' });
const { history } = await model.fit(x, target, { epochs: 30, batchSize: 64, verbose: 0 });
const losses = /** @type {number[]} */ (history['loss']);
console.log(
  `model.fit trains ${layer.parameterCount} of ${32 * 16} numbers:`,
  losses[0].toFixed(3),
  '→',
  losses[29].toFixed(3),
);

// 2. As a function: gradients add into layer.parameters, for an optimiser of sigmatune.
const other = make();
const dense = adaptedDense(other);
const optimizer = new AdamW(other.parameters, { lr: 0.05 });
const found = [];
for (let step = 0; step < 30; step++) {
  const loss = () => /** @type {tf.Scalar} */ (tf.losses.meanSquaredError(target, dense(x)));
  const { value, grads } = tf.variableGrads(loss);
  found.push(value.dataSync()[0]);
  tf.dispose([value, grads]);
  optimizer.step();
  optimizer.zeroGrad();
}
console.log('AdamW on the tape of tfjs:', found[0].toFixed(3), '→', found[29].toFixed(3));

// For a program without sigmatune: the trained weight goes back into the dense layer.
const merged = layer.mergedWeight(); // [out, in]
tf.tidy(() => pretrained.setWeights([tf.transpose(toTf(merged))]));
const difference = tf.tidy(() => {
  const plain = /** @type {tf.Tensor} */ (pretrained.apply(x));
  const adapted = /** @type {tf.Tensor} */ (model.predict(x));
  return tf.max(tf.abs(tf.sub(plain, adapted))).dataSync()[0];
});
console.log('merged into the dense layer, equal to 1e-5:', difference < 1e-5);

for (const each of [merged, layer, other, factors, kernel]) each.dispose();
console.log('tensors of sigmatune left:', memory().tensors);
