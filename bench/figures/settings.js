// @ts-check
// The sizes that the figures are taken at: on the CPU, on a card, and in a dry run.

/** @typedef {{ batch?: number, m: number, n: number, drivers: readonly import('../cases/svd.js').Driver[], goal?: number }} Decomposition goal in seconds */

/**
 * @typedef {object} Settings
 * @property {readonly ('float32' | 'bfloat16')[]} dtypes
 * @property {readonly number[]} copyMegabytes
 * @property {readonly number[]} gemmSizes
 * @property {readonly [r: number, columns: number]} sparseSize
 * @property {readonly string[]} sparsePatterns
 * @property {readonly number[]} optimiserPowers
 * @property {readonly (readonly [out: number, inFeatures: number])[]} weights
 * @property {readonly number[]} tokens
 * @property {readonly Decomposition[]} decompositions
 * @property {number} repeated side of what is computed a hundred times
 * @property {readonly (readonly [n: number, m: number, tokens: number])[]} peaks weights whose step's memory is taken
 */

const lapack = /** @type {const} */ (['auto', 'gesdd']);
const fast = /** @type {const} */ (['auto', 'gram64', 'gesvdp']);
const all = /** @type {const} */ (['auto', 'gram64', 'gesvdp', 'gesvdj', 'gesvd']);

/** @type {Settings} */
const cpu = {
  dtypes: ['float32'],
  copyMegabytes: [16, 64, 256],
  gemmSizes: [768, 1024, 2048],
  sparseSize: [768, 2048 + 80], // rows off a power of two, as the adapters pad theirs
  sparsePatterns: ['diagonal', 'band 2', 'band 8', 'random 33'],
  optimiserPowers: [22],
  weights: [
    [768, 768],
    [3072, 768],
    [768, 3072],
  ],
  tokens: [512, 2048, 4096],
  decompositions: [
    { m: 64, n: 64, drivers: lapack },
    { m: 256, n: 256, drivers: lapack },
    { m: 768, n: 768, drivers: lapack },
    { m: 1536, n: 1536, drivers: lapack },
    { m: 3072, n: 768, drivers: lapack },
    { m: 768, n: 3072, drivers: lapack },
    { batch: 16, m: 768, n: 768, drivers: lapack },
  ],
  repeated: 500,
  peaks: [
    [4096, 4096, 2048],
    [14336, 4096, 2048],
  ],
};

/** @type {Settings} */
const cuda = {
  dtypes: ['float32', 'bfloat16'],
  copyMegabytes: [16, 64, 256, 1024],
  gemmSizes: [1024, 2048, 4096, 8192],
  sparseSize: [4096, 4096],
  sparsePatterns: ['diagonal', 'band 2', 'band 8', 'band 32', 'random 16', 'random 33'],
  optimiserPowers: [20, 24, 26],
  weights: [
    [768, 768],
    [3072, 768],
    [4096, 4096],
    [4096, 14336],
  ],
  tokens: [512, 2048, 4096],
  // The slow drivers only where they are done within seconds.
  decompositions: [
    { m: 4096, n: 4096, drivers: fast, goal: 0.25 },
    { batch: 48, m: 768, n: 768, drivers: fast },
    { m: 1024, n: 1024, drivers: all },
    { batch: 1000, m: 32, n: 32, drivers: all },
    { m: 2048, n: 16384, drivers: fast },
    { m: 4096, n: 14336, drivers: fast, goal: 0.35 },
    { batch: 48, m: 768, n: 768, drivers: ['gesvdj'] },
    { m: 4096, n: 4096, drivers: ['gesvdj', 'gesvd'] },
  ],
  repeated: 1000,
  peaks: cpu.peaks,
};

/** @param {Settings} given @param {{ fast: typeof fast | typeof lapack, all: typeof all | typeof lapack }} drivers @returns {Settings} */
const tiny = ({ dtypes, sparsePatterns }, drivers) => ({
  dtypes,
  sparsePatterns,
  copyMegabytes: [0.01],
  gemmSizes: [48],
  sparseSize: [72, 72],
  optimiserPowers: [10],
  weights: [
    [72, 72],
    [96, 72],
  ],
  tokens: [40],
  decompositions: [
    { batch: 3, m: 8, n: 8, drivers: drivers.all },
    { m: 40, n: 24, drivers: drivers.all },
    { batch: 2, m: 24, n: 40, drivers: drivers.fast },
  ],
  repeated: 72,
  peaks: [[48, 32, 16]],
});

const dry = { cpu: tiny(cpu, { fast: lapack, all: lapack }), cuda: tiny(cuda, { fast, all }) };
const real = { cpu, cuda };

/** @param {import('./figure.js').Context} context @returns {Settings} */
export const settings = ({ device, dry: isDry }) => (isDry ? dry : real)[device];
