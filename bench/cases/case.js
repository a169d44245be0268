// @ts-check
// What a benchmark case is. Cases are data and functions of a library that is handed in, so that one table of cases can
// measure any build.

import { place } from './arena.js';

/** @typedef {typeof import('sigmatune')} Library a build of the package */

/**
 * @typedef {object} Prepared a case with its inputs made
 * @property {() => void} [before] untimed, ahead of each call
 * @property {() => unknown | Promise<unknown>} call what is timed
 * @property {() => number | Promise<number>} error the distance of a result from a float64 reference, relative
 * @property {() => void} dispose
 */

/**
 * @typedef {object} Case
 * @property {string} name unique: suite, then what it does
 * @property {string} suite
 * @property {string} panel what is drawn in one plot of time over size
 * @property {string} series and as one line of it
 * @property {number} size
 * @property {Record<string, string | number>} parameters
 * @property {number} flops of the usual algorithm, which an implementation may undercut
 * @property {number} bytes that any implementation has to move: inputs once, outputs once
 * @property {number} bound the largest error that is right
 * @property {boolean} short whether it is part of the short gate
 * @property {number} [turn] ms of a turn in the gate, if it is longer than usual
 * @property {(library: Library) => Prepared | Promise<Prepared>} prepare throws where the library lacks what it needs
 */

/**
 * A tensor with given numbers, on cache lines.
 * @param {Library} library @param {ArrayLike<number>} numbers @param {readonly number[]} shape
 */
export function placedTensor(library, numbers, shape) {
  const memory = place(numbers.length);
  memory.set(numbers);
  return library.Tensor.wrap(memory, shape);
}

/** @param {Library} library @param {readonly number[]} shape */
export const placedZeros = (library, shape) =>
  placedTensor(library, new Float32Array(shape.reduce((product, length) => product * length, 1)), shape);

/**
 * @param {Library} library @param {import('./numbers.js').Numbers} random @param {readonly number[]} shape
 * @param {number} [scale]
 */
export function gaussianTensor(library, random, shape, scale) {
  const count = shape.reduce((product, length) => product * length, 1);
  return placedTensor(library, random.gaussian(count, scale), shape);
}

/** @param {...({ dispose(): void } | null | undefined)} things */
export function disposeAll(...things) {
  for (const thing of things) thing?.dispose();
}
