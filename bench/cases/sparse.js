// @ts-check
// Sparse products by pattern, size and direction.
import { distance, times, view } from '../reference/dense.js';
import { sddmm, timesSparse } from '../reference/sparse.js';
import { whereWords } from './case.js';
import { patterns } from './families.js';
import { disposeAll, numbersOf, Operands, Shared, width } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {'spmm' | 'spmm transposed' | 'sddmm'} Direction */
/** @typedef {{ direction: Direction, pattern: string, r: number, columns: number } & import('./operands.js').Where} Sparse */

const titles = { spmm: 'SpMM', 'spmm transposed': 'SpMM, transposed', sddmm: 'SDDMM' };

/** @type {readonly Direction[]} */
export const directions = ['spmm', 'spmm transposed', 'sddmm'];

/** The largest right error. Of bfloat16 only results are rounded, which a gradient's are not. @param {Sparse} given */
function boundOf({ direction, device = 'cpu', dtype = 'float32' }) {
  if (dtype === 'bfloat16' && direction !== 'sddmm') return 1e-2;
  return device === 'cpu' ? 1e-6 : 5e-6; // a card's sums are longer, since its shapes are larger
}

/**
 * @param {import('./case.js').Library} library @param {Sparse} given @param {Shared} [group]
 * @returns {import('./case.js').Prepared}
 */
function prepare(library, given, group) {
  const { direction, r, columns } = given;
  const shared = group ?? new Shared();
  const { operands, pattern, ones, others, values, outs, gradient } = shared.get(`sparse ${given.pattern}`, () => {
    const operands = new Operands(library, 2, given);
    const pattern = patterns[given.pattern].make(library, r);
    const [one, other] = [operands.gaussian([r, columns]), operands.gaussian([r, columns])];
    const [ones, others] = [operands.ring(one), operands.ring(other)];
    const values = operands.gaussian([pattern.entries], 1, operands.real);
    const outs = ones.map(() => operands.zeros([r, columns]));
    const gradient = operands.zeros([pattern.entries], operands.real);
    const dispose = () => disposeAll(ones, others, values, outs, gradient);
    return { operands, pattern, ones, others, values, outs, gradient, dispose };
  });
  const at = (/** @type {readonly any[]} */ ring, /** @type {number} */ i) => ring[i % ring.length];
  const dispose = () => {
    if (!group) shared.dispose();
  };
  const matrix = (/** @type {import('sigmatune').Tensor} */ tensor) => view(r, columns, numbersOf(tensor));
  if (direction === 'sddmm') {
    const call = (i = 0) => library.sddmm(pattern, at(ones, i), at(others, i), { out: /** @type {any} */ (gradient) });
    return {
      call,
      error: () => distance(numbersOf(call()), sddmm(pattern, matrix(ones[0]), matrix(others[0]))),
      outputs: () => [library.sddmm(pattern, at(ones, 0), at(others, 0))],
      dispose,
    };
  }
  const transpose = direction === 'spmm transposed';
  const call = (i = 0) => library.spmm(pattern, at([values], 0), at(ones, i), { transpose, out: at(outs, i) });
  return {
    call,
    error: () => {
      const z = operands.random.signs(columns);
      const found = times(matrix(call()), z);
      return distance(found, timesSparse(pattern, numbersOf(values), times(matrix(ones[0]), z), transpose));
    },
    outputs: () => [library.spmm(pattern, at([values], 0), at(ones, 0), { transpose })],
    dispose,
  };
}

/** @param {Sparse} given @returns {Case} */
export function sparseCase(given) {
  const { direction, pattern, r, columns, dtype = 'float32' } = given;
  const entries = patterns[pattern].entries(r);
  return {
    name: `sparse ${direction}, ${pattern}, ${r} × ${columns}${whereWords(given)}`,
    suite: 'sparse',
    panel: `${titles[direction]}, by numbers in the dense matrix`,
    series: pattern,
    size: r * columns,
    parameters: { direction, pattern, r, columns },
    flops: 2 * entries * columns,
    // Two dense matrices: one read and one written, or both read. Values and column indices.
    bytes: 2 * r * columns * width(dtype) + 8 * entries,
    bound: boundOf(given),
    prepare: (library, group) => prepare(library, given, group),
  };
}

const sizes = /** @type {const} */ ([
  [128, 128],
  [256, 512],
  [768, 2048],
]);

/** @type {readonly Case[]} */
const wide = ['diagonal', 'band 2', 'band 8', 'random 17'].flatMap((pattern) =>
  sizes.flatMap(([r, columns]) =>
    directions.map((direction) => ({
      ...sparseCase({ direction, pattern, r, columns }),
      short: r === 256 && direction !== 'spmm transposed' && pattern !== 'band 2',
    })),
  ),
);

/** Of 16 bits, whose kernels widen. @type {readonly Case[]} */
const narrow = ['band 8', 'random 17'].flatMap((pattern) =>
  directions.map((direction) => ({
    ...sparseCase({ direction, pattern, r: 256, columns: 512, dtype: 'bfloat16' }),
    short: direction !== 'spmm transposed',
  })),
);

export const cases = [...wide, ...narrow];
