// @ts-check
import { parseArgs } from 'node:util';
import { UsageError } from '../usage.js';

/** @typedef {{ type: 'string' | 'boolean', default?: string | boolean, multiple?: boolean }} Option */

/**
 * parseArgs, whose complaints are the user's to mend.
 * @template {Record<string, Option>} T
 * @param {readonly string[]} args @param {T} options
 * @returns {{ positionals: string[], values: { [K in keyof T]: T[K] extends { type: 'boolean' } ? boolean : T[K] extends { multiple: true } ? string[] : T[K] extends { default: string } ? string : string | undefined } }}
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
export function readInteger(name, text, { least = 0, most = 2 ** 31 } = {}) {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`--${name}: expected a whole number from ${least} on, ${most} at most, got '${text}'`);
}

/** @param {string} name @param {string} text */
export function readPositive(name, text) {
  const value = Number(text);
  if (value >= 1e-6 && value <= 1e9) return value;
  throw new UsageError(`--${name}: expected a number from 1e-6 to 1e9, got '${text}'`);
}

/** @param {string} command @param {readonly string[]} given @param {number} wanted @param {string} what */
export function checkCount(command, given, wanted, what) {
  if (given.length === wanted) return;
  throw new UsageError(`${command}: expected ${what}, got ${given.length === 0 ? 'nothing' : given.join(' ')}`);
}
