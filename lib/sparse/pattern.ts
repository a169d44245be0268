import { checkInteger, checkOptions, describe, fail, isRecord, reject } from '../runtime/check.js';
import { native, type PatternHandle, type RealArray } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { atOnce, type Work } from '../runtime/slices.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import { alignments, largest } from './alignment.js';
import { type Band, bandedCells, bandedEntries, readBand } from './banded.js';
import { type Cells, coordinateCells, numberedCoordinates, readIndices } from './coordinates.js';
import { type RandomOptions, randomCells } from './random-cells.js';

/** How many entries: directly, or as many as a band of so many off-diagonals has; a number stands for both sides. */
export type PatternSize = { offDiagonals: number | Band } | { entries: number };

/** Known here alone, so that nothing else makes a pattern. */
const made = Symbol();

const described = { name: 'SparsityPattern', instead: 'rows and columns for SparsityPattern.fromCoordinates' };
const cloning = uncloneable(described);

/**
 * Where M may be non-zero: an immutable CSR structure on the r x r core. Its arrays are copies, made when they are first
 * asked for: to write them changes nothing but what the same getter returns the next time.
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
  /** What the caller has seen of the cells, and may have written. */
  readonly #shown: { -readonly [name in keyof Cells]?: Cells[name] } = {};

  private constructor(key: typeof made, op: string, kind: 'diagonal' | 'banded' | 'csr', r: number, cells: Cells) {
    if (key !== made) {
      const expected = 'SparsityPattern.banded(…) or one of its siblings, which make patterns';
      reject('SparsityPattern', 'new SparsityPattern', expected, key);
    }
    this.kind = kind;
    this.shape = Object.freeze([r, r] as const);
    this.entries = cells.columnIndices.length;
    this.#cells = cells;
    this.#handle = native.pattern(op, cells.rowPointers, cells.columnIndices);
    Object.freeze(this);
  }

  /** (r + 1) A copy. */
  get rowPointers(): Int32Array {
    this.#shown.rowPointers ??= this.#cells.rowPointers.slice();
    return this.#shown.rowPointers;
  }

  /** (entries), ascending within a row. A copy. */
  get columnIndices(): Int32Array {
    this.#shown.columnIndices ??= this.#cells.columnIndices.slice();
    return this.#shown.columnIndices;
  }

  /** For given coordinates: slots[p] is the CSR slot of the p-th. A copy. */
  get slots(): Int32Array | undefined {
    if (this.#cells.slots !== undefined) this.#shown.slots ??= this.#cells.slots.slice();
    return this.#shown.slots;
  }

  /** @internal A pattern made here, and not an object that merely inherits from one. */
  static is(value: unknown): value is SparsityPattern {
    return typeof value === 'object' && value !== null && #handle in value;
  }

  /** @internal The structure itself, which nobody else can write. */
  get cells(): Cells {
    return this.#cells;
  }

  /** @internal */
  get handle(): PatternHandle {
    return this.#handle;
  }

  /**
   * The entries (i, i): SVFT "plain".
   *
   * @example
   * SparsityPattern.diagonal(768).entries; // 768
   */
  static diagonal(r: number): SparsityPattern {
    const op = 'SparsityPattern.diagonal';
    checkInteger(op, 'r', r, 1);
    return new SparsityPattern(made, op, 'diagonal', r, bandedCells(op, r, { lower: 0, upper: 0 }));
  }

  /**
   * The entries with −lower ≤ j − i ≤ upper: SVFT "banded"; a number stands for both sides. A band wider than the core is
   * cut to it.
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
   * Entries drawn at random, the same on every platform for one seed. Without replacement (the default) they are
   * distinct; with it each is drawn on its own, and a cell drawn twice has two parameters, as in the SVFT reference
   * code. `offDiagonals: d` gives as many entries as banded(r, d).
   *
   * @throws SigmaError INVALID_ARGUMENT, also for more distinct entries than the core has
   * @example
   * SparsityPattern.random(768, { entries: 4096 }, { seed: 1, includeDiagonal: true });
   */
  static random(r: number, size: PatternSize, options: RandomOptions): SparsityPattern {
    const op = 'SparsityPattern.random';
    checkInteger(op, 'r', r, 1);
    return atOnce(SparsityPattern.drawing(op, r, entriesOf(r, readSize(op, size)), options));
  }

  /** @internal `random` of `count` entries, in pieces. */
  static *drawing(op: string, r: number, count: number, options: RandomOptions): Work<SparsityPattern> {
    return yield* SparsityPattern.#numbered(op, yield* randomCells(op, r, count, options), r);
  }

  /**
   * The entries (i, j) whose singular directions u_i and v_j are most aligned, by |u_iᵀ v_j| (or its signed value, with
   * `absolute: false`): SVFT's Top-k. u [n, r] and vt [r, n] must come from a square weight.
   *
   * @throws SigmaError SHAPE_MISMATCH for a rectangular weight, where u_iᵀ v_j has no meaning
   * @example
   * const { u, vt } = await svd(weight);
   * SparsityPattern.topK(u, vt, { offDiagonals: 8 });
   */
  static topK(u: Tensor, vt: Tensor, size: PatternSize, options?: { absolute?: boolean }): SparsityPattern {
    const op = 'SparsityPattern.topK';
    const given = readSize(op, size);
    const { r, scores, absolute } = alignments(op, u, vt, options);
    return atOnce(SparsityPattern.ranking(op, scores, r, entriesOf(r, given), absolute));
  }

  /** @internal The `count` cells with the largest scores (r, r), of equals the first, in pieces. */
  static *ranking(op: string, scores: RealArray, r: number, count: number, absolute: boolean): Work<SparsityPattern> {
    if (count > r * r) reject(op, 'size', `at most ${r * r} entries`, count);
    return yield* SparsityPattern.#numbered(op, yield* largest(op, scores, count, absolute), r);
  }

  /** The cells with these numbers, counted by rows. */
  static *#numbered(op: string, cells: Float64Array, r: number): Work<SparsityPattern> {
    const { rowPointers, columnIndices } = yield* coordinateCells(op, yield* numberedCoordinates(op, cells, r), r);
    return new SparsityPattern(made, op, 'csr', r, { rowPointers, columnIndices, slots: undefined });
  }

  /**
   * Given coordinates. Duplicates keep a slot (a parameter) each and sum in the product, as in the reference code.
   * `slots` is a permutation: slots[p] is the CSR slot of the p-th coordinate.
   *
   * @throws SigmaError INVALID_ARGUMENT for an index outside 0 to r − 1, SHAPE_MISMATCH for lists of two lengths
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
