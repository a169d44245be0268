// @ts-check
// SVD by shape and driver: single matrices, stacks, tall and wide ones, a ragged list.
import { disposeAll, gaussianTensor } from './case.js';
import { numbers } from './numbers.js';
import { distance, norm, times, timesTransposed } from './probe.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('sigmatune').Svd} Svd */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {readonly (readonly [number, number])[]} Shapes */

/** Residual and loss of orthogonality that svd promises in float32. */
const bound = 1e-5;

/** @type {readonly (readonly [kind: string, size: number, shapes: Shapes, short: boolean])[]} */
const inputs = [
  ['single 64²', 64, [[64, 64]], true],
  ['single 128²', 128, [[128, 128]], false],
  ['single 256²', 256, [[256, 256]], false],
  ['single 512²', 512, [[512, 512]], false],
  ['batched 32 × 32²', 32, many(32, 32, 32), true],
  ['batched 32 × 64²', 64, many(32, 64, 64), false],
  ['batched 8 × 128²', 128, many(8, 128, 128), false],
  ['tall 512 × 64', 512, [[512, 64]], true],
  ['tall 2048 × 128', 2048, [[2048, 128]], false],
  ['wide 64 × 512', 512, [[64, 512]], false],
  ['wide 128 × 2048', 2048, [[128, 2048]], false],
  [
    'ragged, 8 shapes up to 200 × 96',
    8,
    [
      [16, 16],
      [200, 40],
      [96, 96],
      [33, 90],
      [64, 48],
      [12, 150],
      [128, 64],
      [200, 96],
    ],
    false,
  ],
];

/** @param {number} count @param {number} m @param {number} n @returns {Shapes} */
function many(count, m, n) {
  return Array.from({ length: count }, () => /** @type {const} */ ([m, n]));
}

/** Golub and Van Loan's count for thin U, Σ and V, by the cheaper of their two ways. @param {number} m @param {number} n */
function flopsOf(m, n) {
  const [long, short] = [Math.max(m, n), Math.min(m, n)];
  return Math.min(14 * long * short ** 2 + 8 * short ** 3, 6 * long * short ** 2 + 20 * short ** 3);
}

/** How far u · diag(s) · vt is from a, and u and vt from orthonormal. @param {Tensor} a @param {Svd} result */
function svdError(a, { u, s, vt }) {
  const random = numbers(7);
  const [m, n] = /** @type {readonly [number, number]} */ (a.shape);
  const r = Math.min(m, n);
  const [A, U, S, Vt] = [a, u, s, vt].map((tensor) => tensor.dataSync());
  const z = random.signs(n);
  const projected = times(Vt, r, z);
  const rebuilt = times(
    U,
    m,
    projected.map((value, i) => value * S[i]),
  );
  const w = random.signs(r);
  const ordered = S.every((value, i) => value >= 0 && (i === 0 || value <= S[i - 1]));
  return Math.max(
    ordered ? 0 : Number.POSITIVE_INFINITY,
    distance(rebuilt, times(A, m, z)),
    distance(timesTransposed(U, r, times(U, m, w)), w),
    distance(times(Vt, r, timesTransposed(Vt, n, w)), w),
    Math.abs(norm(S) / norm(A) - 1),
  );
}

/** @param {'auto' | 'gesdd' | 'gesvd'} driver @param {typeof inputs[number]} input @returns {Case} */
function svdCase(driver, [kind, size, shapes, short]) {
  const sum = (/** @type {(m: number, n: number) => number} */ part) =>
    shapes.reduce((total, [m, n]) => total + part(m, n), 0);
  return {
    name: `svd ${kind} ${driver}`,
    suite: 'svd',
    panel: 'SVD, by rows of a matrix',
    series: `${kind.split(/[ ,]/)[0]} ${driver}`,
    size,
    parameters: { kind, driver, matrices: shapes.length },
    flops: sum(flopsOf),
    bytes: 4 * sum((m, n) => m * n + Math.min(m, n) * (m + n + 1)),
    bound,
    short: short && driver === 'auto',
    prepare: (library) => {
      const random = numbers(1);
      const list = shapes.map((shape) => gaussianTensor(library, random, shape));
      const free = (/** @type {readonly Svd[]} */ results) => {
        for (const { u, s, vt } of results) disposeAll(u, s, vt);
      };
      return {
        call: async () => free(await library.svd(list, { driver })),
        error: async () => {
          const results = await library.svd(list, { driver });
          const worst = Math.max(...results.map((result, i) => svdError(list[i], result)));
          free(results);
          return worst;
        },
        dispose: () => disposeAll(...list),
      };
    },
  };
}

/** @type {readonly Case[]} */
export const cases = inputs.flatMap((input) =>
  /** @type {const} */ (['auto', 'gesdd', 'gesvd'])
    // QR iteration is there for what divide and conquer cannot do; a few sizes show what it costs.
    .filter((driver) => driver !== 'gesvd' || /^single/.test(input[0]))
    .map((driver) => svdCase(driver, input)),
);
