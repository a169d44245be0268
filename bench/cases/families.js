// @ts-check
// The one table of patterns, and the one of families: what suites, floors, rivals, memory and reports measure.

/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('sigmatune').SparsityPattern} SparsityPattern */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {'factored' | 'merged' | 'lowrank'} Strategy */

/**
 * @typedef {object} Pattern
 * @property {(library: Library, r: number) => SparsityPattern} make
 * @property {(r: number) => number} entries without a library at hand
 */

/** Of a band of d diagonals a side. @param {number} d @param {number} r */
const bandEntries = (d, r) => r * (2 * d + 1) - d * (d + 1);

/** @param {number} d @returns {Pattern} */
const band = (d) => ({
  make: ({ SparsityPattern }, r) => SparsityPattern.banded(r, d),
  entries: (r) => bandEntries(d, r),
});

/** @param {number} row entries a row @returns {Pattern} */
const random = (row) => ({
  make: ({ SparsityPattern }, r) => SparsityPattern.random(r, { entries: row * r }, { seed: 1 }),
  entries: (r) => row * r,
});

/** @type {Readonly<Record<string, Pattern>>} */
export const patterns = {
  diagonal: { make: ({ SparsityPattern }, r) => SparsityPattern.diagonal(r), entries: (r) => r },
  'band 2': band(2),
  'band 8': band(8),
  'band 32': band(32),
  'random 16': random(16),
  // As many as a band of 8 has.
  'random 17': {
    make: ({ SparsityPattern }, r) => SparsityPattern.random(r, { offDiagonals: 8 }, { seed: 1 }),
    entries: (r) => bandEntries(8, r),
  },
  'random 33': random(33),
};

/** @typedef {{ factors: import('sigmatune').Svd, strategy?: Strategy }} Given */

/**
 * @typedef {object} Family
 * @property {string} [pattern] of M
 * @property {boolean} [onBase] it adds to W0
 * @property {boolean} [denseCore] its core is a dense matrix
 * @property {(r: number) => number} rank singular triples in use
 * @property {number} [goal] the most that a step may take over its floor
 * @property {number} [goalOnDevice] the same on a card, where it differs
 * @property {(library: Library, weight: Tensor, given: Given, more: { pattern?: SparsityPattern, bias: Tensor }) => Promise<import('sigmatune').AdaptedLinear>} make
 */

/** @param {string} pattern @param {number} [goal] @param {number} [goalOnDevice] @returns {Family} */
const svftOf = (pattern, goal, goalOnDevice) => ({
  pattern,
  rank: (r) => r,
  ...(goal && { goal }),
  ...(goalOnDevice && { goalOnDevice }),
  make: ({ svft }, weight, given, more) => svft(weight, { ...given, ...(more.pattern && { pattern: more.pattern }) }),
});

/** @param {(r: number) => number} rank @param {number} [goal] @returns {Family} */
const sivaOf = (rank, goal) => ({
  onBase: true,
  rank,
  ...(goal && { goal }),
  make: ({ siva }, weight, given) =>
    siva(weight, { ...given, count: rank(Math.min(.../** @type {readonly number[]} */ (weight.shape))) }),
});

/** @type {Readonly<Record<string, Family>>} */
export const families = {
  'svft plain': svftOf('diagonal', 1.08),
  vectorfit: {
    rank: (r) => r,
    goal: 1.08,
    make: ({ vectorFit }, weight, given, { bias }) => vectorFit(weight, { ...given, bias }),
  },
  'svft band 2': svftOf('band 2', 1.15),
  'svft band 8': svftOf('band 8', 1.15),
  'svft band 32': svftOf('band 32', 1.15),
  'svft random 16': svftOf('random 16', 1.3),
  'svft random 17': svftOf('random 17'),
  'svft random 33': svftOf('random 33', 1.3, 1.45),
  svdiff: { rank: (r) => r, goal: 1.08, make: ({ svdiff }, weight, given) => svdiff(weight, given) },
  'loraxs 16': {
    onBase: true,
    denseCore: true,
    rank: (r) => Math.min(16, r),
    make: ({ loraXs }, weight, given) => loraXs(weight, { ...given, rank: 16 }),
  },
  siva: sivaOf((r) => r / 8),
  'siva 64': sivaOf((r) => Math.min(64, r >> 1), 1.08),
};
