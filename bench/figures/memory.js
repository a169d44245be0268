// @ts-check
// The peak of one training step of one layer, each in a process of its own, less an idle one's: as Linux sees it on the
// CPU, as nvidia-smi sees it on a card.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as sigmatune from 'sigmatune';
import { families, patterns } from '../cases/families.js';
import { knownWeight } from '../cases/known.js';
import { disposeAll, Operands } from '../cases/operands.js';
import { torchPeak } from '../rivals/torch.js';
import { nvidiaSmiOfCard } from './machine.js';
import { settings } from './settings.js';

/** @typedef {import('./figure.js').Context} Context */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {{ device: 'cpu' | 'cuda', dtype: 'float32' | 'bfloat16', what: string, n: number, m: number, tokens: number }} Step */
/** @typedef {{ peak: number | null, detail: string }} Peak MiB; null if no one tells */

export const title = 'Peak memory of a training step, MiB';

/** @type {Readonly<Record<string, { family: string, strategy: import('../cases/families.js').Strategy }>>} */
const layers = {
  'SVFT plain, factored': { family: 'svft plain', strategy: 'factored' },
  'SVFT band d = 8, factored': { family: 'svft band 8', strategy: 'factored' },
  'SVFT band d = 8, merged': { family: 'svft band 8', strategy: 'merged' },
  VectorFit: { family: 'vectorfit', strategy: 'factored' },
};
const [idle, lora] = ['idle', 'LoRA r = 8'];

/** @param {Context} context @returns {Generator<import('./figure.js').Job>} */
export function* jobs(context) {
  const { dtypes, peaks } = settings(context);
  for (const dtype of dtypes) {
    for (const [n, m, tokens] of peaks) {
      yield {
        name: `${n} × ${m}, ${dtype}`,
        run: () => peaksOf(context, { device: context.device, dtype, n, m, tokens }),
      };
    }
  }
}

/** @param {Context} context @param {Omit<Step, 'what'>} step @returns {Promise<readonly import('./figure.js').Case[]>} */
async function peaksOf({ dry, say, device }, { n, m, tokens, dtype, ...rest }) {
  const child = (/** @type {string} */ what) => {
    const args = [fileURLToPath(import.meta.url), JSON.stringify({ n, m, tokens, dtype, ...rest, what })];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 });
    if (status !== 0) throw new Error(`${what}: ${stderr.trim().split('\n').at(-1)}`);
    return /** @type {Peak} */ (JSON.parse(stdout));
  };
  const least = child(idle).peak;
  if (least === null && !dry) say('skipped: nvidia-smi, which tells the memory in use, is not there');
  const found = [...Object.keys(layers), ...(device === 'cpu' ? [lora] : [])].map((name) => {
    const { peak, detail } = child(name);
    return { name, value: peak === null || least === null ? null : peak - least, detail };
  });
  if (!dry) {
    const theirs = await torchPeak(device, n, m, tokens, dtype, say);
    for (const [name, value] of Object.entries(theirs)) found.push({ name: `${name}, PyTorch`, value, detail: '' });
  }
  return found.map(({ name, value, detail }) => ({
    name,
    dtype,
    size: `${n} × ${m}, N = ${tokens}`,
    marks: value === null || dry ? [] : [{ what: 'peak, MiB', value, better: /** @type {const} */ ('lower') }],
    detail,
  }));
}

/** Resets the peak: from here on it is that of the step and its operands, without what their construction took. */
function forgetPeak() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  writeFileSync('/proc/self/clear_refs', '5');
}

/** MiB: on the CPU the peak of this process, on a card what its memory holds; null if nvidia-smi is missing. @param {'cpu' | 'cuda'} device */
export function usedMegabytes(device) {
  if (device === 'cpu') return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
  const told = nvidiaSmiOfCard('memory.used', 'csv,noheader,nounits');
  return told === undefined ? null : Number(told);
}

/** One layer's step, as its own code does it. @param {Step} step @returns {Promise<string>} */
async function adapterStep({ what, n, m, tokens, ...where }) {
  const { family, strategy } = layers[what];
  const operands = new Operands(sigmatune, 1, where, false);
  const { weight, factors, ...known } = knownWeight(operands, n, m);
  const { pattern: name, make } = families[family];
  const pattern = name === undefined ? undefined : patterns[name].make(sigmatune, Math.min(n, m));
  const bias = operands.zeros([n], operands.real);
  const layer = await make(sigmatune, weight, { factors, strategy }, { ...(pattern && { pattern }), bias });
  known.dispose(); // U and V stand for the weight, and the layer has its own handles
  const optimizer = new sigmatune.AdamW(layer.parameters);
  const [x, dy] = [operands.gaussian([tokens, m]), operands.gaussian([tokens, n])];
  if (where.device === 'cpu') forgetPeak();
  const pass = layer.forward(x);
  disposeAll(pass.backward(dy), pass.y);
  optimizer.step();
  optimizer.zeroGrad();
  layer.parameters[0].value.dataSync(); // which waits for a device
  const counted = sigmatune.memory().bytes[where.device] ?? 0;
  const megabytes = (/** @type {number} */ bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  return `${megabytes(layer.explain(tokens).savedBytes)} kept by a pass, ${megabytes(counted)} between steps`;
}

/** y = x Wᵀ + (x Aᵀ) Bᵀ by the same GEMMs. @param {Step} step @returns {Promise<string>} */
async function loraStep({ n, m, tokens }) {
  const { AdamW, matmul } = sigmatune;
  const operands = new Operands(sigmatune, 1, {}, false);
  /** @type {any[]} */
  const [weight, a, b, x, dy] = [
    [n, m],
    [8, m],
    [n, 8],
    [tokens, m],
    [tokens, n],
  ].map((shape) => operands.gaussian(shape));
  const parameters = Object.entries({ a, b }).map(([name, value]) => ({
    name,
    value,
    grad: /** @type {Tensor | null} */ (null),
    trainable: true,
  }));
  const optimizer = new AdamW(parameters);
  const add = (/** @type {Tensor} */ to, /** @type {Tensor} */ part) => {
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
  disposeAll(y, inner, back, dx);
  optimizer.step();
  optimizer.zeroGrad();
  return `${((4 * tokens * (m + 8)) / 2 ** 20).toFixed(0)} MiB kept by a pass`;
}

/** A process with the library, and on a device with its GEMMs, that does nothing. @param {Step} step @returns {Promise<string>} */
async function nothing({ device }) {
  if (device === 'cpu') forgetPeak();
  return '';
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  /** @type {Step} */
  const step = JSON.parse(process.argv[2]);
  if (step.device !== 'cpu') {
    /** @type {any} */
    const small = new Operands(sigmatune, 1, { device: step.device }).gaussian([8, 8]);
    disposeAll(sigmatune.matmul(small, small), small);
  }
  const detail = await (step.what === idle ? nothing : step.what === lora ? loraStep : adapterStep)(step);
  console.log(JSON.stringify({ peak: usedMegabytes(step.device), detail }));
}
