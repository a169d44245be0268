// @ts-check
import { loadRun } from '../record/files.js';
import { checkSameMachine, wrongOnes } from '../record/schema.js';
import { change, markdownTable, time } from '../record/table.js';
import { differenceInterval } from '../stats/bootstrap.js';
import { UsageError } from '../usage.js';
import { checkCount, readArguments } from './options.js';

/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {import('../record/schema.js').CaseRecord} CaseRecord */
/** @typedef {{ name: string, base: CaseRecord, head: CaseRecord, change: import('../stats/bootstrap.js').Interval }} Pair */

export const help = `sigmatune bench compare BASE.json HEAD.json
  the change of each case from one kept run to another of the same machine, with its interval
  The two were taken at different times, in which the machine may have changed: a hint, where a gate is a proof.`;

/** Each case of both runs. @param {Run} base @param {Run} head @returns {Pair[]} */
export function pairs(base, head) {
  checkSameMachine(base, head);
  const found = head.cases.flatMap((record) => {
    const other = base.cases.find(({ name }) => name === record.name);
    return other ? [{ name: record.name, base: other, head: record, change: changeOf(other, record) }] : [];
  });
  if (found.length === 0) throw new UsageError('these runs have no case in common');
  return found;
}

/** @param {CaseRecord} base @param {CaseRecord} head */
function changeOf(base, head) {
  const logs = (/** @type {CaseRecord} */ { processes }) => processes.map(({ min }) => Math.log(min));
  return differenceInterval(logs(base), logs(head));
}

/** @param {readonly string[]} args */
export async function main(args) {
  const { positionals } = readArguments(args, {});
  checkCount('compare', positionals, 2, 'two files');
  const [base, head] = positionals.map((file) => loadRun(file));
  const both = pairs(base, head);
  const rows = both.map(({ name, base, head, change: { centre, low, high } }) => [
    name,
    time(base.minima.p50),
    time(head.minima.p50),
    change(centre),
    `${change(low)} to ${change(high)}`,
    low > 0 ? 'slower' : high < 0 ? 'faster' : '',
  ]);
  console.log(markdownTable(['case', 'base', 'head', 'change', '95 % interval', ''], rows));
  const alone = base.cases.length + head.cases.length - 2 * both.length;
  if (alone > 0) console.log(`\n${alone} cases are in one of the runs only.`);
  const wrong = wrongOnes(head.cases);
  for (const { name, error, bound } of wrong) console.error(`WRONG: ${name}: error ${error} beyond ${bound}`);
  return wrong.length > 0 ? 1 : 0;
}
