#!/usr/bin/env node
// @ts-check
// The time of a training step and the memory of a training: adapted layers next to TensorFlow.js's own dense layers and to
// LoRA, in one model. The sides take turns, so that other load on the machine affects all of them alike.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
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

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    threads: { type: 'string' },
    record: { type: 'string', default: join(import.meta.dirname, 'results', 'cost.json') },
    memory: { type: 'string' }, // one side alone, in a process of its own: prints its peak
  },
});
const rounds = Number(values.rounds);
if (values.threads !== undefined) setThreads(Number(values.threads));

const pretrained = readPretrained();
const tokenize = readTokenizer();
const sentences = sources
  .reviews()
  .slice(0, 16)
  .map(({ text }) => tokenize(text));
const makeBatch = batcher(pretrained);
const target = Float32Array.from({ length: sentences.length * 512 }, (_, i) => 0.04 * Math.sin(i * i));

if (values.memory !== undefined) {
  const step = await makeSide(values.memory, pretrained, () => makeBatch(sentences), target);
  for (let i = 0; i < 5; i++) step();
  process.stdout.write(String(process.resourceUsage().maxRSS * 1024));
} else {
  await compare();
}

async function compare() {
  const started = [];
  for (const name of Object.keys(sides)) {
    const step = await makeSide(name, pretrained, () => makeBatch(sentences), target);
    for (let i = 0; i < 2; i++) step(); // compiles
    started.push({ name, step, times: /** @type {number[]} */ ([]) });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { step, times, name } of started) {
      await tf.setBackend(sides[name].backend);
      const begin = performance.now();
      step();
      times.push(performance.now() - begin);
    }
    if (process.stdout.isTTY) process.stdout.write(`\rround ${round + 1} of ${rounds}`);
  }
  const self = fileURLToPath(import.meta.url);
  const results = started.map(({ name, times }) => {
    const peak = Number(
      execFileSync(process.execPath, [self, '--memory', name], { stdio: ['ignore', 'pipe', 'ignore'] }),
    );
    const [low, median, high] = [0.1, 0.5, 0.9].map((p) => quantile(times, p));
    return { name, median, low, high, peakBytes: peak };
  });
  const tokens = sentences.reduce((sum, { length }) => sum + length, 0);
  const record = {
    machine: `${cpus()[0].model.trim()}, ${cpus().length} cores`,
    node: process.version,
    threads: values.threads ?? 'all',
    rounds,
    sentences: sentences.length,
    tokens,
    results,
  };
  writeFileSync(values.record, `${JSON.stringify(record, null, 2)}\n`);
  console.log(`\n${record.machine}; ${sentences.length} sentences, ${tokens} tokens; ms a step: median (10 % to 90 %)`);
  for (const { name, median, low, high, peakBytes } of results) {
    console.log(
      `${name.padEnd(50)} ${median.toFixed(0)} (${low.toFixed(0)} to ${high.toFixed(0)}), peak ${(peakBytes / 2 ** 20).toFixed(0)} MiB`,
    );
  }
}
