// @ts-check
// The form of a kept run: docs/benchmarks.md describes it, checkRun says where a file departs from it.
import { UsageError } from '../usage.js';

export const schemaName = 'sigmatune-bench';
export const schemaVersion = 1;

/**
 * @typedef {object} CaseRecord
 * @property {string} name
 * @property {string} suite
 * @property {string} panel
 * @property {string} series
 * @property {number} size
 * @property {Record<string, string | number>} parameters
 * @property {'ms'} unit
 * @property {number} flops
 * @property {number} bytes
 * @property {number} least ms: what the machine's ceilings allow
 * @property {number} share of that ceiling, at the median of the processes' minima
 * @property {number} error
 * @property {number} bound
 * @property {(import('../stats/quantile.js').Quantiles & { samples: number[] })[]} processes
 * @property {import('../stats/quantile.js').Quantiles} minima quantiles of the processes' minima
 */

/**
 * @typedef {object} Run
 * @property {typeof schemaName} schema
 * @property {number} version
 * @property {string} created
 * @property {import('../measure/environment.js').Environment} environment
 * @property {import('../measure/ceilings.js').Ceilings} ceilings
 * @property {CaseRecord[]} cases
 */

/** @typedef {(value: unknown, path: string) => void} Check throws a Misfit */

class Misfit extends Error {}

/** @param {string} what @param {(value: unknown) => boolean} holds @returns {Check} */
const expect = (what, holds) => (value, path) => {
  if (holds(value)) return;
  const shown = value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60);
  throw new Misfit(`${path}: expected ${what}, got ${shown}`);
};
const text = expect('a text', (value) => typeof value === 'string' && value !== '');
const positive = expect('a number above 0', (value) => typeof value === 'number' && value > 0 && value < Infinity);
const notNegative = expect(
  'a number from 0 on',
  (value) => typeof value === 'number' && value >= 0 && value < Infinity,
);
const textOrNull = expect('a text or null', (value) => value === null || typeof value === 'string');
const truth = expect('true or false', (value) => typeof value === 'boolean');
const date = expect('a date', (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)));

/** @param {Check} each @param {number} [least] @returns {Check} */
const listOf =
  (each, least = 1) =>
  (value, path) => {
    expect(`a list of at least ${least}`, (list) => Array.isArray(list) && list.length >= least)(value, path);
    for (const [i, item] of /** @type {unknown[]} */ (value).entries()) each(item, `${path}[${i}]`);
  };

/** Fields beyond the named ones are let through: a later program may write more. @param {Record<string, Check>} fields @returns {Check} */
const object = (fields) => (value, path) => {
  expect('an object', (each) => typeof each === 'object' && each !== null && !Array.isArray(each))(value, path);
  const given = /** @type {Record<string, unknown>} */ (value);
  for (const [name, check] of Object.entries(fields)) check(given[name], path === '' ? name : `${path}.${name}`);
};

const quantiles = { min: positive, p10: positive, p50: positive, p90: positive };

const run = object({
  created: date,
  environment: object({
    cpu: text,
    processors: positive,
    memoryBytes: positive,
    platform: text,
    node: text,
    sigmatune: text,
    simd: text,
    threads: positive,
    blas: text,
    gpu: object({ available: truth, code: textOrNull }),
    governor: textOrNull,
    commit: textOrNull,
    load: notNegative,
  }),
  ceilings: object({
    gemm: object({ flopsPerSecond: positive }),
    copy: listOf(object({ bytes: positive, bytesPerSecond: positive })),
  }),
  cases: listOf(
    object({
      name: text,
      suite: text,
      panel: text,
      series: text,
      size: positive,
      parameters: object({}),
      unit: expect("'ms'", (unit) => unit === 'ms'),
      flops: positive,
      bytes: positive,
      least: positive,
      share: positive,
      // JSON has no Infinity: null is an error beyond all bounds.
      error: expect(
        'a number from 0 on, or null',
        (value) => value === null || (typeof value === 'number' && value >= 0),
      ),
      bound: positive,
      processes: listOf(object({ ...quantiles, samples: listOf(positive) })),
      minima: object(quantiles),
    }),
  ),
});

/** The run that a file holds, or a UsageError that says what is wrong with it. @param {string} name of the file @param {string} json @returns {Run} */
export function readRun(name, json) {
  /** @type {Run} */
  let parsed;
  try {
    parsed = JSON.parse(json);
  } catch (error) {
    throw new UsageError(`${name}: not JSON, or cut short (${error instanceof Error ? error.message : error})`);
  }
  if (parsed?.schema !== schemaName)
    throw new UsageError(`${name}: not a run of sigmatune bench (no "schema": "${schemaName}")`);
  if (parsed.version !== schemaVersion) {
    throw new UsageError(`${name}: has version ${parsed.version} of the schema, this program reads ${schemaVersion}`);
  }
  try {
    run(parsed, '');
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    throw new UsageError(`${name}: ${error.message}`);
  }
  for (const each of parsed.cases) each.error ??= Number.POSITIVE_INFINITY;
  return parsed;
}

/** Whether the numbers of two runs may be set beside one another; a UsageError where not. @param {Run} one @param {Run} other */
export function checkSameMachine(one, other) {
  const fields = /** @type {const} */ (['cpu', 'processors', 'platform', 'simd', 'threads']);
  const differing = fields.filter((field) => one.environment[field] !== other.environment[field]);
  if (differing.length === 0) return;
  const said = differing.map((field) => `${field} ${one.environment[field]} and ${other.environment[field]}`);
  throw new UsageError(`these runs are of different machines or settings: ${said.join('; ')}`);
}

/** Results that are too far from their reference. @param {readonly CaseRecord[]} cases */
export const wrongOnes = (cases) => cases.filter(({ error, bound }) => !(error <= bound));
