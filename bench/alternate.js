// @ts-check
// Two or more ways to do one thing, timed in turn within one run, so that what slows the machine slows all of them.
import { quantile } from './stats/quantile.js';

/** @typedef {() => unknown | Promise<unknown>} Side */
/** @typedef {{ median: number, low: number, high: number }} Timing milliseconds; low and high are the quartiles */

/** @param {number[]} samples @returns {Timing} */
export const timing = (samples) => ({
  median: quantile(samples, 0.5),
  low: quantile(samples, 0.25),
  high: quantile(samples, 0.75),
});

/**
 * @param {Record<string, Side>} sides
 * @param {{ rounds?: number, repeat?: number }} [options] `repeat` calls make one sample
 * @returns {Promise<Record<string, number[]>>} samples by side, in the order of the rounds, in milliseconds a call
 */
export async function alternate(sides, { rounds = 15, repeat = 1 } = {}) {
  /** @type {Record<string, number[]>} */
  const samples = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  const order = Object.entries(sides);
  for (let round = -1; round < rounds; round++) {
    // There and back again: no side always follows the same one.
    for (const [name, side] of round % 2 ? order : [...order].reverse()) {
      const start = performance.now();
      for (let i = 0; i < repeat; i++) {
        const waiting = side();
        if (waiting instanceof Promise) await waiting;
      }
      if (round >= 0) samples[name].push((performance.now() - start) / repeat); // the first round warms up
    }
  }
  return samples;
}

/**
 * The ratio of two sides, round by round, so that a slow spell falls on both.
 * @param {number[]} one @param {number[]} other
 */
export const ratio = (one, other) => timing(one.map((value, round) => value / other[round]));

/** Quartiles as the tables print them. @param {Timing} timing @param {number} [digits] */
export const quartiles = ({ low, high }, digits = 2) => `${low.toFixed(digits)} to ${high.toFixed(digits)}`;
