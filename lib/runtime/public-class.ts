// How the objects of the public classes behave where JavaScript treats them as any object: printed, copied, called
// without their object, or wrapped in a Proxy. Their numbers are in private fields, which none of these can see.
import { types } from 'node:util';
import { describe } from './check.js';
import { SigmaError } from './errors.js';

/** Node's hook for console.log and util.inspect. */
const inspect = Symbol.for('nodejs.util.inspect.custom');

/** What a public class says of its objects. */
export interface PublicClass<T> {
  /** In errors and prints. */
  readonly name: string;
  /** Whether an object was made by the class's constructor: neither a Proxy of such an object, nor an heir. */
  isOwn(value: object): boolean;
  /** One line for console.log and String. Must not throw, run a kernel or fetch from a device. */
  print(self: T): string;
  /** What to send or save in place of the object itself. */
  readonly instead: string;
}

/**
 * A value for an own property of each object of a public class. A structured clone copies own properties only: it would
 * silently drop the numbers. It cannot copy a symbol: it throws a DataCloneError, which quotes this one.
 */
export function uncloneable({ name, instead }: Pick<PublicClass<never>, 'name' | 'instead'>): symbol {
  return Symbol(`${article(name)}, whose numbers a clone would lack; send ${instead}`);
}

/**
 * Completes a public class. Its objects print in one line, JSON of them is refused, and every method and accessor checks
 * `this` first: a SigmaError, not the TypeError of a private field.
 */
export function publish<T extends object>(made: { readonly prototype: T }, described: PublicClass<T>): void {
  const { prototype } = made;
  const { name, instead } = described;
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (key === 'constructor') continue;
    const { value, get, set } = descriptor as PropertyDescriptor;
    if (typeof value === 'function') descriptor.value = guarded(described, key, value);
    if (get) descriptor.get = guarded(described, key, get);
    if (set) descriptor.set = guarded(described, key, set);
    Object.defineProperty(prototype, key, descriptor);
  }
  const print = function (this: T): string {
    return described.isOwn(Object(this)) ? described.print(this) : `[object ${name}]`;
  };
  const toJSON = (): never => {
    throw new SigmaError('UNSUPPORTED', `${name}.toJSON`, `JSON would lose numbers: save ${instead} instead`);
  };
  const hidden = { configurable: true, writable: true };
  Object.defineProperties(prototype, {
    toString: { ...hidden, value: print },
    [inspect]: { ...hidden, value: print },
    toJSON: { ...hidden, value: toJSON },
    // Also keeps Vue from wrapping the objects in Proxies of its own accord: it wraps plain objects and arrays only.
    [Symbol.toStringTag]: { configurable: true, value: name },
  });
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** A method that refuses a `this` which is not an object of its class. */
function guarded<T>({ name, isOwn }: PublicClass<T>, key: string, method: Method): Method {
  const refusal = (self: unknown) => {
    const hint = `call ${key} on the object itself, or bind it first`;
    const got = typeof self === 'object' && self !== null ? describe(self) : `${describe(self)} (${hint})`;
    return new SigmaError('INVALID_ARGUMENT', `${name}.${key}`, `this: expected ${article(name)}, got ${got}`);
  };
  const checked: Method = types.isAsyncFunction(method)
    ? async function (...args) {
        if (!isOwn(Object(this))) throw refusal(this);
        return Reflect.apply(method, this, args);
      }
    : function (...args) {
        if (!isOwn(Object(this))) throw refusal(this);
        return Reflect.apply(method, this, args);
      };
  const { name: called, length } = method;
  return Object.defineProperties(checked, { name: { value: called }, length: { value: length } });
}

function article(name: string): string {
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}
