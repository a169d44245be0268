import { types } from 'node:util';
import { reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';

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

/** Everything that can be reached from a value, each object once. A promise is refused: what it will hold is unknown. */
function reachable(start: unknown, scope: ReadonlySet<unknown>): Set<unknown> {
  const found = new Set<unknown>();
  const waiting = [start];
  while (waiting.length > 0) {
    const value = waiting.pop();
    const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
    if (!isObject || found.has(value) || ArrayBuffer.isView(value)) continue;
    found.add(value);
    if (types.isPromise(value)) refusePromise(value);
    // Tensors and passes: they hide nothing.
    if (scope.has(value)) waiting.push(...Object.values(value));
    else addProperties(value, waiting);
    if (types.isMap(value)) for (const pair of Map.prototype.entries.call(value)) waiting.push(...pair);
    if (types.isSet(value)) for (const member of Set.prototype.values.call(value)) waiting.push(member);
  }
  return found;
}

/** The values of own properties. A getter is asked where it is enumerable, as whoever lists the properties would. */
function addProperties(value: object, to: unknown[]): void {
  for (const key of Reflect.ownKeys(value)) {
    const property = Reflect.getOwnPropertyDescriptor(value, key);
    if (property?.get === undefined) to.push(property?.value);
    else if (property.enumerable) to.push(Reflect.get(value, key));
  }
}

function refusePromise(promise: Promise<unknown>): never {
  promise.catch(() => undefined);
  const got = 'a promise, which may hold tensors after they were disposed';
  throw new SigmaError(
    'INVALID_ARGUMENT',
    'tidy',
    `body: expected a synchronous function, got one that returns ${got}`,
  );
}

/**
 * Disposes every tensor made inside `body` that it does not return: alone, or anywhere inside of own properties, whatever
 * their keys, and of maps and sets. Private fields and closures cannot be seen: a tensor that only they hold is disposed.
 * Gradients and other tensors that layers keep survive. `body` must be synchronous.
 *
 * @throws SigmaError INVALID_ARGUMENT where `body` is no function, or returns a promise or something that holds one
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
    survivors = reachable(result, scope);
    return result;
  } finally {
    scopes.pop();
    for (const scoped of scope) {
      if (survivors.has(scoped)) track(scoped);
      else scoped.dispose();
    }
  }
}
