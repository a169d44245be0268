// @ts-check
// The gate: rounds of measurements until each case is decided, or the cap is reached. It does not know how a block is
// measured: the study hands it recorded ones.
import { most } from '../record/checks.js';
import { plain } from '../record/text.js';
import { judge } from './judge.js';

/** @typedef {import('../cases/case.js').Case} Case */
/** @typedef {import('./judge.js').Block} Block */
/** @typedef {import('./judge.js').Judgement} Judgement */
/**
 * @typedef {'pass' | 'regression' | 'wrong' | 'broken' | 'dropped' | 'inconclusive' | 'noisy' | 'not compared'} Verdict
 * 'dropped': the base has the case, and the gate did not measure it; 'not compared': the base cannot run it
 */

/**
 * @typedef {object} CaseResult
 * @property {string} name
 * @property {Verdict} verdict
 * @property {string} note what stands behind a verdict that is not about time
 * @property {number | null} error of the head's result
 * @property {number | null} bound null if it is not known
 * @property {Judgement | null} judgement
 * @property {Block[][]} rounds
 */

/**
 * @typedef {object} CaseBlock what one block found of one case
 * @property {Block} [times]
 * @property {number} [error] where it was taken
 * @property {string} [brokenHead] what the head said where it could not run the case
 * @property {string} [brokenBase]
 */

/**
 * @typedef {object} Settings
 * @property {number} tolerance
 * @property {number} seed
 * @property {number} blocks a round: processes a side
 * @property {number} rounds at most
 * @property {number} seconds after which no further round begins
 */

/** @type {Settings} */
export const defaults = { tolerance: 0.1, seed: 1, blocks: 10, rounds: 4, seconds: Number.POSITIVE_INFINITY };

/** One case on its way to a verdict. */
class Trial {
  /** @type {Block[][]} */
  rounds = [];
  /** @type {Judgement | null} */
  judgement = null;
  /** @type {number | null} */
  error = null;
  /** @type {Verdict | undefined} */
  verdict;
  note = '';

  /** @param {Pick<Case, 'name' | 'bound'>} given */
  constructor({ name, bound }) {
    this.name = name;
    this.bound = bound;
  }

  startRound() {
    this.rounds.push([]);
  }

  /** @param {CaseBlock} block */
  add({ times, error, brokenHead, brokenBase }) {
    if (error !== undefined) this.error = Math.max(this.error ?? 0, error);
    if (this.error !== null && !(this.error <= this.bound)) {
      this.#end('wrong', `error ${this.error.toExponential(1)} beyond ${this.bound.toExponential(0)}`);
    } else if (brokenBase !== undefined) {
      this.#end('not compared', `the base cannot run it: ${brokenBase}`);
    } else if (brokenHead !== undefined) {
      this.#end('broken', `the head cannot run it: ${brokenHead}`);
    } else if (times) {
      this.rounds[this.rounds.length - 1].push(times);
    }
  }

  /** @param {Settings} settings */
  endRound(settings) {
    if (this.rounds.flat().length === 0) return; // nothing was measured: nothing is said
    this.judgement = judge(this.rounds, settings);
    if (this.judgement.decided === 'slower') this.#end('regression', '');
    if (this.judgement.decided === 'not slower') this.#end('pass', '');
  }

  /** No more measurements will come. */
  giveUp() {
    if (!this.verdict) this.#end(this.judgement?.clean ? 'inconclusive' : 'noisy', '');
  }

  /** @param {Verdict} verdict @param {string} note */
  #end(verdict, note) {
    this.verdict = verdict;
    this.note = plain(note.split('\n')[0]).slice(0, most.characters);
  }

  /** @returns {CaseResult} */
  result() {
    const { name, verdict = 'inconclusive', note, error, bound, judgement, rounds } = this;
    return { name, verdict, note, error, bound, judgement, rounds };
  }
}

/**
 * @param {readonly Pick<Case, 'name' | 'bound'>[]} cases
 * @param {(names: readonly string[], block: number) => Promise<ReadonlyMap<string, CaseBlock>>} measureBlock
 * @param {Partial<Settings>} [options]
 * @returns {Promise<CaseResult[]>}
 */
export async function runGate(cases, measureBlock, options = {}) {
  const settings = { ...defaults, ...options };
  const trials = cases.map((each) => new Trial(each));
  const end = performance.now() + 1000 * settings.seconds;
  let block = 0;
  for (let round = 0; round < settings.rounds && performance.now() < end; round++) {
    for (const trial of open()) trial.startRound();
    for (let i = 0; i < settings.blocks && open().length > 0; i++) {
      const found = await measureBlock(
        open().map(({ name }) => name),
        block++,
      );
      for (const trial of open()) trial.add(found.get(trial.name) ?? {});
    }
    for (const trial of open()) trial.endRound(settings);
  }
  for (const trial of trials) trial.giveUp();
  return trials.map((trial) => trial.result());

  function open() {
    return trials.filter(({ verdict }) => verdict === undefined);
  }
}

/** What the cases together come to. @param {readonly Pick<CaseResult, 'verdict'>[]} results */
export function overall(results) {
  /** @param {...Verdict} verdicts */
  const some = (...verdicts) => results.some(({ verdict }) => verdicts.includes(verdict));
  if (some('regression', 'wrong', 'broken')) return 'regression';
  if (some('noisy')) return 'noisy';
  // Nothing says that a case which was taken away is not slower.
  if (some('inconclusive', 'dropped')) return 'inconclusive';
  return 'pass';
}

/** @param {ReturnType<typeof overall>} verdict */
export const exitCode = (verdict) => ({ pass: 0, regression: 1, inconclusive: 2, noisy: 2 })[verdict];
