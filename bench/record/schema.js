// @ts-check
// The form of a kept run, which docs/benchmarks.md describes.
import { UsageError } from '../usage.js';
import {
  all,
  checked,
  date,
  errorOrNull,
  listOf,
  most,
  namesDiffer,
  notNegative,
  object,
  oneOf,
  parse,
  positive,
  schemaOf,
  text,
  textOrNull,
  truth,
} from './checks.js';

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

const quantiles = { min: positive, p10: positive, p50: positive, p90: positive };

/** Of the machine and the build. */
export const environment = object({
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
});

const run = object({
  created: date,
  environment,
  ceilings: object({
    gemm: object({ flopsPerSecond: positive }),
    copy: listOf(object({ bytes: positive, bytesPerSecond: positive }), 1, 100),
  }),
  cases: all(
    listOf(
      object({
        name: text,
        suite: text,
        panel: text,
        series: text,
        size: positive,
        parameters: object({}),
        unit: oneOf('ms'),
        flops: positive,
        bytes: positive,
        least: positive,
        share: positive,
        error: errorOrNull,
        bound: positive,
        processes: listOf(object({ ...quantiles, samples: listOf(positive, 1, most.samples) }), 1, most.processes),
        minima: object(quantiles),
      }),
      1,
      most.cases,
    ),
    namesDiffer,
  ),
});

/** The run that a file holds, or a UsageError that says what is wrong with it. @param {string} file @param {string} json @returns {Run} */
export function readRun(file, json) {
  const parsed = parse(file, json);
  if (schemaOf(parsed) !== schemaName)
    throw new UsageError(`${file}: not a run of sigmatune bench (no "schema": "${schemaName}")`);
  return checkedRun(file, parsed);
}

/** @param {string} file @param {unknown} parsed @returns {Run} */
export function checkedRun(file, parsed) {
  /** @type {Run} */
  const found = checked(file, parsed, { version: schemaVersion, check: run });
  for (const each of found.cases) each.error ??= Number.POSITIVE_INFINITY;
  return found;
}

const machineFields = /** @type {const} */ (['cpu', 'processors', 'platform', 'simd', 'threads']);

/** Whether the numbers of two runs may be compared: the machine and the settings are the same. @param {Run} one @param {Run} other */
export const isOfMachine = (one, other) =>
  machineFields.every((field) => one.environment[field] === other.environment[field]);

/** Throws a UsageError if they may not. @param {Run} one @param {Run} other */
export function checkSameMachine(one, other) {
  if (isOfMachine(one, other)) return;
  const said = machineFields
    .filter((field) => one.environment[field] !== other.environment[field])
    .map((field) => `${field} ${one.environment[field]} and ${other.environment[field]}`);
  throw new UsageError(`these runs are of different machines or settings: ${said.join('; ')}`);
}

/** Results that are too far from their reference. @param {readonly CaseRecord[]} cases */
export const wrongOnes = (cases) => cases.filter(({ error, bound }) => !(error <= bound));
