// @ts-check
// Trains a model of jax-js (https://github.com/ekzhang/jax-js) with an adapted layer of sigmatune in its middle.
import * as jax from '@jax-js/jax';
import { AdamW, memory, svft, tensor } from 'sigmatune';

/** @typedef {jax.Array} Array */
const np = jax.numpy;
await jax.init('wasm');
jax.defaultDevice('wasm');

// ── glue ──
/** The numbers of an array, as sigmatune takes them. Like every function of jax-js it consumes the array. @param {Array} array */
function fromJax(array) {
  const { shape } = array;
  return { data: array.dataSync(), shape };
}
/** A tensor as an array; the tensor is disposed. @param {import('sigmatune').Tensor} given */
function toJax(given) {
  const array = np.array(Float32Array.from(given.dataSync()), { shape: [...given.shape] });
  given.dispose();
  return array;
}
/** `jax.vjp` of a layer: y, and the pull-back dy → dx. @param {import('sigmatune').AdaptedLinear} layer @param {Array} x */
function vjpOf(layer, x) {
  const pass = layer.forward(fromJax(x));
  return /** @type {const} */ ([toJax(pass.y), (/** @type {Array} */ dy) => toJax(pass.backward(fromJax(dy)))]);
}
// ── end of the glue ──

/** The same numbers on every run. @param {number} seed @param {[number, number]} shape @param {number} scale */
const noise = (seed, [m, n], scale) =>
  Float32Array.from({ length: m * n }, (_, i) => scale * Math.sin(seed + i * i * 0.618));
/** @param {number} seed @param {[number, number]} shape @param {number} [scale] */
const array = (seed, shape, scale = 1) => np.array(noise(seed, shape, scale), { shape });

const [x, target] = [array(1, [64, 16]), array(2, [64, 4])];
let [first, head] = [array(3, [16, 32], 0.3), array(4, [24, 4], 0.3)];
const weight = tensor(noise(5, [24, 32], 0.3), [24, 32]);
const layer = await svft(weight, { pattern: 'banded', offDiagonals: 2 });
const optimizer = new AdamW(layer.parameters, { lr: 0.02 });

/** @param {Array} x @param {Array} w */
const hidden = (x, w) => np.tanh(np.matmul(x, w));
/** @param {Array} y @param {Array} w @param {Array} target */
const lossOf = (y, w, target) => np.mean(np.square(np.subtract(np.matmul(y, w), target)));
/** @param {Array} w @param {Array} dw */
const descend = (w, dw) => np.subtract(w, np.multiply(dw, 0.05));

for (let step = 0; step <= 60; step++) {
  const [h, pullHidden] = jax.vjp(hidden, [x.ref, first.ref]);
  const [y, pullLayer] = vjpOf(layer, h);
  const [loss, [dy, dHead]] = jax.valueAndGrad(lossOf, { argnums: [0, 1] })(y, head.ref, target.ref);
  const [dx, dFirst] = pullHidden(pullLayer(dy));
  dx.dispose();
  pullHidden.dispose();
  first = descend(first, dFirst);
  head = descend(head, dHead);
  optimizer.step();
  optimizer.zeroGrad();
  const value = loss.js();
  if (step % 20 === 0) console.log(`step ${step}: loss ${value.toFixed(3)}`);
}
for (const each of [layer, weight]) each.dispose();
console.log('tensors of sigmatune left:', memory().tensors);
