// @ts-check
// The report of a run on a real card: its form (bench/results/gpu/README.md), and how it comes to the disk.
import { all, date, expect, listOf, listOfNamed, misfit, object, oneOf, or, text } from '../record/checks.js';
import { writeWhole } from '../record/files.js';
import { complaints } from './figure.js';

export const schema = 'sigmatune-gpu-report';
export const version = 1;

/** @typedef {'passed' | 'failed' | 'unfinished' | 'skipped'} Outcome */
/** @typedef {{ outcome: Outcome, seconds: number, detail: string }} Part one of what was run: suite, bench, … */
/** @typedef {import('./figure.js').Case & { section: string, failure?: string }} ReportedCase */
/** @typedef {{ file: string, passed: number, failed: number, skipped: number, detail: string }} SuiteFile */
/** @typedef {{ device: string, passed: number, failed: number, skipped: number, files: readonly SuiteFile[],
 *   leftOut: readonly { file: string, why: string }[] }} Suite */
/** @typedef {ReturnType<typeof import('./machine.js').describeMachine>} Machine */

/**
 * @typedef {object} Report
 * @property {string} schema
 * @property {number} version
 * @property {Machine} machine
 * @property {Record<string, Part>} parts by name
 * @property {Suite | null} suite null if it was not run
 * @property {readonly ReportedCase[]} cases
 * @property {readonly string[]} notes what was skipped, and why
 */

/** @param {Machine} machine @param {Partial<Report>} [rest] @returns {Report} */
export const report = (machine, rest = {}) => ({
  schema,
  version,
  machine,
  parts: {},
  suite: null,
  cases: [],
  notes: [],
  ...rest,
});

/** @param {ReportedCase} one */
export const isRight = (one) => one.failure === undefined && complaints(one).length === 0;

const matching = (/** @type {RegExp} */ form) =>
  expect(`a text like ${form.source}`, (value) => typeof value === 'string' && form.test(value));

// A device's clock may say 0 only if nothing ran.
const time = expect('a time of three samples or more', (value) => {
  const { median, low, high, samples } = /** @type {import('./figure.js').Time} */ (value ?? {});
  return median > 0 && low <= median && median <= high && samples >= 3;
});
const anything = () => undefined;
const number = expect('a number', (value) => typeof value === 'number');
const mostCases = 100_000;

const form = all(
  object({
    schema: oneOf(schema),
    version: expect(`version ${version}`, (value) => value === version),
    machine: object({
      date,
      commit: object({ id: matching(/^[0-9a-f]{40}$|^unknown$/) }),
      card: object({ name: text, capability: matching(/^\d+\.\d+$/) }),
    }),
    parts: listOfNamed(object({ outcome: oneOf('passed', 'failed', 'unfinished', 'skipped') })),
    suite: or(object({ files: listOf(anything, 0, mostCases) }), null),
    notes: listOf(anything, 0, mostCases),
    cases: listOf(
      object({
        section: text,
        name: text,
        time: or(time, undefined),
        marks: or(listOf(object({ value: number, better: oneOf('higher', 'lower') }), 0, 100), undefined),
      }),
      0,
      mostCases,
    ),
  }),
  expect('a card: a simulated device writes no report', (value) => {
    const { versions, card } = /** @type {Report} */ (value).machine;
    return !/simulat/i.test(`${versions?.backend} ${card.name}`);
  }),
);

/** What keeps something from being a report of this version; nothing if it is one. @param {unknown} made @returns {readonly string[]} */
export function faults(made) {
  if (typeof made !== 'object' || made === null) return ['it is no object'];
  const found = misfit(form, made);
  return found === undefined ? [] : [found];
}

/** Writes a whole report or none. @param {string} path @param {Report} made */
export function writeReport(path, made) {
  const wrong = faults(made);
  if (wrong.length > 0) throw new Error(`this is no report: ${wrong.join('; ')}`);
  writeWhole(path, `${JSON.stringify(made, null, 1)}\n`);
}

/** Where a report that was really run is kept: by its date and card. @param {Machine} machine */
export const reportName = ({ date, card: { name } }) =>
  `${date.slice(0, 10)}-${name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.json`;
