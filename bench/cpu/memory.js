// @ts-check
// The peak of one training step of one layer, as Linux sees it: each in a process of its own, less an idle one's.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AdamW, matmul, svft, vectorFit, zeros } from 'sigmatune';
import { python, torchVersion } from '../rivals/python.js';

export const title = 'Peak memory of a training step, MB';
export const columns = ['layer', 'weight', 'tokens', 'peak', 'of it a pass keeps'];

/** Orthonormal columns (rows, columns) without a decomposition: those of a reflection. */
function reflection(/** @type {number} */ rows, /** @type {number} */ columns) {
  const made = zeros([rows, columns]);
  const data = made.dataSync();
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) data[i * columns + j] = (i === j ? 1 : 0) - 2 / rows;
  }
  return made;
}

/** A weight whose factors are known. */
function known(/** @type {number} */ n, /** @type {number} */ m) {
  const r = Math.min(n, m);
  const u = reflection(n, r);
  const vt = reflection(m, r).reshape([r, m]); // square, and its own transpose
  const s = zeros([r]);
  s.dataSync().set(Float32Array.from({ length: r }, (_, i) => 2 - i / r));
  const scaled = zeros([n, r]);
  const [from, to, sigma] = [u.dataSync(), scaled.dataSync(), s.dataSync()];
  for (let i = 0; i < from.length; i++) to[i] = from[i] * sigma[i % r];
  const weight = matmul(scaled, vt);
  scaled.dispose();
  return { weight, factors: { u, s, vt } };
}

const filled = (/** @type {readonly number[]} */ shape) => {
  const made = zeros(shape);
  made.dataSync().fill(0.5);
  return made;
};

/** From here on the peak is that of the step, with what it needs and nothing that making it took. Linux only. */
function forgetPeak() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  writeFileSync('/proc/self/clear_refs', '5');
}

/** The peak resident memory, in MB. */
const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;

/** One layer's step as its own code does it. @type {Record<string, (n: number, m: number, tokens: number) => Promise<number>>} */
const steps = {
  idle: async () => {
    forgetPeak();
    return 0;
  },
  'SVFT plain, factored': (n, m, tokens) => adapter(n, m, tokens, 'factored', {}),
  'SVFT band d = 8, factored': (n, m, tokens) =>
    adapter(n, m, tokens, 'factored', { pattern: 'banded', offDiagonals: 8 }),
  'SVFT band d = 8, merged': (n, m, tokens) => adapter(n, m, tokens, 'merged', { pattern: 'banded', offDiagonals: 8 }),
  VectorFit: (n, m, tokens) => adapter(n, m, tokens, 'factored', null),
  'LoRA r = 8': lora,
};

/**
 * @param {number} n @param {number} m @param {number} tokens @param {'factored' | 'merged'} strategy
 * @param {import('sigmatune').SvftOptions | null} options null is VectorFit
 */
async function adapter(n, m, tokens, strategy, options) {
  const { weight, factors } = known(n, m);
  const layer = options ? await svft(weight, { ...options, factors, strategy }) : await vectorFit(weight, { factors });
  weight.dispose(); // U and V stand for it
  for (const each of Object.values(factors)) each.dispose(); // the layer has its own handles
  const optimizer = new AdamW(layer.parameters);
  const [x, dy] = [filled([tokens, m]), filled([tokens, n])];
  forgetPeak();
  const pass = layer.forward(x);
  pass.backward(dy).dispose();
  pass.y.dispose();
  optimizer.step();
  optimizer.zeroGrad();
  return layer.explain(tokens).savedBytes;
}

/** y = x Wᵀ + (x Aᵀ) Bᵀ by the same GEMMs. */
async function lora(/** @type {number} */ n, /** @type {number} */ m, /** @type {number} */ tokens) {
  const [weight, a, b, x, dy] = [
    filled([n, m]),
    filled([8, m]),
    filled([n, 8]),
    filled([tokens, m]),
    filled([tokens, n]),
  ];
  const make = (/** @type {string} */ name, /** @type {import('sigmatune').Tensor} */ value) => ({
    name,
    value,
    grad: /** @type {import('sigmatune').Tensor | null} */ (null),
    trainable: true,
  });
  const parameters = [make('a', a), make('b', b)];
  const optimizer = new AdamW(parameters);
  const add = (/** @type {import('sigmatune').Tensor} */ to, /** @type {import('sigmatune').Tensor} */ part) => {
    const [into, from] = [to.dataSync(), part.dataSync()];
    for (let i = 0; i < into.length; i++) into[i] += from[i];
    part.dispose();
  };
  forgetPeak();
  const y = matmul(x, weight, { transposeB: true });
  const inner = matmul(x, a, { transposeB: true });
  add(y, matmul(inner, b, { transposeB: true }));
  const back = matmul(dy, b);
  parameters[0].grad = matmul(back, x, { transposeA: true });
  parameters[1].grad = matmul(dy, inner, { transposeA: true });
  const dx = matmul(dy, weight);
  add(dx, matmul(back, a));
  for (const each of [y, inner, back, dx]) each.dispose();
  optimizer.step();
  optimizer.zeroGrad();
  return 4 * tokens * (m + 8);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [what, n, m, tokens] = process.argv.slice(2);
  const saved = await steps[what](Number(n), Number(m), Number(tokens));
  console.log(JSON.stringify({ peak: peak(), saved: saved / 2 ** 20 }));
}

export async function* run() {
  const child = (/** @type {string} */ command, /** @type {readonly (string | number)[]} */ args) =>
    JSON.parse(spawnSync(command, args.map(String), { encoding: 'utf8' }).stdout);
  const own = (/** @type {readonly (string | number)[]} */ ...args) =>
    child(process.execPath, [fileURLToPath(import.meta.url), ...args]);
  const idle = own('idle', 0, 0, 0).peak;
  const hasTorch = torchVersion() !== undefined;
  const reference = fileURLToPath(new URL('../rivals/rival_memory.py', import.meta.url));
  for (const [n, m] of [
    [4096, 4096],
    [14336, 4096],
  ]) {
    const tokens = 2048;
    for (const what of Object.keys(steps).filter((name) => name !== 'idle')) {
      const { peak, saved } = own(what, n, m, tokens);
      yield [what, `${n} × ${m}`, tokens, (peak - idle).toFixed(0), saved.toFixed(0)];
    }
    if (hasTorch) {
      const { peak } = child(python, [reference, n, m, tokens]);
      yield ['public SVFT code, band d = 8, PyTorch', `${n} × ${m}`, tokens, peak.toFixed(0), ''];
    }
  }
}
