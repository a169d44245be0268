// @ts-check
// A gate's outcome in words, and as a record.
import { gateSchemaName, gateSchemaVersion } from '../record/gate-schema.js';
import { rerunCommand } from '../record/rerun.js';
import { change, markdownTable, percent } from '../record/table.js';
import { escapeMarkdown } from '../record/text.js';

/** @typedef {import('./gate.js').CaseResult} CaseResult */
/** @typedef {import('./gate.js').Verdict} Verdict */
/** @typedef {import('./builds.js').PlacedBuild} PlacedBuild */
/** @typedef {import('../record/gate-schema.js').GateRecord} GateRecord */
/** @typedef {ReturnType<typeof import('./gate.js').overall>} Overall */

/** @type {readonly Verdict[]} */
const order = ['wrong', 'broken', 'regression', 'dropped', 'noisy', 'inconclusive', 'not compared', 'pass'];

/** @param {readonly CaseResult[]} results */
export const failuresFirst = (results) =>
  [...results].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict));

/** Whether a case did not pass, and can be measured again. @param {CaseResult} result */
export const failed = ({ verdict }) => !['pass', 'not compared', 'dropped'].includes(verdict);

/** @param {import('../stats/bootstrap.js').Interval} interval */
const range = ({ low, high }) => `${change(low)} to ${change(high)}`;

export const gateColumns = ['case', 'verdict', 'change', '95 % interval', 'base over itself', 'processes', 'error'];

/** @param {CaseResult} result */
export const gateRow = ({ name, verdict, note, judgement, rounds, error }) => [
  name,
  note === '' ? verdict : `${verdict}: ${note}`,
  judgement ? change(judgement.change.centre) : '',
  judgement ? range(judgement.change) : '',
  judgement ? range(judgement.null) : '',
  String(rounds.flat().length),
  error === null ? '' : error.toExponential(1),
];

/** @param {readonly CaseResult[]} results */
export const gateTable = (results) => markdownTable(gateColumns, failuresFirst(results).map(gateRow), 2);

/** @type {Readonly<Record<Overall, string>>} */
const meanings = {
  pass: 'no case is slower than the tolerance allows',
  regression: 'proved slower, wrong or broken',
  inconclusive: 'undecided after the last round, or no longer measured',
  noisy: 'the base does not agree with itself on this machine',
};

/** The verdicts that make each overall one. @type {Readonly<Record<Overall, readonly Verdict[]>>} */
const reasons = {
  pass: [],
  regression: ['regression', 'wrong', 'broken'],
  inconclusive: ['inconclusive', 'dropped'],
  noisy: ['noisy'],
};

/**
 * What the gate came to, why, and what it could not say.
 * @param {readonly CaseResult[]} results @param {Overall} verdict @param {{ base: string, head: string, tolerance: number }} about
 */
export function summaryLines(results, verdict, { base, head, tolerance }) {
  const of = (/** @type {readonly Verdict[]} */ ...wanted) =>
    results.filter((each) => wanted.includes(each.verdict)).map(({ name }) => name);
  const [named, fresh, dropped] = [of(...reasons[verdict]), of('not compared'), of('dropped')];
  const compared = results.length - fresh.length - dropped.length;
  return [
    `${verdict}: ${meanings[verdict]}${named.length > 0 ? `: ${named.join('; ')}` : ''}.`,
    `${head} against ${base}, ${compared} cases, tolerance ${percent(tolerance)}${fresh.length > 0 ? `, ${fresh.length} new cases not compared` : ''}.`,
    ...(dropped.length > 0 ? [`The base has cases that this gate did not measure: ${dropped.join('; ')}.`] : []),
  ];
}

/** The same for a terminal or a job's summary. @param {Parameters<typeof summaryLines>} args */
export function summary(...args) {
  const [verdict] = [args[1]];
  const [first, ...rest] = summaryLines(...args);
  return [`**${verdict}**${escapeMarkdown(first.slice(verdict.length))}`, ...rest.map(escapeMarkdown)].join('\n');
}

/** Measures some cases of a gate again. @param {Pick<GateRecord, 'base' | 'head' | 'settings'>} record @param {readonly CaseResult[]} cases */
export const rerunGate = ({ base, head, settings }, cases) =>
  rerunCommand(
    'gate',
    cases.map(({ name }) => name),
    {
      base: base.name ?? base.label,
      head: head.name,
      tolerance: Number((100 * settings.tolerance).toPrecision(12)),
      blocks: settings.blocks,
      rounds: settings.rounds,
      threads: settings.threads,
      seed: settings.seed,
    },
  );

/**
 * @param {readonly CaseResult[]} results @param {Overall} verdict
 * @param {{ base: PlacedBuild, head: PlacedBuild }} builds @param {{ base: string, head?: string }} given
 * @param {import('./gate.js').Settings & { threads: number }} settings
 * @param {{ base: import('../measure/environment.js').Environment, head: import('../measure/environment.js').Environment }} environments
 * @returns {GateRecord}
 */
export const gateRecord = (results, verdict, { base, head }, given, { seconds, ...settings }, environments) => ({
  schema: gateSchemaName,
  version: gateSchemaVersion,
  created: new Date().toISOString(),
  verdict,
  base: { label: base.label, name: given.base, environment: environments.base },
  head: { label: head.label, ...(given.head !== undefined && { name: given.head }), environment: environments.head },
  settings: { ...settings, seconds: Number.isFinite(seconds) ? seconds : null },
  cases: results,
});
