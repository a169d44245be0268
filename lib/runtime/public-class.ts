// How objects of the public classes behave when they are printed, cloned or wrapped in a Proxy, or when a method is
// called on another `this`. Their numbers are in private fields, which none of these mechanisms can see.
import { types } from 'node:util';
import { article, describe } from './describe.js';
import { SigmaError } from './errors.js';

/** Node's hook for console.log and util.inspect. */
const inspect = Symbol.for('nodejs.util.inspect.custom');

/** What `publish` needs to know about a class. */
export interface PublicClass<T> {
  /** For errors and prints. */
  readonly name: string;
  /**
   * Whether the class's constructor made an object. false for a Proxy of one, and for an object that inherits from one.
   */
  isOwn(value: object): boolean;
  /** One line for console.log and String. Must not throw, run a kernel or fetch from a device. */
  print(self: T): string;
  /** What to send or save instead of the object. */
  readonly instead: string;
}

/**
 * A symbol for an own property of each object of a public class. structuredClone copies own properties only, so it
 * would silently drop the numbers. It cannot copy a symbol: it throws a DataCloneError that quotes the symbol's text.
 */
export function uncloneable({ name, instead }: Pick<PublicClass<never>, 'name' | 'instead'>): symbol {
  return Symbol(`${article(name)}, whose numbers a clone would lack; send ${instead}`);
}

/**
 * Completes a public class: its objects print in one line, JSON.stringify throws, and every method and accessor checks
 * `this` first. A wrong `this` is then a SigmaError instead of the TypeError of a private field.
 */
export function publish<T extends object>(made: { readonly prototype: T }, described: PublicClass<T>): void {
  const { prototype } = made;
  const { name, instead } = described;
  // Messages that describe a value have the name of its class.
  Object.defineProperty(made, 'name', { configurable: true, value: name });
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
    // Also keeps Vue from wrapping the objects in Proxies: it wraps plain objects and arrays only.
    [Symbol.toStringTag]: { configurable: true, value: name },
  });
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Makes a method refuse a `this` that is not an object of its class. */
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
