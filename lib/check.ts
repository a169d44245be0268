import { types } from 'node:util';
import { type ErrorCode, SigmaError } from './errors.js';

/** A value, short enough for a message. */
export function describe(value: unknown, depth = 0): string {
  if (typeof value === 'string') return value.length > 40 ? `'${value.slice(0, 40)}…'` : `'${value}'`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol' || typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) {
    if (value.length > 8 || depth > 0) return `an array of ${value.length}`;
    return `[${value.map((each) => describe(each, depth + 1)).join(', ')}]`;
  }
  if (types.isProxy(value)) return 'a Proxy (give the object behind it: in Vue, toRaw(value))';
  if (typeof value === 'object' && value !== null) {
    const name = value.constructor?.name;
    if (name === 'Promise') return 'a Promise, which is still to be awaited';
    if (!name || name === 'Object') return 'an object';
    const article = /^[AEIOU]/.test(name) ? 'an' : 'a';
    const made = Object.hasOwn(Object.getPrototypeOf(value) ?? value, 'constructor');
    return made ? `${article} ${name}` : `an object that inherits from ${article} ${name} (give that one itself)`;
  }
  return String(value);
}

/** The one form of a complaint: what it is about, what was expected, what came. */
export function fail(code: ErrorCode, op: string, argument: string, expected: string, got: string): never {
  throw new SigmaError(code, op, `${argument}: expected ${expected}, got ${got}`);
}

/** INVALID_ARGUMENT where the value itself is what came. */
export function reject(op: string, argument: string, expected: string, value: unknown): never {
  fail('INVALID_ARGUMENT', op, argument, expected, describe(value));
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
    reject(op, argument, `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, value);
  }
  return value as T;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Promise);
}

/** Options must be an object without unknown keys: a misspelt option is never ignored. Returns {} for undefined. */
export function checkOptions<T extends object>(
  op: string,
  argument: string,
  value: T | undefined,
  known: readonly string[],
): T {
  if (value === undefined) return {} as T;
  if (!isRecord(value)) reject(op, argument, 'an object', value);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw new SigmaError(
        'INVALID_ARGUMENT',
        op,
        `${argument}: expected only the options ${known.join(', ')}, got '${key}'`,
      );
    }
  }
  return value;
}

/** ABORTED, with the signal's reason as detail, where it has fired. */
export function checkSignal(op: string, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  if (typeof signal !== 'object' || signal === null || typeof signal.aborted !== 'boolean') {
    reject(op, 'signal', 'an AbortSignal', signal);
  }
  if (signal.aborted) throw new SigmaError('ABORTED', op, 'signal: the operation was aborted', signal.reason);
}
