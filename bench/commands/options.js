// @ts-check
import { parseArgs } from 'node:util';
import { UsageError } from '../usage.js';

/**
 * parseArgs, whose complaints are the user's to mend.
 * @template {Record<string, { type: 'string' | 'boolean', default?: string | boolean }>} T
 * @param {readonly string[]} args @param {T} options
 * @returns {{ positionals: string[], values: { [K in keyof T]: T[K] extends { type: 'boolean' } ? boolean : T[K] extends { default: string } ? string : string | undefined } }}
 */
export function readArguments(args, options) {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    return { positionals, values: /** @type {never} */ (values) };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** @param {string} name @param {string} text @param {{ least?: number, most?: number }} [range] */
export function readInteger(name, text, { least = 0, most = Number.MAX_SAFE_INTEGER } = {}) {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`--${name}: expected a whole number from ${least} on, got '${text}'`);
}

/** @param {string} name @param {string} text */
export function readPositive(name, text) {
  const value = Number(text);
  if (value > 0 && value < Infinity) return value;
  throw new UsageError(`--${name}: expected a number above 0, got '${text}'`);
}

/** @param {string} command @param {readonly string[]} given @param {number} wanted @param {string} what */
export function checkCount(command, given, wanted, what) {
  if (given.length === wanted) return;
  throw new UsageError(`${command}: expected ${what}, got ${given.length === 0 ? 'nothing' : given.join(' ')}`);
}
