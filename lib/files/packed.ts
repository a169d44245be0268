// Plain data as JSON and arrays: typed arrays, and long lists of numbers, are kept apart with their bits.
import { describe, fail, isArray, isRecord } from '../runtime/check.js';
import type { NumericArray } from '../runtime/native.js';
import { dtypeOf } from '../tensor/dtype.js';
import { plainView } from '../tensor/typed-array.js';

/** From this length on, an array of numbers is kept apart. */
const longFrom = 64;
/** More values, apart from those kept in arrays, are refused: a reader has its limits. */
const mostValues = 500_000;
const deepest = 32;

const kinds = { float32: Float32Array, float64: Float64Array, int32: Int32Array } as const;

/** What JSON cannot say is an object with one key that begins with '$'. Own objects with such a key are written as pairs. */
type Special =
  | { readonly $number: string }
  | { readonly $array: keyof typeof kinds; readonly length: number; readonly list: boolean; readonly key: string }
  | { readonly $pairs: readonly (readonly [string, unknown])[] };

/** Packs plain data. `keep` takes an array and says under which key it will be found. */
export function pack(op: string, argument: string, value: unknown, keep: (array: NumericArray) => string): unknown {
  let count = 0;
  const array = (numbers: NumericArray, kind: keyof typeof kinds, list: boolean): Special => {
    const { length } = numbers;
    return { $array: kind, length, list, key: length === 0 ? '' : keep(numbers) };
  };
  const visit = (path: string, each: unknown, depth: number): unknown => {
    const refuse = (expected: string): never => fail('INVALID_ARGUMENT', op, path, expected, describe(each));
    if (depth > deepest) refuse(`at most ${deepest} levels of nesting`);
    if (++count > mostValues) fail('INVALID_ARGUMENT', op, argument, `at most ${mostValues} values`, 'more');
    if (each === null || typeof each === 'string' || typeof each === 'boolean') return each;
    if (typeof each === 'number') {
      return Number.isFinite(each) && !Object.is(each, -0)
        ? each
        : ({ $number: Object.is(each, -0) ? '-0' : `${each}` } satisfies Special);
    }
    if (ArrayBuffer.isView(each)) {
      const kind = dtypeOf(each);
      if (kind === undefined) return refuse('a Float32Array, Float64Array or Int32Array');
      return array(plainView(each as never) as NumericArray, kind as keyof typeof kinds, false);
    }
    if (isArray(each)) {
      const list = Array.from(each);
      if (list.length >= longFrom && list.every((number) => typeof number === 'number'))
        return array(Float64Array.from(list), 'float64', true);
      return list.map((element, i) => visit(`${path}[${i}]`, element, depth + 1));
    }
    if (!isRecord(each) || ![Object.prototype, null].includes(Object.getPrototypeOf(each))) return refuse('plain data');
    const entries = Object.entries(each).filter(([, property]) => property !== undefined);
    const pairs = entries.map(([key, property]) => [key, visit(`${path}.${key}`, property, depth + 1)] as const);
    return pairs.some(([key]) => key.startsWith('$'))
      ? ({ $pairs: pairs } satisfies Special)
      : Object.fromEntries(pairs);
  };
  return visit(argument, value, 0);
}

/** The opposite. `find` gives the array of a key; `broken` throws. */
export function unpack(
  packed: unknown,
  find: (key: string) => NumericArray | undefined,
  broken: (expected: string, got: string) => never,
): unknown {
  const visit = (each: unknown): unknown => {
    if (isArray(each)) return each.map(visit);
    if (!isRecord(each)) return each;
    if (Object.hasOwn(each, '$number')) return Number(each['$number']);
    if (Object.hasOwn(each, '$array')) return arrayOf(each);
    if (Object.hasOwn(each, '$pairs')) {
      const pairs = each['$pairs'];
      const right =
        isArray(pairs) && pairs.every((pair) => isArray(pair) && pair.length === 2 && typeof pair[0] === 'string');
      if (!right) broken('pairs of a key and a value', describe(pairs));
      return Object.fromEntries((pairs as [string, unknown][]).map(([key, value]) => [key, visit(value)]));
    }
    return Object.fromEntries(Object.entries(each).map(([key, value]) => [key, visit(value)]));
  };
  const arrayOf = ({ $array: kind, length, list, key }: Record<string, unknown>): unknown => {
    if (typeof kind !== 'string' || !Object.hasOwn(kinds, kind))
      return broken(`a type of ${Object.keys(kinds).join(', ')}`, describe(kind));
    const numbers = length === 0 ? new kinds[kind as keyof typeof kinds]() : find(String(key));
    if (numbers?.length !== length || dtypeOf(numbers) !== kind)
      return broken(`an array of ${describe(length)} ${kind} numbers`, describe(numbers));
    return list === true ? Array.from(numbers as NumericArray) : numbers;
  };
  return visit(packed);
}
