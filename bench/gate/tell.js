// @ts-check
// A gate's outcome in words, and as a record.
import { change, markdownTable, percent } from '../record/table.js';

/** @typedef {import('./gate.js').CaseResult} CaseResult */
/** @typedef {ReturnType<typeof import('./gate.js').overall>} Overall */

/** @param {import('../stats/bootstrap.js').Interval} interval */
const range = ({ low, high }) => `${change(low)} to ${change(high)}`;

/** @param {readonly CaseResult[]} results */
export function gateTable(results) {
  const rows = results.map(({ name, verdict, note, judgement, rounds, error }) => [
    name,
    note === '' ? verdict : `${verdict}: ${note}`,
    judgement ? change(judgement.change.centre) : '',
    judgement ? range(judgement.change) : '',
    judgement ? range(judgement.null) : '',
    String(rounds.flat().length),
    error === null ? '' : error.toExponential(1),
  ]);
  return markdownTable(
    ['case', 'verdict', 'change', '95 % interval', 'base over itself', 'processes', 'error'],
    rows,
    2,
  );
}

/** @type {Readonly<Record<Overall, string>>} */
const meanings = {
  pass: 'no case is slower than the tolerance allows',
  regression: 'proved slower, wrong or broken',
  inconclusive: 'undecided after the last round',
  noisy: 'the base does not agree with itself on this machine',
};

/** The verdicts that make each overall one. @type {Readonly<Record<Overall, readonly string[]>>} */
const reasons = {
  pass: [],
  regression: ['regression', 'wrong', 'broken'],
  inconclusive: ['inconclusive'],
  noisy: ['noisy'],
};

/** @param {readonly CaseResult[]} results @param {Overall} verdict @param {{ base: string, head: string, tolerance: number }} about */
export function summary(results, verdict, { base, head, tolerance }) {
  const named = results.filter((each) => reasons[verdict].includes(each.verdict)).map(({ name }) => name);
  const skipped = results.filter((each) => each.verdict === 'not compared').length;
  return [
    `**${verdict}**: ${meanings[verdict]}${named.length > 0 ? `: ${named.join('; ')}` : ''}.`,
    `${head} against ${base}, ${results.length - skipped} cases, tolerance ${percent(tolerance)}${skipped > 0 ? `, ${skipped} new cases not compared` : ''}.`,
  ].join('\n');
}

/**
 * @param {readonly CaseResult[]} results @param {Overall} verdict
 * @param {{ base: { label: string }, head: { label: string } }} builds @param {import('./gate.js').Settings} settings
 * @param {{ base: object, head: object }} environments
 */
export function gateRecord(results, verdict, { base, head }, { seconds, ...settings }, environments) {
  return {
    schema: 'sigmatune-gate',
    version: 1,
    created: new Date().toISOString(),
    verdict,
    base: { label: base.label, environment: environments.base },
    head: { label: head.label, environment: environments.head },
    settings: { ...settings, seconds: Number.isFinite(seconds) ? seconds : null },
    cases: results,
  };
}
