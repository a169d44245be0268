import { types } from 'node:util';
import { reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';

/** What a scope disposes: a tensor, or a pass, which holds tensors. */
export interface Scoped {
  dispose(): void;
}

const scopes: Set<Scoped>[] = [];

/** Registers a new object with the innermost tidy, if there is one. */
export function track(scoped: Scoped): void {
  scopes.at(-1)?.add(scoped);
}

/** Removes an object from every tidy: its owner disposes it. */
export function keep<T extends Scoped>(scoped: T): T {
  for (const scope of scopes) scope.delete(scoped);
  return scoped;
}

/** The objects reachable from a value. A promise is refused, because its result is not known yet. */
function reachable(start: unknown, scope: ReadonlySet<unknown>): Set<unknown> {
  const found = new Set<unknown>();
  const waiting = [start];
  while (waiting.length > 0) {
    const value = waiting.pop();
    const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
    if (!isObject || found.has(value) || ArrayBuffer.isView(value)) continue;
    found.add(value);
    if (types.isPromise(value)) refusePromise(value);
    // Tensors and passes have plain enumerable properties only.
    if (scope.has(value)) waiting.push(...Object.values(value));
    else addProperties(value, waiting);
    if (types.isMap(value)) for (const pair of Map.prototype.entries.call(value)) waiting.push(...pair);
    if (types.isSet(value)) for (const member of Set.prototype.values.call(value)) waiting.push(member);
  }
  return found;
}

/** The values of own properties. Calls a getter only if it is enumerable, as Object.values does. */
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
 * Calls `body`, then disposes every tensor that was made inside, except those that `body` returns. A returned tensor
 * may be the result itself, or nested in the result's own properties, maps and sets. `tidy` cannot see private fields
 * and closures: it disposes a tensor that only they hold. Tensors that a layer keeps, such as gradients, survive.
 * `body` must be synchronous.
 *
 * @returns what `body` returns
 * @throws SigmaError INVALID_ARGUMENT if `body` is not a function, or if its result is or contains a promise
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
