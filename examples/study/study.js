#!/usr/bin/env node
// @ts-check
// npm run study: adapts the sentence encoder with every method to two sets of texts. Each finished run is kept, so a study that
// was stopped goes on where it was.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { setThreads, Tensor } from 'sigmatune';
import { duration, percent } from '../quickstart/format.js';
import { decomposeLinears } from './bases.js';
import { batcher } from './batch.js';
import { loadTask } from './data.js';
import { methods } from './methods.js';
import { readPretrained } from './pretrained.js';
import { Records } from './records.js';
import { meanEffectiveRank, run } from './run.js';
import { settings as full, short } from './settings.js';
import { readTokenizer } from './tokenizer.js';

/** @typedef {import('./methods.js').Method} Method */
/** @typedef {import('./run.js').World} World */

const usage = `node examples/study/study.js [options]
  --short          a check in a few minutes, with fewer texts and steps
  --minutes N      stop after N minutes; the next call goes on
  --methods A,B    only these methods, such as 'head only' or 'SVFT banded'
  --tasks A,B      only these texts: reviews, mail
  --threads N      threads of sigmatune (default: all cores); the results are the same
  --records FILE   where the results are (default: examples/study/results/runs.jsonl; runs-short.jsonl with --short)`;

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    minutes: { type: 'string' },
    methods: { type: 'string' },
    tasks: { type: 'string' },
    threads: { type: 'string' },
    records: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const settings = values.short ? short : full;
const file = values.records ?? join(import.meta.dirname, 'results', values.short ? 'runs-short.jsonl' : 'runs.jsonl');
const limit = 60_000 * Number(values.minutes ?? Number.POSITIVE_INFINITY);
if (!(limit > 0)) throw new Error(`--minutes: expected a number above 0, got ${values.minutes}`);

if (values.threads !== undefined) setThreads(Number(values.threads));

/** @template {string} T @param {string} option @param {readonly T[]} all @param {string | undefined} given @returns {readonly T[]} */
function chosen(option, all, given) {
  const names = given?.split(/,(?! )/) ?? all; // some names have a comma with a space
  const unknown = names.find((name) => !all.some((each) => each === name));
  if (unknown !== undefined) throw new Error(`--${option}: expected some of ${all.join(', ')}, got '${unknown}'`);
  return all.filter((name) => names.includes(name));
}
const tasks = chosen('tasks', settings.tasks, values.tasks);
const names = chosen(
  'methods',
  methods.map(({ name }) => name),
  values.methods,
);
const compared = methods.filter(({ name }) => names.includes(name));
const records = new Records(file, settings);

await tf.setBackend('cpu');
const pretrained = readPretrained();
const tokenize = readTokenizer();
console.log('Decomposing the ten linear layers …');
const bases = await decomposeLinears(pretrained);
const before = await meanEffectiveRank(
  bases.map(({ weight }) => ({ mergedWeight: () => Tensor.wrap(weight.dataSync(), weight.shape) })),
);
/** @type {World} */
const world = { pretrained, makeBatch: batcher(pretrained), bases, settings };
console.log(`Effective rank of the weights, on average: ${before.toFixed(1)}`);

/** The method whose rates are tried for it. @param {Method} method */
const tuned = (method) => methods.find(({ name }) => name === method.like) ?? method;

/** A short study shows that all parts run, and tries one rate. @param {Method} method */
const ratesOf = (method) => (values.short ? tuned(method).rates.slice(1, 2) : tuned(method).rates);

const expected = tasks.length * compared.reduce((sum, each) => sum + ratesOf(each).length + settings.seeds.length, 0);
const started = performance.now();
let done = 0;
let fresh = 0;

/** One run, or its record. @param {import('./data.js').Task} task @param {Method} method @param {number} lr @param {number} seed @param {'heldOut' | 'test'} judge */
async function result(task, method, lr, seed, judge) {
  done++;
  const key = { task: task.name, method: method.name, lr, seed, judge };
  const known = records.get(key);
  if (known) return known;
  if (performance.now() - started > limit) {
    console.log(`Stopped after ${values.minutes} minutes. The same command goes on.`);
    process.exit(0);
  }
  const record = { ...key, ...(await run(world, method, task, { lr, seed, judge })) };
  records.add(record);
  fresh++;
  const left = ((performance.now() - started) / 1000 / fresh) * Math.max(0, expected - done);
  const what = judge === 'test' ? `seed ${seed}` : 'tuning';
  console.log(
    `[${done} of ${expected}] ${task.name}, ${method.name}, ${what}, lr ${lr}: ${percent(record.balanced)} ` +
      `(${duration(record.trainSeconds + record.judgeSeconds)}; ${duration(left)} left)`,
  );
  return record;
}

/** The rate with the best AUROC, which is less noisy than a share of 300 texts. Every method gets as many trials; if the best rate is at the end of its grid, the grid is widened. @param {import('./data.js').Task} task @param {Method} method */
async function chooseRate(task, method) {
  /** @type {import('./records.js').Record[]} */
  const tried = [];
  const attempt = (/** @type {number} */ lr) => result(task, method, lr, settings.tuningSeed, 'heldOut');
  for (const lr of ratesOf(method)) tried.push(await attempt(lr));
  const best = () => tried.reduce((top, next) => (next.auroc > top.auroc ? next : top));
  for (let i = 0; i < settings.widenings; i++) {
    const place = tried.indexOf(best());
    if (place > 0 && place < tried.length - 1) break;
    const ratio = 10 ** 0.5;
    const lr = Number((place === 0 ? tried[0].lr / ratio : tried[place].lr * ratio).toPrecision(1));
    if (place === 0) tried.unshift(await attempt(lr));
    else tried.push(await attempt(lr));
    done--;
  }
  return best().lr;
}

// A study that is stopped has whole methods, the first of the list first.
for (const name of tasks) {
  const task = loadTask(name, tokenize, settings.sizes);
  for (const method of compared) {
    const lr = await chooseRate(task, tuned(method));
    for (const seed of settings.seeds) await result(task, method, lr, seed, 'test');
  }
}
console.log(`All runs are in ${file}.`);
