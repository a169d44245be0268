// Long work on JavaScript's thread is a generator that yields where it may pause, or where another thread may go on with
// it. Synchronous functions run it to the end; asynchronous functions yield to the event loop between time slices. Both
// give the same bits.
import { setImmediate } from 'node:timers/promises';
import { checkSignal } from './check.js';

/** A part of the work that another thread can do. `now` does it on this thread. */
interface Step {
  readonly now: () => unknown;
  readonly later: () => Promise<unknown>;
}

/** Yields undefined for a possible pause. */
export type Work<T> = Generator<Step | undefined, T, unknown>;

/** Length of a time slice, in milliseconds. */
const slice = 5;

/** Does a part of the work in one of two ways that have the same result. */
export function* step<T>(now: () => T, later: () => Promise<T>): Work<T> {
  return (yield { now, later }) as T;
}

export function atOnce<T>(work: Work<T>): T {
  let turn = work.next();
  while (turn.done !== true) turn = turn.value === undefined ? work.next() : resumed(work, turn.value.now);
  return turn.value;
}

/** Goes on with the result of a step, or with its error inside of the work, which may clean up. */
function resumed<T>(work: Work<T>, run: () => unknown): IteratorResult<Step | undefined, T> {
  let made: unknown;
  try {
    made = run();
  } catch (error) {
    return work.throw(error);
  }
  return work.next(made);
}

/** Rejects with ABORTED after a pause, or before a step, once the signal has fired. The result of a step is never lost. */
export async function inSlices<T>(op: string, work: Work<T>, signal: AbortSignal | undefined): Promise<T> {
  let until = performance.now() + slice;
  let turn = work.next();
  while (turn.done !== true) {
    if (turn.value === undefined && performance.now() < until) {
      turn = work.next();
      continue;
    }
    let made: unknown;
    try {
      if (turn.value === undefined) await setImmediate();
      checkSignal(op, signal);
      made = await turn.value?.later();
    } catch (error) {
      turn = work.throw(error);
      continue;
    }
    until = performance.now() + slice;
    turn = work.next(made);
  }
  return turn.value;
}
