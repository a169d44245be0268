// @ts-check
// The one sampler: samples of one case in one process, by a clock.

/** @typedef {import('../cases/case.js').Prepared} Prepared */
/** @typedef {(prepared: Prepared, count: number) => Promise<number>} Clock milliseconds that `count` calls take, one after the other */

/** The least length of a sample: the clock's resolution and the cost of reading it do not show. */
const usualGrain = 0.1; // ms

/** Calls ahead of the first sample, for the compiler of the JavaScript around them. */
const warmUp = 10; // ms

/** The computer's clock. @type {Clock} */
export async function wallClock({ call }, count) {
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    const waiting = call();
    if (waiting instanceof Promise) await waiting;
  }
  return performance.now() - start;
}

/** A device's own clock, for calls that do not wait. @param {import('../cases/case.js').Library} library @param {import('sigmatune').Device} device @returns {Clock} */
export function deviceClock({ timed }, device) {
  let calls = 0;
  return async ({ call }, count) =>
    timed(device, () => {
      for (let i = 0; i < count; i++) call(calls++);
    });
}

/** One sample: milliseconds a call. @param {Prepared} prepared @param {number} repeat calls that make a sample @param {Clock} clock */
export async function sample(prepared, repeat, clock = wallClock) {
  prepared.before?.();
  return (await clock(prepared, repeat)) / repeat;
}

/** Warms a case up and finds how many calls make a sample. One that is set up again for each call takes one at a time. */
/** @param {Prepared} prepared @param {{ clock?: Clock, grain?: number }} [options] `grain`: milliseconds that a sample lasts at least */
export async function calibrate(prepared, { clock = wallClock, grain = usualGrain } = {}) {
  const end = performance.now() + warmUp;
  let repeat = 1;
  do {
    const last = repeat * (await sample(prepared, repeat, clock));
    if (last < grain && !prepared.before) repeat *= 2;
  } while (performance.now() < end);
  return repeat;
}

/** The samples of one turn, one at least. @param {Prepared} prepared @param {number} repeat @param {number} length ms */
export async function takeTurn(prepared, repeat, length) {
  const end = performance.now() + length;
  /** @type {number[]} */
  const samples = [];
  do samples.push(await sample(prepared, repeat));
  while (performance.now() < end);
  return samples;
}
