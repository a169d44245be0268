// @ts-check
// A block of the gate: three fresh processes, two with the base and one with the head, that take turns case by case.
import { numbers } from '../cases/numbers.js';
import { caseOf } from '../cases/table.js';
import { Session } from '../measure/session.js';
import { takeTurns } from './turns.js';

/** @typedef {import('./gate.js').CaseBlock} CaseBlock */
/** @typedef {import('../measure/tasks.js').Build} Build */

/**
 * @param {{ base: Build, head: Build }} builds @param {number} seed
 * @param {(block: number, name: string, done: number, of: number) => void} [tell]
 */
export function blockMeasurer({ base, head }, seed, tell = () => {}) {
  /** @param {readonly string[]} names @param {number} block @returns {Promise<Map<string, CaseBlock>>} */
  return async (names, block) => {
    const sessions = await openAll([base, base, head]);
    try {
      /** @type {Map<string, CaseBlock>} */
      const found = new Map();
      for (const [i, name] of names.entries()) {
        tell(block, name, i, names.length);
        found.set(name, await measureCase(sessions, name, seed + 1000 * block + i, block === 0));
      }
      return found;
    } finally {
      for (const session of sessions) session.close();
    }
  };
}

/** All of them, or none: a process that is left would keep this one alive. @param {readonly Build[]} builds */
async function openAll(builds) {
  const opened = await Promise.allSettled(builds.map((build) => Session.open(build)));
  const sessions = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const failure = opened.find((each) => each.status === 'rejected');
  if (!failure) return sessions;
  for (const session of sessions) session.close();
  throw failure.reason;
}

/** @param {readonly Session[]} sessions @param {string} name @param {number} seed @param {boolean} check takes the head's error @returns {Promise<CaseBlock>} */
async function measureCase(sessions, name, seed, check) {
  /** @type {number | undefined} */
  let error;
  const ready = async (/** @type {Session} */ session, /** @type {number} */ i) => {
    if (check && i === 2) error = (await session.ask('error')) ?? Number.POSITIVE_INFINITY; // which a message cannot carry
  };
  const [base, again, head] = await takeTurns(sessions, name, numbers(seed), ready, caseOf(name).turn);
  const known = error === undefined ? {} : { error };
  if ('broken' in base) return { ...known, brokenBase: base.broken };
  if ('broken' in again) return { ...known, brokenBase: again.broken };
  if ('broken' in head) return { ...known, brokenHead: head.broken };
  return { ...known, times: { base: base.min, again: again.min, head: head.min } };
}
