#!/usr/bin/env node
// @ts-check
// Time and peak memory of decomposing a model from a file, with random weights in the shapes of LLaMA-3-8B. Each stage runs in
// a process of its own, so that its peak is its own:
//   node bench/figures/whole-model.js --folder /tmp/whole-model [--layers 2] [--scale 1] [--type bf16] [--out whole-model.json]
// The folder keeps the checkpoint for the next run; the cache in it is emptied first. --scale 1/8 divides all sizes by 8.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as sigmatune from 'sigmatune';
import { numbers } from '../cases/numbers.js';
import { environmentOf } from '../measure/environment.js';
import { markdownTable } from '../record/table.js';
import { usedMegabytes } from './memory.js';

const [hidden, intermediate, keyValue] = [4096, 14336, 1024];
/** [out, in] of a layer's linears. */
const linears = {
  'self_attn.q_proj': [hidden, hidden],
  'self_attn.k_proj': [keyValue, hidden],
  'self_attn.v_proj': [keyValue, hidden],
  'self_attn.o_proj': [hidden, hidden],
  'mlp.gate_proj': [intermediate, hidden],
  'mlp.up_proj': [intermediate, hidden],
  'mlp.down_proj': [hidden, intermediate],
};
/** Standard deviation of the weights, as it is usual for a start. */
const deviation = 0.02;

/** `peak` in MiB, the others in bytes and seconds. @typedef {{ stage: string, seconds: number, peak: number, bytes: number, note: string }} Stage */

const work = {
  /** A process that does nothing: what the others take before they begin. */
  idle: async () => ({ bytes: 0, note: '' }),

  /** @param {sigmatune.SafetensorsFile} file @param {string} cache */
  decompose: async (file, cache) => {
    const rows = await sigmatune.decomposeModel(file, { targets: 'all', cache, onProgress: say });
    const worst = Math.max(...rows.map(({ residual }) => residual));
    const read = rows.filter(({ cached }) => cached).length;
    const bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
    return { bytes, note: `${rows.length} modules, ${read} of them read, worst residual ${worst.toExponential(1)}` };
  },

  /** @param {sigmatune.SafetensorsFile} file @param {string} cache */
  adapt: async (file, cache) => {
    const model = await sigmatune.adaptModel(file, { targets: 'all', family: 'vectorfit', cache, onProgress: say });
    const bytes = model.describe().reduce((sum, row) => sum + row.bytes, 0);
    return { bytes, note: `${model.layers.size} layers, ${model.parameterCount} parameters` };
  },
};

/** @param {sigmatune.Progress} progress */
function say({ name, weightBytes, ofWeightBytes, cached }) {
  const part = Math.round((100 * weightBytes) / ofWeightBytes);
  process.stderr.write(`${part} % of the weights, ${cached ? 'read' : 'computed'} ${name}\n`);
}

const { values: options } = parseArgs({
  options: {
    folder: { type: 'string' },
    layers: { type: 'string', default: '2' },
    scale: { type: 'string', default: '1' },
    type: { type: 'string', default: 'bf16' },
    out: { type: 'string' },
    stage: { type: 'string' },
  },
});
const { folder, type } = options;
const layers = Number(options.layers);
const [above, below = 1] = options.scale.split('/').map(Number);
const scale = above / below;
if (folder === undefined || !(layers > 0) || !(scale > 0) || !['bf16', 'f32'].includes(type)) {
  console.error('expected --folder FOLDER, --layers N above 0, --scale above 0 such as 1/8, and --type bf16 or f32');
  process.exit(3);
}
const checkpoint = join(folder, `llama-${layers}x${options.scale.replace('/', 'of')}-${type}.safetensors`);
const cache = join(folder, 'factors');

if (options.stage === undefined) await main(folder);
else await stage(/** @type {keyof typeof work} */ (options.stage));

/** One stage; its figures go to stdout. @param {keyof typeof work} name */
async function stage(name) {
  const file = await sigmatune.openSafetensors(checkpoint);
  const started = performance.now();
  const { bytes, note } = await work[name](file, cache);
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ stage: name, seconds, peak: usedMegabytes('cpu'), bytes, note }));
}

/** @param {string} place */
async function main(place) {
  mkdirSync(place, { recursive: true });
  if (!existsSync(checkpoint)) await sigmatune.writeSafetensors(checkpoint, weights());
  rmSync(cache, { recursive: true, force: true });
  const run = (/** @type {keyof typeof work} */ name, /** @type {string} */ label = name) => {
    const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--stage', name];
    const { status, stdout } = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (status !== 0) throw new Error(`${label}: the process ended with ${status}`);
    return /** @type {Stage} */ ({ ...JSON.parse(stdout), stage: label });
  };
  const stages = [
    run('idle'),
    run('decompose', 'decompose into an empty cache'),
    run('decompose', 'decompose again: all are read'),
    run('adapt', 'adapt from the cache, and hold the layers'),
  ];
  const megabytes = (/** @type {number} */ bytes) => (bytes / 2 ** 20).toFixed(0);
  const rows = stages.map(({ stage: label, seconds, peak, bytes, note }) => [
    label,
    seconds.toFixed(1),
    peak.toFixed(0),
    megabytes(bytes),
    note,
  ]);
  const environment = environmentOf(sigmatune, null);
  const inFile = statSync(checkpoint).size;
  console.log(
    `${layers} layers, sizes × ${options.scale}, ${type}: ${megabytes(inFile)} MiB in the file; load ${environment.load.toFixed(1)}\n`,
  );
  console.log(markdownTable(['stage', 's', 'peak, MiB', 'factors or layers, MiB', ''], rows, 1));
  if (options.out !== undefined) {
    const record = { environment, layers, scale, type, fileBytes: inFile, stages };
    writeFileSync(options.out, `${JSON.stringify(record, undefined, 1)}\n`);
  }
}

/** @returns {Generator<[string, sigmatune.Tensor]>} */
function* weights() {
  for (let layer = 0; layer < layers; layer++) {
    for (const [at, [name, shape]] of Object.entries(linears).entries()) {
      const [out, inputs] = shape.map((size) => Math.max(1, Math.round(size * scale)));
      const single = sigmatune.Tensor.wrap(numbers(100 * layer + at).gaussian(out * inputs, deviation), [out, inputs]);
      const weight = type === 'bf16' ? single.cast('bfloat16') : single;
      yield [`model.layers.${layer}.${name}.weight`, weight];
      for (const tensor of [single, weight]) tensor.dispose();
    }
  }
}
