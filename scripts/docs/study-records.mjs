// The records of examples/study/results, and what they say with which certainty.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../setup/run.mjs';

const folder = join(root, 'examples/study/results');

/** Every finished run. */
export const readRuns = () =>
  readFileSync(join(folder, 'runs.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter((record) => record.settings === undefined);

/** 'times' or 'memory', or undefined if cost.js has not measured it. */
export function readCost(name) {
  try {
    return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Student's t for a two-sided interval of 95 %, by degrees of freedom. */
const student = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean and half of its interval of 95 %; no interval of fewer than three values. */
export function estimate(values) {
  const centre = mean(values);
  const n = values.length;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (n - 1) / n);
  return { centre, half: n < 3 ? Number.NaN : (student[n - 2] ?? 1.96) * spread, n };
}

/** The reported runs of a method on a task, by seed. */
export const reported = (runs, task, method) =>
  new Map(
    runs
      .filter((run) => run.judge === 'test' && run.task === task && run.method === method)
      .map((run) => [run.seed, run]),
  );

/** Method a minus method b, seed by seed: both have seen the same batches. Undefined if a method has not run. */
export function difference(runs, task, a, b, measure = 'balanced') {
  const [one, other] = [reported(runs, task, a), reported(runs, task, b)];
  const pairs = [...one].filter(([seed]) => other.has(seed));
  if (pairs.length === 0) return undefined;
  return estimate(pairs.map(([seed, run]) => run[measure] - other.get(seed)[measure]));
}

/** Spearman's rank correlation. */
export function rankCorrelation(xs, ys) {
  const [a, b] = [ranks(xs), ranks(ys)];
  const [ma, mb] = [mean(a), mean(b)];
  const sum = (f) => a.reduce((total, _, i) => total + f(a[i] - ma, b[i] - mb), 0);
  return sum((x, y) => x * y) / Math.sqrt(sum((x) => x * x) * sum((_, y) => y * y));
}

/** Ties share the mean of their ranks. */
function ranks(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return values.map((value) => (sorted.indexOf(value) + sorted.lastIndexOf(value)) / 2);
}
