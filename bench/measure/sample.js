// @ts-check
// The samples of one case in one process.

/** @typedef {import('../cases/case.js').Prepared} Prepared */

/** A sample lasts at least so long, that the clock's grain and the cost of reading it do not show. */
const grain = 0.1; // ms

/** Calls ahead of the first sample, for the compiler of the JavaScript around them. */
const warmUp = 10; // ms

/** Calls one after the other. @param {Prepared} prepared @param {number} count @returns {Promise<number>} ms */
async function time({ call }, count) {
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    const waiting = call();
    if (waiting instanceof Promise) await waiting;
  }
  return performance.now() - start;
}

/** One sample: milliseconds a call. @param {Prepared} prepared @param {number} repeat calls that make a sample */
async function sample(prepared, repeat) {
  prepared.before?.();
  return (await time(prepared, repeat)) / repeat;
}

/** Warms a case up and finds how many calls make a sample. One that is set up again for each call takes one at a time. */
/** @param {Prepared} prepared */
export async function calibrate(prepared) {
  const end = performance.now() + warmUp;
  let repeat = 1;
  do {
    const last = repeat * (await sample(prepared, repeat));
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
