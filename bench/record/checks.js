// @ts-check
// What the fields of a kept file may hold. A file may come from any source, so everything in it is bounded: texts,
// lists, and numbers, which must not overflow when they are multiplied, divided or drawn.
import { UsageError } from '../usage.js';
import { isPlain } from './text.js';

/** @typedef {(value: unknown, path: string) => void} Check throws a Misfit */

/** The most of each that a file may hold. */
export const most = { cases: 5000, processes: 100, samples: 1000, rounds: 100, blocks: 1000, characters: 1000 };

class Misfit extends Error {}

/** @param {unknown} value */
function shown(value) {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 60));
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** @param {string} what @param {(value: unknown) => boolean} holds @returns {Check} */
export const expect = (what, holds) => (value, path) => {
  if (!holds(value)) throw new Misfit(`${path}: expected ${what}, got ${shown(value)}`);
};

/** @param {...Check} checks @returns {Check} */
export const all =
  (...checks) =>
  (value, path) => {
    for (const check of checks) check(value, path);
  };

/** @param {Check} check @param {unknown} other @returns {Check} */
export const or = (check, other) => (value, path) => {
  if (value !== other) check(value, path);
};

/** @param {number} least @param {number} most */
const between = (least, most) => (/** @type {unknown} */ value) =>
  typeof value === 'number' && value >= least && value <= most;

const printed = expect(
  `at most ${most.characters} characters, none of them a control character`,
  (value) => typeof value === 'string' && value.length <= most.characters && isPlain(value),
);
export const anyText = all(
  expect('a text', (value) => typeof value === 'string'),
  printed,
);
export const text = all(
  expect('a text', (value) => typeof value === 'string' && value !== ''),
  printed,
);
export const textOrNull = or(anyText, null);
export const positive = expect('a number above 0 (1e-30 to 1e30)', between(1e-30, 1e30));
export const notNegative = expect('a number from 0 on (up to 1e30)', between(0, 1e30));
/** Of a ratio of two positive numbers. */
export const logarithm = expect('the logarithm of a ratio (-140 to 140)', between(-140, 140));
export const truth = expect('true or false', (value) => typeof value === 'boolean');
export const date = expect(
  'a date in ISO form',
  (value) =>
    typeof value === 'string' &&
    /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/.test(value) &&
    !Number.isNaN(Date.parse(value)),
);
/** JSON has no Infinity: null is an error beyond all bounds, or one that was not taken. */
export const errorOrNull = or(expect('a number from 0 on, or null', between(0, Number.MAX_VALUE)), null);

/** @param {readonly string[]} words @returns {Check} */
export const oneOf = (...words) =>
  expect(`'${words.join("' or '")}'`, (value) => typeof value === 'string' && words.includes(value));

/** @param {Check} each @param {number} least @param {number} most @returns {Check} */
export const listOf = (each, least, most) => (value, path) => {
  expect(`a list of at least ${least}`, (list) => Array.isArray(list) && list.length >= least)(value, path);
  expect(`a list of at most ${most}`, (list) => Array.isArray(list) && list.length <= most)(value, path);
  for (const [i, item] of /** @type {unknown[]} */ (value).entries()) each(item, `${path}[${i}]`);
};

/** Cases are matched by their names. @type {Check} */
export const namesDiffer = (value, path) => {
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const [i, { name }] of /** @type {{ name: string }[]} */ (value).entries()) {
    const other = seen.get(name);
    if (other !== undefined) {
      throw new Misfit(
        `${path}[${i}].name: expected a name of its own, got ${shown(name)}, which ${path}[${other}] has`,
      );
    }
    seen.set(name, i);
  }
};

/** Fields beyond the named ones are let through: a later program may write more. @param {Record<string, Check>} fields @returns {Check} */
export const object = (fields) => (value, path) => {
  expect('an object', (each) => typeof each === 'object' && each !== null && !Array.isArray(each))(value, path);
  const given = /** @type {Record<string, unknown>} */ (value);
  for (const [name, check] of Object.entries(fields)) {
    check(Object.hasOwn(given, name) ? given[name] : undefined, path === '' ? name : `${path}.${name}`);
  }
};

/** An object whose names are anyone's, each with such a value. @param {Check} each @returns {Check} */
export const listOfNamed = (each) => (value, path) => {
  object({})(value, path);
  for (const [name, item] of Object.entries(/** @type {object} */ (value))) each(item, `${path}.${name}`);
};

/** What keeps a value from being what a check expects; undefined if nothing does. @param {Check} check @param {unknown} value */
export function misfit(check, value) {
  try {
    check(value, '');
    return undefined;
  } catch (error) {
    if (error instanceof Misfit) return error.message;
    throw error;
  }
}

/** @param {string} file @param {string} json @returns {unknown} */
export function parse(file, json) {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new UsageError(`${file}: not JSON, or cut short (${error instanceof Error ? error.message : error})`);
  }
}

/** The schema that a parsed file names. @param {unknown} parsed */
export const schemaOf = (parsed) =>
  typeof parsed === 'object' && parsed !== null && Object.hasOwn(parsed, 'schema')
    ? /** @type {{ schema: unknown }} */ (parsed).schema
    : undefined;

/**
 * What a parsed file holds, or a UsageError that says where it departs from its schema.
 * @template T
 * @param {string} file @param {unknown} parsed @param {{ version: number, check: Check }} schema
 * @returns {T}
 */
export function checked(file, parsed, { version, check }) {
  const given = /** @type {{ version: unknown }} */ (parsed);
  if (given.version !== version) {
    throw new UsageError(`${file}: has version ${shown(given.version)} of the schema, this program reads ${version}`);
  }
  const fault = misfit(check, parsed);
  if (fault !== undefined) throw new UsageError(`${file}: ${fault}`);
  return /** @type {T} */ (parsed);
}
