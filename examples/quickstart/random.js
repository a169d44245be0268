// @ts-check
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** @typedef {import('pure-rand/types/RandomGenerator').RandomGenerator} Generator */

/**
 * The same seed gives the same numbers on every machine, which Math.random cannot.
 * @param {number} seed
 * @returns {Generator}
 */
export const seeded = (seed) => xoroshiro128plus(seed);

/**
 * `length` numbers from [-bound, bound).
 * @param {Generator} generator
 * @param {number} length
 * @param {number} bound
 */
export function uniform(generator, length, bound) {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = bound * (2 * uniformFloat32(generator) - 1);
  return values;
}

/**
 * The numbers 0 … length - 1 in random order (Fisher and Yates).
 * @param {Generator} generator
 * @param {number} length
 */
export function permutation(generator, length) {
  const order = Int32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = uniformInt(generator, 0, i);
    const swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  return order;
}
