// @ts-check
// One case in several processes that take turns of a few milliseconds: what slows the machine for longer than that
// slows all of them, and the least sample of each comes from the same good moments.
import { Broken } from '../measure/session.js';

/** @typedef {import('../measure/session.js').Session} Session */
/** @typedef {import('../cases/numbers.js').Numbers} Numbers */

const turns = 8;
const turnLength = 5; // ms

/** Numbers below `count` in a random order. @param {number} count @param {Numbers} random */
export function shuffled(count, random) {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** The order of the turns: each random order is followed by its mirror image, so no process always follows the same one. */
/** @param {number} count @param {Numbers} random */
function* orders(count, random) {
  for (let turn = 0; turn < turns; turn += 2) {
    const order = shuffled(count, random);
    yield order;
    yield order.toReversed();
  }
}

/**
 * @typedef {{ min: number } | { broken: string }} Outcome
 * The least milliseconds a call of each session, or what it said where the case cannot run there.
 * @param {readonly Session[]} sessions @param {string} name of the case
 * @param {Numbers} random
 * @param {(session: Session, index: number) => Promise<unknown>} [ready] once the case is prepared
 * @param {number} [length] of a turn, in ms
 * @returns {Promise<Outcome[]>}
 */
export async function takeTurns(sessions, name, random, ready = async () => {}, length = turnLength) {
  /** @type {(string | undefined)[]} */
  const broken = sessions.map(() => undefined);
  /** @param {number} index @param {() => Promise<unknown>} work */
  const attempt = async (index, work) => {
    if (broken[index] !== undefined) return;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      broken[index] = error.message;
    }
  };
  await Promise.all(sessions.map((session, i) => attempt(i, () => session.ask('prepare', name))));
  for (const [i, session] of sessions.entries()) {
    await attempt(i, () => session.ask('calibrate'));
    await attempt(i, () => ready(session, i));
  }
  const least = sessions.map(() => Number.POSITIVE_INFINITY);
  for (const order of orders(sessions.length, random)) {
    for (const i of order) {
      await attempt(i, async () => {
        least[i] = Math.min(least[i], ...(await sessions[i].ask('turn', length)));
      });
    }
  }
  await Promise.all(sessions.map((session, i) => attempt(i, () => session.ask('dispose'))));
  return sessions.map((_, i) => {
    const said = broken[i];
    return said === undefined ? { min: least[i] } : { broken: said };
  });
}
