#!/usr/bin/env node
// @ts-check
// The time of a training step and the memory of a training: adapted layers next to TensorFlow.js's own dense layers and to
// LoRA, in one model.
//
//   node examples/study/cost.js times [--seconds 60]   all sides take turns, so that other load affects all of them alike
//   node examples/study/cost.js memory                 the peak of a process for each side
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { setThreads } from 'sigmatune';
import { quantile } from '../../bench/stats/quantile.js';
import { batcher } from './batch.js';
import { makeSide, sides } from './cost-sides.js';
import { sources } from './data.js';
import { readPretrained } from './pretrained.js';
import { readTokenizer } from './tokenizer.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    threads: { type: 'string' },
    results: { type: 'string', default: join(import.meta.dirname, 'results') },
    side: { type: 'string' }, // of a process that measures its own peak
  },
});
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error(`--seconds: expected a number above 0, got ${values.seconds}`);
if (values.threads !== undefined) setThreads(Number(values.threads));

/** @param {string} name */
function side(name) {
  const pretrained = readPretrained();
  const tokenize = readTokenizer();
  const sentences = sources
    .reviews()
    .slice(0, 16)
    .map(({ text }) => tokenize(text));
  const target = Float32Array.from({ length: sentences.length * 512 }, (_, i) => 0.04 * Math.sin(i * i));
  const makeBatch = batcher(pretrained);
  const tokens = sentences.reduce((sum, { length }) => sum + length, 0);
  return makeSide(name, pretrained, () => makeBatch(sentences), target).then((step) => ({ step, tokens }));
}

async function times() {
  /** @type {{ name: string, step: () => number, tokens: number, times: number[] }[]} */
  const started = [];
  for (const name of Object.keys(sides)) {
    const { step, tokens } = await side(name);
    step(); // compiles
    started.push({ name, step, tokens, times: [] });
  }
  const end = performance.now() + 1000 * seconds;
  let rounds = 0;
  while (rounds < 3 || performance.now() < end) {
    for (const { step, times, name } of started) {
      await tf.setBackend(sides[name].backend);
      const begin = performance.now();
      step();
      times.push(performance.now() - begin);
    }
    rounds++;
  }
  const results = started.map(({ name, times }) => {
    // Each round has a ratio to the first side, whatever else ran at that moment.
    const ratios = times.map((time, round) => started[0].times[round] / time);
    return { name, ms: spread(times), faster: spread(ratios) };
  });
  const { tokens } = started[0];
  write('times.json', { ...machine(), threads: values.threads ?? 'all', rounds, tokens, results });
  for (const { name, ms, faster } of results) {
    console.log(`${name.padEnd(42)} ${told(ms, 0)} ms a step; ${told(faster, 2)} × as fast as the first`);
  }
}

async function memory() {
  if (values.side !== undefined) {
    const { step } = await side(values.side);
    for (let i = 0; i < 5; i++) step();
    process.stdout.write(String(process.resourceUsage().maxRSS * 1024));
    return;
  }
  const self = fileURLToPath(import.meta.url);
  const results = Object.keys(sides).map((name) => {
    const peak = execFileSync(process.execPath, [self, 'memory', '--side', name], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    console.log(`${name.padEnd(42)} ${(Number(peak) / 2 ** 20).toFixed(0)} MiB at the peak`);
    return { name, peakBytes: Number(peak) };
  });
  write('memory.json', { ...machine(), results });
}

const machine = () => ({ machine: `${cpus()[0].model.trim()}, ${cpus().length} cores`, node: process.version });

/** @param {readonly number[]} numbers */
const spread = (numbers) => ({
  low: quantile(numbers, 0.1),
  median: quantile(numbers, 0.5),
  high: quantile(numbers, 0.9),
});

/** @param {ReturnType<typeof spread>} range @param {number} digits */
const told = ({ low, median, high }, digits) =>
  `${median.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;

/** @param {string} name @param {object} record */
function write(name, record) {
  const path = join(values.results, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(record, null, 2)}\n`);
}

const commands = { times, memory };
const command = positionals[0] ?? '';
if (!Object.hasOwn(commands, command))
  throw new Error(`expected one of ${Object.keys(commands).join(', ')}, got '${command}'`);
await commands[/** @type {keyof typeof commands} */ (command)]();
