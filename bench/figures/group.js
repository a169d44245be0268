// @ts-check
// Cases of the table that are timed in turn, with what they are held against: a floor, or a rival.
import * as sigmatune from 'sigmatune';
import { resetArena } from '../cases/arena.js';
import { Shared } from '../cases/operands.js';
import { alternate } from '../measure/alternate.js';
import { deviceClock, wallClock } from '../measure/sample.js';

/** @typedef {import('../cases/case.js').Case} Case */
/** @typedef {import('../cases/case.js').Deviation} Deviation */
/** @typedef {import('./figure.js').Context} Context */
/** @typedef {import('./figure.js').Mark} Mark */
/** @typedef {import('../measure/alternate.js').Side} Side */

/** @typedef {{ open: () => Side | Promise<Side> }} Rival another program's side */

/**
 * @typedef {object} Group
 * @property {string} size
 * @property {string} [label] what tells this group from others of its size
 * @property {string} [dtype]
 * @property {Readonly<Record<string, Case>>} cases by the names that they have in the report
 * @property {Readonly<Record<string, Case | Rival>>} [against]
 * @property {(name: string, rounds: import('../measure/alternate.js').Rounds, errors: readonly Deviation[]) => readonly Mark[]} [judge]
 * @property {number} [seconds] for all rounds
 */

/** @param {Context} context @param {Group} group @returns {import('./figure.js').Job} */
export const groupJob = (context, group) => ({
  name: [group.label, group.size, group.dtype].filter(Boolean).join(', '),
  run: () => measureGroup(context, group),
});

/** @param {Context} context @param {Group} group @returns {Promise<readonly import('./figure.js').Case[]>} */
async function measureGroup(context, { size, dtype, cases, against = {}, judge = () => [], seconds }) {
  resetArena();
  const shared = new Shared();
  /** @type {Record<string, Side>} */
  const sides = {};
  try {
    for (const [name, given] of Object.entries({ ...cases, ...against }))
      sides[name] = await open(context, given, shared);
    const rounds = await measure(context, sides, seconds);
    const made = [];
    for (const [name, { flops, bytes, bound }] of Object.entries(cases)) {
      const { prepared } = sides[name];
      const errors = await (prepared.errors?.() ?? errorOf(prepared, bound));
      made.push({
        name,
        size,
        ...(dtype !== undefined && { dtype }),
        flops,
        bytes,
        time: rounds?.time(name),
        marks: rounds ? judge(name, rounds, errors) : [],
        errors,
        ...(prepared.detail !== undefined && { detail: prepared.detail }),
      });
    }
    return made;
  } finally {
    for (const { prepared } of Object.values(sides)) prepared.dispose();
    shared.dispose();
  }
}

/** @param {Context} context @param {Case | Rival} given @param {Shared} shared @returns {Promise<Side>} */
async function open({ device }, given, shared) {
  if ('open' in given) return given.open();
  const clock = given.waits || device === 'cpu' ? wallClock : deviceClock(sigmatune, device);
  return { prepared: await given.prepare(sigmatune, shared), clock };
}

/** @param {Context} context @param {Readonly<Record<string, Side>>} sides @param {number | undefined} seconds */
async function measure({ dry, rounds, left }, sides, seconds = Number.POSITIVE_INFINITY) {
  if (!dry) return alternate(sides, { rounds, seconds: Math.min(seconds, left()) });
  for (const { prepared } of Object.values(sides)) {
    prepared.before?.();
    await prepared.call();
  }
  return undefined;
}

/** @param {import('../cases/case.js').Prepared} prepared @param {number} bound @returns {Promise<readonly Deviation[]>} */
async function errorOf(prepared, bound) {
  return [{ value: await prepared.error(), bound, of: 'relative distance from float64' }];
}
