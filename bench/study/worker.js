#!/usr/bin/env node
// @ts-check
// A measuring process of the study: a case can be told to do more work than it should.
import { serve, Tasks } from '../measure/tasks.js';

/** @typedef {import('../cases/case.js').Prepared} Prepared */

let sink = 1;

/** Arithmetic that cannot be left out, each unit as long as the last. @param {number} units */
function work(units) {
  for (let i = 0; i < units; i++) sink = Math.sqrt(sink + 1) * 1.0000001;
  return sink;
}

/** Milliseconds of one unit, undisturbed. */
function unitTime() {
  const units = 10_000;
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 100; round++) {
    const start = performance.now();
    work(units);
    best = Math.min(best, performance.now() - start);
  }
  return best / units;
}

/** The case, slower by units of work a call. @param {Prepared} prepared @param {number} units @returns {Prepared} */
function slowed(prepared, units) {
  return {
    ...prepared,
    call: () => {
      const waiting = prepared.call();
      return waiting instanceof Promise ? waiting.then(() => work(units)) : work(units);
    },
  };
}

class SlowTasks extends Tasks {
  /** More work a call: a share of what the case takes at its best. @param {number} share */
  async plant(share) {
    if (share === 0) return;
    const alone = Math.min(...(await this.turn(30)));
    this.prepared = slowed(this.current, Math.round((share * alone) / unitTime()));
  }
}

await serve(SlowTasks);
