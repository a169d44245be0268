import { isArray, reject } from '../runtime/check.js';

/** The dimensions of a row-major tensor, each at least 1; the first is 0 for a batch of no rows. */
export type Shape = readonly number[];
export type VectorShape = readonly [length: number];
export type MatrixShape = readonly [rows: number, columns: number];
export type StackShape = readonly [batch: number, rows: number, columns: number];

/** Highest rank. Also ends the recursion into an array that contains itself. */
export const mostDimensions = 32;

/**
 * A frozen copy of a shape: positive integers, each read once, with a product that float64 holds exactly. The first of
 * several may be 0 if `empty` says so.
 */
export function readShape<S extends Shape>(op: string, given: S, empty = false, argument = 'shape'): S {
  if (!isArray(given)) reject(op, argument, 'an array of positive integers', given);
  const { length } = given;
  if (!(length <= mostDimensions)) reject(op, argument, `at most ${mostDimensions} dimensions`, length);
  const shape: number[] = [];
  let size = 1;
  for (let i = 0; i < length; i++) {
    const n: unknown = given[i];
    if (typeof n !== 'number' || !Number.isInteger(n) || n < (empty && i === 0 && length > 1 ? 0 : 1))
      refuse(op, argument, shape, n);
    shape.push(n);
    size *= n;
  }
  if (size > Number.MAX_SAFE_INTEGER) reject(op, argument, 'fewer than 2^53 elements', shape);
  return Object.freeze(shape) as readonly number[] as S;
}

function refuse(op: string, argument: string, before: readonly number[], n: unknown): never {
  reject(op, argument, 'an array of positive integers', [...before, n]);
}

/** The number of elements of a shape from `readShape`. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (let i = 0; i < shape.length; i++) size *= shape[i] as number;
  return size;
}
