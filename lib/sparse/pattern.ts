import {
  type ByName,
  checkBoolean,
  checkInteger,
  checkOptions,
  describe,
  fail,
  isRecord,
  readNamed,
  reject,
} from '../runtime/check.js';
import { native, type PatternHandle, type RealArray } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { atOnce, type Work } from '../runtime/slices.js';
import type { MatrixShape } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { alignments, largest } from './alignment.js';
import { type Band, bandedCells, bandedEntries, readBand } from './banded.js';
import { type Cells, coordinateCells, numberedCoordinates, readIndices } from './coordinates.js';
import { readScores, sharedBudget } from './gradient-cells.js';
import { type RandomOptions, randomCells } from './random-cells.js';

/** Number of entries: given directly, or as that of a band. `offDiagonals: d` means d off-diagonals on each side. */
export type PatternSize = { offDiagonals: number | Band } | { entries: number };

/** Key of the private constructor. */
const made = Symbol();

const described = { name: 'SparsityPattern', instead: 'rows and columns for SparsityPattern.fromCoordinates' };
const cloning = uncloneable(described);

/**
 * The sparsity pattern of M: an immutable CSR structure on the r x r core. Make one with `diagonal`, `banded`,
 * `random`, `topK`, `fromGradient` or `fromCoordinates`. The getters return copies, made on the first read; writing a copy does not
 * change the pattern.
 *
 * @example
 * const pattern = SparsityPattern.banded(768, 2);
 * const layer = await svft(weight, { pattern });
 */
export class SparsityPattern {
  static {
    publish(SparsityPattern, {
      ...described,
      isOwn: (value) => #handle in value,
      print: ({ kind, shape, entries }) => `SparsityPattern ${kind}, [${shape.join(', ')}], ${entries} entries`,
    });
  }

  readonly kind: 'diagonal' | 'banded' | 'csr';
  readonly shape: MatrixShape;
  readonly entries: number;
  /** @internal */
  readonly cloning = cloning;
  readonly #handle: PatternHandle;
  readonly #cells: Cells;
  /** The copies that the getters have returned. */
  readonly #shown: { -readonly [name in keyof Cells]?: Cells[name] } = {};

  private constructor(key: typeof made, op: string, kind: 'diagonal' | 'banded' | 'csr', r: number, cells: Cells) {
    if (key !== made) {
      const expected = 'a call of SparsityPattern.banded(…) or another static method instead';
      reject('SparsityPattern', 'new SparsityPattern', expected, key);
    }
    this.kind = kind;
    this.shape = Object.freeze([r, r] as const);
    this.entries = cells.columnIndices.length;
    this.#cells = cells;
    this.#handle = native.pattern(op, cells.rowPointers, cells.columnIndices);
    Object.freeze(this);
  }

  /** [r + 1]: row i has the entries rowPointers[i] to rowPointers[i + 1] − 1. A copy. */
  get rowPointers(): Int32Array {
    this.#shown.rowPointers ??= this.#cells.rowPointers.slice();
    return this.#shown.rowPointers;
  }

  /** [entries], ascending within a row. A copy. */
  get columnIndices(): Int32Array {
    this.#shown.columnIndices ??= this.#cells.columnIndices.slice();
    return this.#shown.columnIndices;
  }

  /** [entries], only from `fromCoordinates`: slots[p] is the CSR slot of coordinate p. A copy. */
  get slots(): Int32Array | undefined {
    if (this.#cells.slots !== undefined) this.#shown.slots ??= this.#cells.slots.slice();
    return this.#shown.slots;
  }

  /** @internal Whether this copy of the package made a pattern. false for an object that only inherits from one. */
  static is(value: unknown): value is SparsityPattern {
    return typeof value === 'object' && value !== null && #handle in value;
  }

  /** @internal The structure itself; do not hand it to the caller. */
  get cells(): Cells {
    return this.#cells;
  }

  /** @internal */
  get handle(): PatternHandle {
    return this.#handle;
  }

  /**
   * The diagonal entries (i, i): SVFT's "plain".
   *
   * @throws SigmaError INVALID_ARGUMENT
   * @example
   * SparsityPattern.diagonal(768).entries; // 768
   */
  static diagonal(r: number): SparsityPattern {
    const op = 'SparsityPattern.diagonal';
    checkInteger(op, 'r', r, 1);
    return new SparsityPattern(made, op, 'diagonal', r, bandedCells(op, r, { lower: 0, upper: 0 }));
  }

  /**
   * The entries (i, j) with −lower ≤ j − i ≤ upper: SVFT's "banded". A number stands for both sides. A band wider than
   * the core is clipped to the core.
   *
   * @throws SigmaError INVALID_ARGUMENT
   * @example
   * SparsityPattern.banded(768, 2).entries; // 3834 = 768 · 5 − 2 · 3
   * SparsityPattern.banded(768, { lower: 0, upper: 1 }).entries; // 1535
   */
  static banded(r: number, offDiagonals: number | Band): SparsityPattern {
    const op = 'SparsityPattern.banded';
    checkInteger(op, 'r', r, 1);
    return new SparsityPattern(made, op, 'banded', r, bandedCells(op, r, readBand(op, 'offDiagonals', offDiagonals)));
  }

  /**
   * Entries drawn uniformly at random: SVFT's "random". One seed gives the same entries on every platform. By default
   * the entries are distinct. With `replacement` a cell may be drawn twice and then has two parameters, as in the SVFT
   * reference code. `{ offDiagonals: d }` gives as many entries as `banded(r, d)`.
   *
   * @throws SigmaError INVALID_ARGUMENT, also for more distinct entries than the core has cells
   * @example
   * SparsityPattern.random(768, { entries: 4096 }, { seed: 1, includeDiagonal: true });
   */
  static random(r: number, size: PatternSize, options: RandomOptions): SparsityPattern {
    const op = 'SparsityPattern.random';
    checkInteger(op, 'r', r, 1);
    return atOnce(SparsityPattern.drawing(op, r, entriesOf(r, readSize(op, size)), options));
  }

  /** @internal `random` of `count` entries, as a generator. */
  static *drawing(op: string, r: number, count: number, options: RandomOptions): Work<SparsityPattern> {
    return yield* SparsityPattern.#numbered(op, yield* randomCells(op, r, count, options), r);
  }

  /**
   * The entries (i, j) with the largest alignment |u_iᵀ v_j| of singular vectors: SVFT's "Top-k". With `absolute:
   * false` the signed value counts. The weight must be square.
   *
   * @param u [n, r], float32 or float64
   * @param vt [r, n], the type and device of u
   * @throws SigmaError SHAPE_MISMATCH for a rectangular weight, for which u_iᵀ v_j is undefined; INVALID_ARGUMENT,
   * DTYPE_MISMATCH, DEVICE_MISMATCH, NON_FINITE, DISPOSED
   * @example
   * const { u, vt } = await svd(weight);
   * SparsityPattern.topK(u, vt, { offDiagonals: 8 });
   */
  static topK(u: TensorLike, vt: TensorLike, size: PatternSize, options?: { absolute?: boolean }): SparsityPattern {
    const op = 'SparsityPattern.topK';
    const given = readSize(op, size);
    const { r, scores, absolute } = alignments(op, u, vt, options);
    return atOnce(SparsityPattern.ranking(op, scores, r, entriesOf(r, given), absolute));
  }

  /**
   * The entries where the gradient of the core is largest in magnitude: where a sparse M would reduce the loss fastest.
   * Other than `topK` it serves rectangular weights too. With `includeDiagonal` the whole diagonal is taken, and the
   * scores choose the other entries.
   *
   * @param scores [r, r], float32 or float64, from `coreGradient`: a sum over a few batches. Any other scores will do
   * @throws SigmaError INVALID_ARGUMENT, also for more entries than the core has cells; SHAPE_MISMATCH, DTYPE_MISMATCH,
   * NON_FINITE if a score is NaN, DISPOSED
   * @example
   * const scores = coreGradient(layer, x, dy);
   * const pattern = SparsityPattern.fromGradient(scores, { offDiagonals: 8 });
   */
  static fromGradient(scores: TensorLike, size: PatternSize, options?: { includeDiagonal?: boolean }): SparsityPattern {
    const op = 'SparsityPattern.fromGradient';
    const given = readSize(op, size);
    const { includeDiagonal = false } = checkOptions(op, 'options', options, ['includeDiagonal']);
    const diagonal = checkBoolean(op, 'options.includeDiagonal', includeDiagonal);
    const { r, numbers } = readScores(op, 'scores', scores);
    const count = entriesOf(r, given);
    if (!diagonal) return atOnce(SparsityPattern.ranking(op, numbers, r, count, true));
    if (count < r) reject(op, 'size', `at least the ${r} entries of the diagonal`, count);
    const ranked = numbers.slice();
    for (let i = 0; i < r; i++) ranked[i * r + i] = Number.POSITIVE_INFINITY;
    return atOnce(SparsityPattern.ranking(op, ranked, r, count, true));
  }

  /**
   * One budget of entries for several layers: the `entries` largest scores of all layers together. Each layer gets
   * `least` entries at least (default 1), its own largest.
   *
   * @param scores by the layer's name, as for `fromGradient`. Scores are compared between layers as they are: divide
   * them first if your layers should compete otherwise
   * @returns a pattern for each name
   * @throws SigmaError as `fromGradient`; the message names the layer
   * @example
   * const patterns = SparsityPattern.fromGradients({ q: scoresOfQ, v: scoresOfV }, { entries: 8192 });
   */
  static fromGradients(
    scores: ByName<TensorLike>,
    size: { entries: number },
    options?: { least?: number },
  ): Record<string, SparsityPattern> {
    const op = 'SparsityPattern.fromGradients';
    const named = readNamed(op, 'scores', scores);
    if (named.size === 0) reject(op, 'scores', 'the scores of one layer or more', scores);
    const { entries } = checkOptions(op, 'size', size, ['entries']);
    const { least = 1 } = checkOptions(op, 'options', options, ['least']);
    const given = [...named].map(([name, each]) => ({ name, ...readScores(op, `scores['${name}']`, each) }));
    const chosen = sharedBudget(op, given, checkInteger(op, 'size.entries', entries, 1), least);
    const patterns = given.map(({ name, r }, at) => {
      return [name, SparsityPattern.ofCells(op, chosen[at] as Float64Array, r)] as const;
    });
    return Object.fromEntries(patterns);
  }

  /** @internal A pattern of cells that are numbered in row-major order, ascending. */
  static ofCells(op: string, cells: Float64Array, r: number): SparsityPattern {
    return atOnce(SparsityPattern.#numbered(op, cells, r));
  }

  /** @internal The `count` cells with the largest scores (r, r), as a generator. Ties go to the first. */
  static *ranking(op: string, scores: RealArray, r: number, count: number, absolute: boolean): Work<SparsityPattern> {
    if (count > r * r) reject(op, 'size', `at most ${r * r} entries`, count);
    return yield* SparsityPattern.#numbered(op, yield* largest(op, scores, count, absolute), r);
  }

  /** A pattern of cells that are numbered in row-major order. */
  static *#numbered(op: string, cells: Float64Array, r: number): Work<SparsityPattern> {
    const { rowPointers, columnIndices } = yield* coordinateCells(op, yield* numberedCoordinates(op, cells, r), r);
    return new SparsityPattern(made, op, 'csr', r, { rowPointers, columnIndices, slots: undefined });
  }

  /**
   * The entries (rows[p], columns[p]), in any order. Each duplicate keeps its own slot (parameter), and the values of
   * duplicates sum in the product, as in the SVFT reference code. `slots` is a permutation: slots[p] is the CSR slot of
   * coordinate p.
   *
   * @throws SigmaError INVALID_ARGUMENT for an index outside 0 to r − 1, SHAPE_MISMATCH for lists of different lengths
   * @example
   * const pattern = SparsityPattern.fromCoordinates([1, 0], [0, 2], 3);
   * pattern.slots; // [1, 0]: the second coordinate comes first in CSR order
   */
  static fromCoordinates(rows: ArrayLike<number>, columns: ArrayLike<number>, r: number): SparsityPattern {
    const op = 'SparsityPattern.fromCoordinates';
    checkInteger(op, 'r', r, 1);
    const i = readIndices(op, 'rows', rows, r);
    const j = readIndices(op, 'columns', columns, r);
    if (i.length !== j.length) {
      fail('SHAPE_MISMATCH', op, 'columns', `${i.length} indices, as rows has`, describe(j.length));
    }
    return new SparsityPattern(made, op, 'csr', r, atOnce(coordinateCells(op, { rows: i, columns: j }, r)));
  }
}

type Size = { readonly band: Band } | { readonly entries: number };

function readSize(op: string, size: PatternSize): Size {
  if (!isRecord(size)) reject(op, 'size', '{ offDiagonals } or { entries }', size);
  const { entries, offDiagonals } = checkOptions<{ entries?: number; offDiagonals?: number | Band }>(op, 'size', size, [
    'offDiagonals',
    'entries',
  ]);
  if (entries === undefined) return { band: readBand(op, 'size.offDiagonals', offDiagonals as number | Band) };
  if (offDiagonals !== undefined) reject(op, 'size', 'either offDiagonals or entries', ['offDiagonals', 'entries']);
  return { entries: checkInteger(op, 'size.entries', entries, 1) };
}

function entriesOf(r: number, size: Size): number {
  return 'band' in size ? bandedEntries(r, size.band) : size.entries;
}
