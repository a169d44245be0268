// @ts-check
// Sparse products by pattern, size and direction.
import { disposeAll, gaussianTensor, placedZeros } from './case.js';
import { numbers } from './numbers.js';
import { distance, times, timesSparse } from './probe.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('sigmatune').SparsityPattern} SparsityPattern */

/** @type {Readonly<Record<string, (library: Library, r: number) => SparsityPattern>>} */
export const patterns = {
  diagonal: ({ SparsityPattern }, r) => SparsityPattern.diagonal(r),
  'band 2': ({ SparsityPattern }, r) => SparsityPattern.banded(r, 2),
  'band 8': ({ SparsityPattern }, r) => SparsityPattern.banded(r, 8),
  'random 17': ({ SparsityPattern }, r) => SparsityPattern.random(r, { offDiagonals: 8 }, { seed: 1 }),
};

/** Entries without a library at hand: those of a band, which the random pattern matches. @type {Readonly<Record<string, number>>} */
const halfWidth = { diagonal: 0, 'band 2': 2, 'band 8': 8, 'random 17': 8 };

/** @param {string} pattern @param {number} r */
export function entriesOf(pattern, r) {
  const d = halfWidth[pattern];
  return r * (2 * d + 1) - d * (d + 1);
}

const sizes = /** @type {const} */ ([
  [128, 128],
  [256, 512],
  [768, 2048],
]);

const titles = { spmm: 'SpMM', 'spmm transposed': 'SpMM, transposed', sddmm: 'SDDMM' };

/** One direction: what is called, and how far its result is from the reference. */
/**
 * @param {Library} library @param {SparsityPattern} pattern @param {number} r @param {number} columns
 * @param {'spmm' | 'spmm transposed' | 'sddmm'} direction
 * @returns {import('./case.js').Prepared}
 */
function prepare(library, pattern, r, columns, direction) {
  const random = numbers(2);
  const [one, other] = [gaussianTensor(library, random, [r, columns]), gaussianTensor(library, random, [r, columns])];
  const values = gaussianTensor(library, random, [pattern.entries]);
  if (direction === 'sddmm') {
    const out = placedZeros(library, [pattern.entries]);
    return {
      call: () => library.sddmm(pattern, one, other, { out }),
      error: () => distance(library.sddmm(pattern, one, other, { out }).dataSync(), everyDot()),
      dispose: () => disposeAll(one, other, values, out),
    };
  }
  const transpose = direction === 'spmm transposed';
  const out = placedZeros(library, [r, columns]);
  return {
    call: () => library.spmm(pattern, values, one, { transpose, out }),
    error: () => {
      const z = random.signs(columns);
      const found = times(library.spmm(pattern, values, one, { transpose, out }).dataSync(), r, z);
      return distance(found, timesSparse(pattern, values.dataSync(), times(one.dataSync(), r, z), transpose));
    },
    dispose: () => disposeAll(one, other, values, out),
  };

  /** Every entry of the gradient, in float64. */
  function everyDot() {
    const [a, b] = [one.dataSync(), other.dataSync()];
    const dots = new Float64Array(pattern.entries);
    for (let i = 0; i < r; i++) {
      for (let p = pattern.rowPointers[i]; p < pattern.rowPointers[i + 1]; p++) {
        const j = pattern.columnIndices[p];
        for (let t = 0; t < columns; t++) dots[p] += a[i * columns + t] * b[j * columns + t];
      }
    }
    return dots;
  }
}

/** @type {readonly Case[]} */
export const cases = Object.keys(patterns).flatMap((pattern) =>
  sizes.flatMap(([r, columns]) =>
    /** @type {const} */ (['spmm', 'spmm transposed', 'sddmm']).map((direction) => ({
      name: `sparse ${direction}, ${pattern}, ${r} × ${columns}`,
      suite: 'sparse',
      panel: `${titles[direction]}, by numbers in the dense matrix`,
      series: pattern,
      size: r * columns,
      parameters: { direction, pattern, r, columns },
      flops: 2 * entriesOf(pattern, r) * columns,
      // Values and column indices, and two dense matrices: one read and one written, or both read.
      bytes: 4 * (2 * r * columns + 2 * entriesOf(pattern, r)),
      bound: 1e-6,
      short: r === 256 && direction !== 'spmm transposed' && pattern !== 'band 2',
      prepare: (/** @type {Library} */ library) =>
        prepare(library, patterns[pattern](library, r), r, columns, direction),
    })),
  ),
);
