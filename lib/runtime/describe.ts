import { types } from 'node:util';

/** Longest text of the caller that a message quotes, in characters. */
const longest = 40;

function short(text: string): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** 'a Tensor', 'an AdamW'. */
export function article(name: string): string {
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

function described(value: unknown, depth: number): string {
  if (typeof value === 'string') return `'${short(value)}'`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint' || typeof value === 'symbol') return short(String(value));
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value);
  if (types.isProxy(value)) return 'a Proxy (pass the object behind it; in Vue: toRaw(value))';
  if (types.isPromise(value)) return 'a Promise (await it first)';
  if (Array.isArray(value)) {
    const { length } = value;
    if (length > 8 || depth > 0) return `an array of ${length}`;
    return `[${Array.from({ length }, (_, i) => describe(value[i], depth + 1)).join(', ')}]`;
  }
  const name: unknown = value.constructor?.name;
  if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object';
  const instance = article(short(name));
  const made = Object.hasOwn(Object.getPrototypeOf(value) ?? value, 'constructor');
  return made ? instance : `an object that inherits from ${instance} (pass the ${short(name)} itself)`;
}

/** A short description of a value, for a message. Never throws, even if a getter of the value does. */
export function describe(value: unknown, depth = 0): string {
  try {
    return described(value, depth);
  } catch {
    return 'an object that cannot be read';
  }
}
