// @ts-check
// Two or more cases in turn within one process, so that what slows the machine slows all of them.
import { quantile } from '../stats/quantile.js';
import { calibrate, sample } from './sample.js';

/** @typedef {{ prepared: import('../cases/case.js').Prepared, clock: import('./sample.js').Clock }} Side */
/** @typedef {{ median: number, low: number, high: number }} Figure low and high are the quartiles */

/** @param {readonly number[]} values @returns {Figure} */
export const figureOf = (values) => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75),
});

/** The least length of a sample. */
const grain = 2; // ms

/** Samples by side, in the order of the rounds. */
export class Rounds {
  /** @param {Record<string, number[]>} samples milliseconds a call @param {Record<string, number>} repeats calls in a sample */
  constructor(samples, repeats) {
    this.samples = samples;
    this.repeats = repeats;
  }

  /** Milliseconds a call. @param {string} side */
  time(side) {
    const samples = this.samples[side];
    return { ...figureOf(samples), samples: samples.length, repeat: this.repeats[side] };
  }

  /**
   * A figure of each round's times, so that a slow spell falls on all sides of a ratio.
   * @param {(ms: Readonly<Record<string, number>>) => number} of
   */
  figure(of) {
    const sides = Object.entries(this.samples);
    const rounds = sides[0][1].keys();
    return figureOf([...rounds].map((i) => of(Object.fromEntries(sides.map(([name, samples]) => [name, samples[i]])))));
  }
}

/**
 * @param {Readonly<Record<string, Side>>} sides
 * @param {{ rounds: number, seconds?: number }} options as many rounds as fit into `seconds`, but three at least
 */
export async function alternate(sides, { rounds, seconds = Number.POSITIVE_INFINITY }) {
  const order = Object.entries(sides);
  /** @type {Record<string, number>} */
  const repeats = {};
  for (const [name, { prepared, clock }] of order) repeats[name] = await calibrate(prepared, { clock, grain });
  /** @type {Record<string, number[]>} */
  const samples = Object.fromEntries(order.map(([name]) => [name, []]));
  const start = performance.now();
  let wanted = rounds;
  for (let round = -1; round < wanted; round++) {
    // There and back again: no side always follows the same one.
    for (const [name, { prepared, clock }] of round % 2 ? order : [...order].reverse()) {
      const milliseconds = await sample(prepared, repeats[name], clock);
      if (round >= 0) samples[name].push(milliseconds); // the first round warms up
    }
    const fitting = Math.floor((1000 * seconds) / (performance.now() - start));
    if (round < 0) wanted = Math.max(3, Math.min(rounds, fitting - 1));
  }
  return new Rounds(samples, repeats);
}
