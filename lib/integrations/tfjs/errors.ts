import { type ErrorCode, SigmaError } from '../../index.js';

export function fail(code: ErrorCode, op: string, argument: string, expected: string, got: string): never {
  throw new SigmaError(code, op, `${argument}: expected ${expected}, got ${got}`);
}

/** What a value is, for a message. */
export function called(value: unknown): string {
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? 'a function' : String(value);
  return `an object of class ${value.constructor?.name ?? 'null'}`;
}
