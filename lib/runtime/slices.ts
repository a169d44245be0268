// Long work on JavaScript's thread is a generator that yields where it may pause. Synchronous functions run it to the
// end; asynchronous functions yield to the event loop between time slices.
import { setImmediate } from 'node:timers/promises';
import { checkSignal } from './check.js';

export type Work<T> = Generator<undefined, T, undefined>;

/** Length of a time slice, in milliseconds. */
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
