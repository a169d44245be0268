// @ts-check
// The form of what `bench gate --out` keeps, which docs/benchmarks.md describes.
import {
  all,
  anyText,
  checked,
  date,
  errorOrNull,
  listOf,
  logarithm,
  most,
  namesDiffer,
  notNegative,
  object,
  oneOf,
  or,
  positive,
  text,
  truth,
} from './checks.js';
import { environment } from './schema.js';

export const gateSchemaName = 'sigmatune-gate';
export const gateSchemaVersion = 1;

/** @typedef {import('../measure/environment.js').Environment} Environment */
/** @typedef {{ label: string, name?: string, environment: Environment }} KeptBuild `name` is what the command line gave */

/**
 * @typedef {object} GateRecord
 * @property {typeof gateSchemaName} schema
 * @property {number} version
 * @property {string} created
 * @property {ReturnType<typeof import('../gate/gate.js').overall>} verdict
 * @property {KeptBuild} base
 * @property {KeptBuild} head
 * @property {{ tolerance: number, seed: number, blocks: number, rounds: number, seconds: number | null, threads?: number }} settings
 * @property {readonly import('../gate/gate.js').CaseResult[]} cases
 */

const interval = object({ centre: logarithm, low: logarithm, high: logarithm });
const build = object({ label: text, name: or(text, undefined), environment });

const gate = object({
  created: date,
  verdict: oneOf('pass', 'regression', 'inconclusive', 'noisy'),
  base: build,
  head: build,
  settings: object({
    tolerance: positive,
    seed: notNegative,
    blocks: positive,
    rounds: positive,
    seconds: or(positive, null),
    threads: or(notNegative, undefined),
  }),
  cases: all(
    listOf(
      object({
        name: text,
        verdict: oneOf('pass', 'regression', 'wrong', 'broken', 'dropped', 'inconclusive', 'noisy', 'not compared'),
        note: anyText,
        error: errorOrNull,
        bound: or(positive, null),
        judgement: or(
          object({ change: interval, null: interval, clean: truth, decided: oneOf('slower', 'not slower', 'open') }),
          null,
        ),
        rounds: listOf(
          listOf(object({ base: positive, again: positive, head: positive }), 0, most.blocks),
          0,
          most.rounds,
        ),
      }),
      1,
      most.cases,
    ),
    namesDiffer,
  ),
});

/** @param {string} file @param {unknown} parsed @returns {GateRecord} */
export const checkedGate = (file, parsed) => checked(file, parsed, { version: gateSchemaVersion, check: gate });
