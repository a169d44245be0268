// Long work on JavaScript's thread is written once, as a generator that yields where it may pause. Synchronous functions
// run it through; functions that return a promise let the event loop have its turn in between.
import { setImmediate } from 'node:timers/promises';
import { checkSignal } from './check.js';

export type Work<T> = Generator<undefined, T, undefined>;

/** Milliseconds of work after which the event loop has its turn. */
const slice = 5;

export function atOnce<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Rejects with ABORTED between two slices once the signal has fired. */
export async function inSlices<T>(op: string, work: Work<T>, signal: AbortSignal | undefined): Promise<T> {
  let until = performance.now() + slice;
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    if (performance.now() < until) continue;
    await setImmediate();
    checkSignal(op, signal);
    until = performance.now() + slice;
  }
}
