// @ts-check
// Times by the device's own clock (CUDA events), several sides in turn, so that what slows the card slows all of them.
import { timed } from 'sigmatune';
import { ratio, timing } from '../alternate.js';

/** @typedef {(call: number) => unknown} Side one call; its number picks from a ring of operands */

/** A sample should last that long, so that neither the clock's grain nor the queue's start shows. */
const least = 2;

/**
 * Measures sides of one thing. A dry run calls each once and knows no time.
 * @param {import('./case.js').Context} context @param {Record<string, Side>} sides
 */
export function measure({ device, dry, rounds }, sides) {
  const order = Object.entries(sides);
  /** @type {Record<string, number[]>} */
  const samples = {};
  /** @type {Record<string, number>} */
  const repeats = {};
  let call = 0;
  const sample = (/** @type {Side} */ side, /** @type {number} */ repeat) =>
    timed(device, () => {
      for (let i = 0; i < repeat; i++) side(call++);
    }) / repeat;
  for (const [name, side] of order) {
    sample(side, 1); // what is loaded, chosen and allocated at a first call
    if (dry) continue;
    samples[name] = [];
    repeats[name] = Math.max(1, Math.min(200, Math.ceil(least / sample(side, 3))));
  }
  // There and back again: no side always follows the same one. The first round warms up.
  for (let round = -1; round < rounds && !dry; round++) {
    for (const [name, side] of round % 2 ? order : [...order].reverse()) {
      const milliseconds = sample(side, repeats[name]);
      if (round >= 0) samples[name].push(milliseconds);
    }
  }
  return {
    /** @param {string} name @returns {import('./case.js').Time | undefined} */
    time: (name) =>
      dry ? undefined : { ...timing(samples[name]), samples: samples[name].length, repeat: repeats[name] },
    /** The one over the other, round by round. @param {string} one @param {string} other @param {number} [factor] */
    ratio: (one, other, factor = 1) =>
      dry
        ? undefined
        : ratio(
            samples[one].map((milliseconds) => factor * milliseconds),
            samples[other],
          ),
    /** Microseconds a call. @param {string} name */
    micro: (name) => (dry ? undefined : timing(samples[name].map((milliseconds) => 1000 * milliseconds))),
  };
}

/**
 * Times of asynchronous work by the wall clock, as many as fit into `seconds`, three at least and 20 at most.
 * @param {import('./case.js').Context} context @param {() => Promise<unknown>} body @param {number} [seconds]
 * @returns {Promise<number[]>} milliseconds
 */
export async function clocked({ dry, left }, body, seconds = 10) {
  await body();
  /** @type {number[]} */
  const samples = [];
  if (dry) return samples;
  const end = performance.now() + 1000 * Math.min(seconds, left());
  while (samples.length < 3 || (samples.length < 20 && performance.now() < end)) {
    const start = performance.now();
    await body();
    samples.push(performance.now() - start);
  }
  return samples;
}

/** @param {readonly number[]} samples @returns {import('./case.js').Time | undefined} */
export const wallTime = (samples) =>
  samples.length === 0 ? undefined : { ...timing([...samples]), samples: samples.length, repeat: 1 };
