// @ts-check
// What the measurements of one case say. Pure: the gate, its study and its tests all ask here.
import { interval } from '../stats/bootstrap.js';

/** @typedef {import('../stats/bootstrap.js').Interval} Interval */
/** @typedef {{ base: number, again: number, head: number }} Block milliseconds: the least sample of three processes that took turns; base and again are one build */
/** @typedef {{ tolerance: number, seed: number }} Settings tolerance: 0.1 is ten per cent */

/**
 * @typedef {object} Judgement
 * @property {Interval} change of head over base, as a logarithm
 * @property {Interval} null the same of the base over itself
 * @property {'slower' | 'not slower' | 'open'} decided
 * @property {boolean} clean whether the base agrees with itself
 */

/** @param {Block} block */
const changeOf = ({ base, again, head }) => Math.log(head) - (Math.log(base) + Math.log(again)) / 2;
/** @param {Block} block */
const nullOf = ({ base, again }) => Math.log(again) - Math.log(base);

/** @param {readonly (readonly Block[])[]} rounds in the order they were measured @param {Settings} settings @returns {Judgement} */
export function judge(rounds, { tolerance, seed }) {
  const limit = Math.log(1 + tolerance);
  const blocks = rounds.flat();
  const change = interval(blocks.map(changeOf), { seed });
  const against = interval(blocks.map(nullOf), { seed: seed + 1 });
  const clean = against.low > -limit && against.high < limit;
  // Where the base does not agree with itself, nothing passes; but what stands out of its disagreement is proved all the
  // same.
  const bar = limit + (clean ? 0 : Math.max(-against.low, against.high));
  return { change, null: against, clean, decided: decide() };

  /** @returns {Judgement['decided']} */
  function decide() {
    if (clean && change.high <= limit) return 'not slower';
    if (change.low <= bar) return 'open';
    // What the first round shows is a suspicion: some case of many is always the worst. A later round, of processes that
    // had no part in raising it, has to show it by itself.
    if (rounds.length < 2) return 'open';
    const latest = interval(rounds[rounds.length - 1].map(changeOf), { seed: seed + 2 });
    return latest.low > bar ? 'slower' : 'open';
  }
}
