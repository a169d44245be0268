import { types } from 'node:util';
import { isPromise, reject } from '../check.js';
import { SigmaError } from '../errors.js';

/** What a scope may dispose: a tensor, or a pass that holds some. */
export interface Scoped {
  dispose(): void;
}

const scopes: Set<Scoped>[] = [];

/** Hands a new object to the innermost tidy, if there is one. */
export function track(scoped: Scoped): void {
  scopes.at(-1)?.add(scoped);
}

/** Takes an object out of every tidy: its owner disposes it. */
export function keep<T extends Scoped>(scoped: T): T {
  for (const scope of scopes) scope.delete(scoped);
  return scoped;
}

/** Everything that can be reached from a value, each object once. */
function reachable(start: unknown): Set<unknown> {
  const found = new Set<unknown>();
  const waiting = [start];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value !== 'object' || value === null || found.has(value) || ArrayBuffer.isView(value)) continue;
    found.add(value);
    const children = types.isMap(value) || types.isSet(value) ? [...value].flat() : Object.values(value);
    for (const child of children) waiting.push(child);
  }
  return found;
}

/**
 * Disposes every tensor made inside `body` that it does not return (alone, or anywhere inside arrays, maps and
 * objects). Gradients and other tensors that layers keep survive. `body` must be synchronous.
 *
 * @throws SigmaError INVALID_ARGUMENT where `body` is no function or returns a promise
 * @example
 * const loss = tidy(() => meanSquare(layer.apply(x), target));
 */
export function tidy<T>(body: () => T): T {
  if (typeof body !== 'function') reject('tidy', 'body', 'a function', body);
  const scope = new Set<Scoped>();
  scopes.push(scope);
  let survivors: Set<unknown> = new Set();
  try {
    const result = body();
    if (isPromise(result)) {
      result.catch(() => undefined);
      throw new SigmaError(
        'INVALID_ARGUMENT',
        'tidy',
        'body: expected a synchronous function, got one that returns a promise',
      );
    }
    survivors = reachable(result);
    return result;
  } finally {
    scopes.pop();
    for (const scoped of scope) {
      if (survivors.has(scoped)) track(scoped);
      else scoped.dispose();
    }
  }
}
