// @ts-check
// The report of a run on a real card: its form (bench/results/gpu/README.md), and how it comes to the disk.
import { renameSync, writeFileSync } from 'node:fs';
import { complaints } from './case.js';

export const schema = 'sigmatune-gpu-report';
export const version = 1;

/** @typedef {'passed' | 'failed' | 'unfinished' | 'skipped'} Outcome */
/** @typedef {{ outcome: Outcome, seconds: number, detail: string }} Part one of what was run: suite, bench, … */
/** @typedef {import('./case.js').Case & { section: string, failure?: string }} ReportedCase */
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
 * @property {Suite | null} suite null where it was not run
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

/** What keeps something from being a report of this version, a line each. @param {any} made @returns {readonly string[]} */
export function faults(made) {
  if (typeof made !== 'object' || made === null) return ['it is no object'];
  const { machine, parts, suite, cases, notes } = made;
  const found = [];
  const need = (/** @type {boolean} */ holds, /** @type {string} */ what) => {
    if (!holds) found.push(what);
  };
  need(made.schema === schema, `schema is ${made.schema}, not ${schema}`);
  need(made.version === version, `version is ${made.version}, not ${version}`);
  need(!Number.isNaN(Date.parse(machine?.date)), 'machine.date is no date');
  need(/^[0-9a-f]{40}$|^unknown$/.test(machine?.commit?.id), 'machine.commit.id is no commit');
  need(typeof machine?.card?.name === 'string' && machine.card.name !== '', 'machine.card.name is missing');
  need(/^\d+\.\d+$/.test(machine?.card?.capability), 'machine.card.capability is not like 9.0');
  const named = `${machine?.versions?.backend} ${machine?.card?.name}`;
  need(!/simulat/i.test(named), `${named} is no card: a simulated device writes no report`);
  need(typeof parts === 'object' && parts !== null, 'parts is no object');
  for (const [name, part] of Object.entries(parts ?? {})) {
    need(
      ['passed', 'failed', 'unfinished', 'skipped'].includes(part?.outcome),
      `parts.${name}.outcome is ${part?.outcome}`,
    );
  }
  need(suite === null || Array.isArray(suite?.files), 'suite is neither null nor has files');
  need(Array.isArray(notes), 'notes is no array');
  need(Array.isArray(cases), 'cases is no array');
  for (const [i, one] of (Array.isArray(cases) ? cases : []).entries()) found.push(...faultsOfCase(one, `cases[${i}]`));
  return found;
}

/** @param {any} one @param {string} where @returns {readonly string[]} */
function faultsOfCase(one, where) {
  const found = [];
  for (const key of ['section', 'name']) if (typeof one?.[key] !== 'string') found.push(`${where}.${key} is no text`);
  const { median, low, high, samples } = one?.time ?? { median: 1, low: 1, high: 1, samples: 3 };
  // A device's clock may say 0 only where nothing ran.
  if (!(median > 0 && low <= median && median <= high && samples >= 3)) found.push(`${where}.time makes no sense`);
  for (const mark of one?.marks ?? []) {
    if (typeof mark.value !== 'number' || !['higher', 'lower'].includes(mark.better)) {
      found.push(`${where}: the mark ${mark.what} makes no sense`);
    }
  }
  return found;
}

/** Writes a whole report or none, under its name only when it is all there. @param {string} path @param {Report} made */
export function writeReport(path, made) {
  const wrong = faults(made);
  if (wrong.length > 0) throw new Error(`this is no report: ${wrong.join('; ')}`);
  const unfinished = `${path}.${process.pid}.unfinished`;
  writeFileSync(unfinished, `${JSON.stringify(made, null, 1)}\n`);
  renameSync(unfinished, path);
}

/** Where a report that was really run is kept: by its date and card. @param {Machine} machine */
export const reportName = ({ date, card: { name } }) =>
  `${date.slice(0, 10)}-${name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.json`;
