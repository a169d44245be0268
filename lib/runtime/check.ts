import { types } from 'node:util';
import { article, describe } from './describe.js';
import { type ErrorCode, SigmaError } from './errors.js';
import { nearest } from './nearest.js';

export { describe } from './describe.js';

/** Throws a SigmaError whose message names the argument, what was expected and what came. */
export function fail(code: ErrorCode, op: string, argument: string, expected: string, got: string): never {
  throw new SigmaError(code, op, `${argument}: expected ${expected}, got ${got}`);
}

/** Throws INVALID_ARGUMENT for a value, which the message describes. */
export function reject(op: string, argument: string, expected: string, value: unknown): never {
  fail('INVALID_ARGUMENT', op, argument, expected, describe(value));
}

/**
 * `reject` for a value that is not an instance of this copy's class `name`; another copy's class may have that name.
 */
export function rejectInstance(op: string, argument: string, name: string, value: unknown, hint = ''): never {
  const got = describe(value);
  const foreign =
    got === article(name) ? " that another copy of sigmatune made: 'npm ls sigmatune' shows the copies" : '';
  fail('INVALID_ARGUMENT', op, argument, `${article(name)}${hint}`, `${got}${foreign}`);
}

export function checkInteger(op: string, argument: string, value: unknown, least: number, most = 2 ** 31 - 1): number {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    const below = most === 2 ** 31 - 1 && !(Number.isInteger(value) && (value as number) > most);
    const range = below ? `of at least ${least}` : `from ${least} to ${most}`;
    reject(op, argument, `an integer ${range}`, value);
  }
  return value as number;
}

/** A seed is any integer that a number holds exactly. */
export function checkSeed(op: string, argument: string, value: unknown): number {
  return checkInteger(op, argument, value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
}

/** A finite number with least ≤ value, and value < below. */
export function checkNumber(op: string, argument: string, value: unknown, least: number, below = Infinity): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < least || value >= below) {
    const range = below === Infinity ? ` of at least ${least}` : ` from ${least} to below ${below}`;
    reject(op, argument, `a finite number${least === -Infinity ? '' : range}`, value);
  }
  return value;
}

export function checkBoolean(op: string, argument: string, value: unknown): boolean {
  if (typeof value !== 'boolean') reject(op, argument, 'a boolean', value);
  return value;
}

export function checkChoice<T extends string>(op: string, argument: string, value: unknown, choices: readonly T[]): T {
  if (!choices.includes(value as T)) {
    const meant = typeof value === 'string' ? nearest(value, choices) : undefined;
    const hint = meant === undefined ? '' : `; did you mean '${meant}'?`;
    const expected = `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`;
    fail('INVALID_ARGUMENT', op, argument, expected, `${describe(value)}${hint}`);
  }
  return value as T;
}

/** Whether a value is a promise, of any realm. */
export function isPromise(value: unknown): value is Promise<unknown> {
  return types.isPromise(value);
}

/** Whether a value is an array, of any realm. false for a revoked proxy. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value) && !isPromise(value);
  } catch {
    return false; // a revoked proxy
  }
}

/** Whether an object inherits only from some realm's Object.prototype, or from nothing. */
function isPlain(value: object): boolean {
  const parent = Object.getPrototypeOf(value);
  if (parent === null || parent === Object.prototype || parent === Read.prototype) return true;
  return Object.getPrototypeOf(parent) === null && Object.hasOwn(parent, 'isPrototypeOf');
}

/** Properties that were read. Inherits nothing; unlike an Object.create(null), V8 keeps it in fast mode. */
class Read {
  [key: string]: unknown;
}
Object.setPrototypeOf(Read.prototype, null);
Reflect.deleteProperty(Read.prototype, 'constructor');

const nothing = Object.freeze(new Read());

/**
 * Reads each property of a plain object once, so that the checked values are the values used. undefined stands for the
 * default; null is refused. If `known` is given, every other key is refused.
 */
export function readRecord(
  op: string,
  argument: string,
  value: unknown,
  known?: readonly string[],
): Record<string, unknown> {
  if (!isRecord(value)) reject(op, argument, 'an object', value);
  if (!isPlain(value)) reject(op, argument, 'a plain object, which inherits no options', value);
  const read = new Read();
  for (const key of Object.getOwnPropertyNames(value)) {
    if (known?.includes(key) === false) refuseKey(op, argument, key, known);
    const each = value[key];
    if (each === null) reject(op, `${argument}.${key}`, 'a value, or undefined for the default', each);
    if (each !== undefined) read[key] = each;
  }
  return read;
}

/** Values by name, as a plain object or as a Map. */
export type ByName<T> = Readonly<Record<string, T>> | ReadonlyMap<string, T>;

const { forEach } = Map.prototype;

/**
 * Values by name, of a plain object or a Map, each read once and in its order. A Map may come from another realm, be a
 * subclass or have other methods: its own entries count. The caller checks the values, of which any may be undefined.
 */
export function readNamed(op: string, argument: string, value: unknown): Map<string, unknown> {
  const read = new Map<string, unknown>();
  if (types.isMap(value)) {
    const add = (each: unknown, name: unknown): void => {
      if (typeof name !== 'string') reject(op, argument, 'names that are strings', name);
      read.set(name, each);
    };
    Reflect.apply(forEach, value, [add]);
    return read;
  }
  if (!isRecord(value)) reject(op, argument, 'an object or a Map', value);
  if (!isPlain(value)) reject(op, argument, 'a plain object or a Map', value);
  for (const name of Object.keys(value)) read.set(name, value[name]);
  return read;
}

function refuseKey(op: string, argument: string, key: string, known: readonly string[]): never {
  const meant = nearest(key, known);
  const names = meant === undefined ? known : [meant, ...known.filter((name) => name !== meant)];
  const hint = meant === undefined ? '' : `; did you mean '${meant}'?`;
  fail('INVALID_ARGUMENT', op, argument, `only the options ${names.join(', ')}`, `${describe(key)}${hint}`);
}

/** `readRecord` for options, which may be undefined as a whole. A misspelt option is refused. */
export function checkOptions<T extends object>(
  op: string,
  argument: string,
  value: T | undefined,
  known: readonly string[],
): T {
  return (value === undefined ? nothing : readRecord(op, argument, value, known)) as T;
}

/** Longest JavaScript array. */
const mostElements = 2 ** 32 - 1;

/** Reads the length of an array or array-like object, once. */
export function readLength(op: string, argument: string, list: unknown, expected: string): number {
  if (!isArray(list) && !isRecord(list)) reject(op, argument, expected, list);
  const { length } = list;
  if (typeof length !== 'number' || !Number.isInteger(length) || length < 0) reject(op, argument, expected, list);
  if (length > mostElements) reject(op, argument, `${expected}, at most 2^32 - 1 elements`, length);
  return length;
}

/** Reads each element of an array once. Refuses holes. */
export function readList(op: string, argument: string, value: unknown, expected: string): unknown[] {
  if (!isArray(value)) reject(op, argument, expected, value);
  const length = readLength(op, argument, value, expected);
  const read: unknown[] = [];
  for (let i = 0; i < length; i++) {
    if (!Object.hasOwn(value, i))
      fail('INVALID_ARGUMENT', op, `${argument}[${i}]`, 'an element', 'a hole in the array');
    read.push(value[i]);
  }
  return read;
}

/** Throws ABORTED, with the signal's reason as detail, if the signal has fired. */
export function checkSignal(op: string, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  if (typeof signal !== 'object' || signal === null || typeof signal.aborted !== 'boolean') {
    reject(op, 'signal', 'an AbortSignal', signal);
  }
  if (signal.aborted) throw new SigmaError('ABORTED', op, 'signal: the operation was aborted', signal.reason);
}
