// @ts-check
import { differenceInterval } from '../stats/bootstrap.js';
import { UsageError } from '../usage.js';
import { checkSameMachine } from './schema.js';

/** @typedef {import('./schema.js').Run} Run */
/** @typedef {import('./schema.js').CaseRecord} CaseRecord */
/** @typedef {{ name: string, base: CaseRecord, head: CaseRecord, change: import('../stats/bootstrap.js').Interval }} Pair */

/**
 * Each case of both runs, and the names of those that one run lacks.
 * @param {Run} base @param {Run} head @returns {{ pairs: Pair[], onlyBase: string[], onlyHead: string[] }}
 */
export function matched(base, head) {
  checkSameMachine(base, head);
  const ofBase = new Map(base.cases.map((record) => [record.name, record]));
  /** @type {Pair[]} */
  const pairs = [];
  const onlyHead = [];
  for (const record of head.cases) {
    const { name } = record;
    const other = ofBase.get(name);
    if (other) pairs.push({ name, base: other, head: record, change: changeOf(other, record) });
    else onlyHead.push(name);
    ofBase.delete(name);
  }
  if (pairs.length === 0) throw new UsageError('these runs have no case in common');
  return { pairs, onlyBase: [...ofBase.keys()], onlyHead };
}

/** @param {CaseRecord} base @param {CaseRecord} head */
function changeOf(base, head) {
  const logs = (/** @type {CaseRecord} */ { processes }) => processes.map(({ min }) => Math.log(min));
  return differenceInterval(logs(base), logs(head));
}

/** @param {ReturnType<typeof matched>} found */
export const aloneLines = ({ onlyBase, onlyHead }) => [
  ...(onlyBase.length > 0 ? [`Only the base has: ${onlyBase.join('; ')}.`] : []),
  ...(onlyHead.length > 0 ? [`Only the head has: ${onlyHead.join('; ')}.`] : []),
];
