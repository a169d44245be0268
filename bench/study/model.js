#!/usr/bin/env node
// @ts-check
// Memory of a whole model: LAYERS square bfloat16 weights, each decomposed to its RANK largest triples, then STEPS training steps
// (forward, backward and AdamW) of the first STEPPED layers in a chain:
//   node bench/study/model.js [layers 32] [size 4096] [rank 64] [steps 1000] [stepped 4] [tokens 8]
// Prints the resident memory of the process and what memory() counts: after loading, after decomposing, every tenth of the steps, and
// after an idle time.
import { setTimeout as delay } from 'node:timers/promises';
import { AdamW, adaptModel, matmul, memory, tensor, tidy } from 'sigmatune';
import { numbers } from '../cases/numbers.js';

const [layers = 32, size = 4096, rank = 64, steps = 1000, stepped = 4, tokens = 8] = process.argv.slice(2).map(Number);
const random = numbers(1);
const started = performance.now();

/** @param {string} when */
function report(when) {
  const mib = (/** @type {number} */ bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
  const { bytes, scratch } = memory();
  const peak = process.resourceUsage().maxRSS * 1024;
  const seconds = ((performance.now() - started) / 1e3).toFixed(0);
  console.log(
    `${seconds} s, ${when}: resident ${mib(process.memoryUsage.rss())}, peak ${mib(peak)}, tensors ${mib(bytes['cpu'] ?? 0)}, ` +
      `scratch ${mib(scratch['cpu'] ?? 0)}`,
  );
}

/** A weight with a spectrum as pretrained ones have: 2 rank directions that fall as 1 / √j, and noise. */
function weight() {
  return tidy(() => {
    const inner = 2 * rank;
    const u = random.gaussian(size * inner, 1 / Math.sqrt(size));
    for (let i = 0; i < u.length; i++) u[i] *= 4 / Math.sqrt(1 + (i % inner));
    const v = tensor(random.gaussian(inner * size, 1 / Math.sqrt(size)), [inner, size]);
    const sum = matmul(tensor(u, [size, inner]), v);
    const data = sum.dataSync();
    const noise = random.gaussian(size * size, 0.2 / Math.sqrt(size));
    for (let i = 0; i < data.length; i++) data[i] += noise[i];
    return sum.cast('bfloat16');
  });
}

report('started');
const weights = Object.fromEntries(Array.from({ length: layers }, (_, i) => [`layers.${i}`, weight()]));
report(`${layers} weights of ${size} × ${size}`);
const model = await adaptModel(weights, {
  targets: 'all',
  family: 'svft',
  options: { rank, pattern: 'banded', offDiagonals: 2 },
  storage: 'bfloat16',
});
report(`decomposed to ${rank} triples each`);

const chain = [...model.layers.values()].slice(0, stepped);
const optimizer = new AdamW(
  chain.flatMap(({ parameters }) => parameters),
  { lr: 1e-3 },
);
const x = tensor(random.gaussian(tokens * size), [tokens, size], { dtype: 'bfloat16' });
for (let step = 1; step <= steps; step++) {
  tidy(() => {
    const passes = [];
    /** @type {import('sigmatune').Tensor<any>} */
    let y = x;
    for (const layer of chain) {
      const pass = layer.forward(y);
      passes.push(pass);
      y = pass.y;
    }
    for (const pass of passes.reverse()) y = pass.backward(y);
    optimizer.step();
    optimizer.zeroGrad();
  });
  if (step === 10 || step % Math.ceil(steps / 10) === 0) report(`step ${step}`);
}
await delay(3000);
report('idle');
model.dispose();
await delay(3000);
report('model disposed');
