// @ts-check
// SVD by shape and driver: single matrices, stacks, tall and wide ones, a ragged list.
import { distance, length, times, timesTransposed, view, withSingularValues } from '../reference/dense.js';
import { whereWords } from './case.js';
import { numbers } from './numbers.js';
import { disposeAll, numbersOf, Operands } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('sigmatune').Svd} Svd */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {import('../reference/dense.js').View} View */
/** @typedef {readonly (readonly [number, number])[]} Shapes */
/** @typedef {NonNullable<import('sigmatune').SvdOptions['driver']>} Driver */

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
  ['tall 1536 × 512', 1536, [[1536, 512]], false],
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
export function many(count, m, n) {
  return Array.from({ length: count }, () => /** @type {const} */ ([m, n]));
}

/** Golub and Van Loan's count for thin U, Σ and V, by the cheaper of their two ways. @param {number} m @param {number} n */
function flopsOf(m, n) {
  const [long, short] = [Math.max(m, n), Math.min(m, n)];
  return Math.min(14 * long * short ** 2 + 8 * short ** 3, 6 * long * short ** 2 + 20 * short ** 3);
}

/** @typedef {{ a: View, u: View, s: Float32Array | Float64Array, vt: View }} Answer one matrix and its decomposition on the host */

/**
 * How far u · diag(s) · vt is from a, and u and vt from orthonormal: through random signs, or, with rounds of the power
 * method, ‖UᵀU − I‖₂ itself, which they reach from below by a few per cent.
 * @param {Answer} answer @param {number} rounds
 */
function accuracy({ a, u, s, vt }, rounds) {
  const random = numbers(7);
  const z = random.signs(a.columns);
  const rebuilt = times(
    u,
    times(vt, z).map((value, i) => value * s[i]),
  );
  const ordered = s.every(
    (/** @type {number} */ value, /** @type {number} */ i) => value >= 0 && (i === 0 || value <= s[i - 1]),
  );
  const w = random.signs(s.length);
  const uu = (/** @type {Float64Array} */ v) => timesTransposed(u, times(u, v));
  const vv = (/** @type {Float64Array} */ v) => times(vt, timesTransposed(vt, v));
  return {
    residual: distance(rebuilt, times(a, z)),
    u: offIdentity(uu, w, rounds),
    v: offIdentity(vv, w, rounds),
    sigma: ordered ? Math.abs(length(s) / length(a.data) - 1) : Number.POSITIVE_INFINITY,
  };
}

/** ‖G v − v‖ / ‖v‖ after some rounds of v ← G v − v. @param {(v: Float64Array) => Float64Array} gram @param {Float64Array} start @param {number} rounds */
function offIdentity(gram, start, rounds) {
  let [v, found] = [start, 0];
  for (let round = 0; round < rounds; round++) {
    found = distance(gram(v), v);
    const next = gram(v).map((value, i) => value - v[i]);
    if (!(length(next) > 0)) break;
    v = next;
  }
  return found;
}

/** The largest difference from LAPACK's singular values in float64, over σ₁. @param {Library} library @param {Answer} answer */
async function offLapack(library, { a, s }) {
  const host = library.tensor(Float64Array.from(a.data), [a.rows, a.columns]);
  const exact = await library.svd(host);
  const sigma = /** @type {Float64Array} */ (exact.s.dataSync());
  let most = 0;
  for (let i = 0; i < s.length; i++) {
    const off = Math.abs(s[i] - sigma[i]) / sigma[0];
    most = most >= off ? most : off; // NaN stays
  }
  disposeAll(host, exact.u, exact.s, exact.vt);
  return most;
}

/** The largest of each part; NaN stays. @param {readonly Record<string, number>[]} all */
const worst = (all) =>
  Object.fromEntries(
    Object.keys(all[0]).map((part) => [part, all.reduce((most, each) => (most >= each[part] ? most : each[part]), 0)]),
  );

/** In float32. The answers of 'auto' are promised; a named driver gives what it gives, and only nonsense is an error. */
const partBounds = { auto: { residual: 5e-6, orthogonality: 1e-5 }, named: { residual: 5e-5, orthogonality: 5e-5 } };

/** How much larger the bounds are beyond 1,024 singular values, as docs/performance.md has it. @param {number} r */
const growth = (r) => Math.sqrt(Math.max(1, r / 1024));

/**
 * @param {Driver} driver @param {Shapes} shapes
 * @param {{ kind?: string, series?: string, size?: number, stacked?: boolean } & import('./operands.js').Where} [given]
 * `stacked`: matrices of one shape are one tensor, as devices like them
 * @returns {Case}
 */
export function svdCase(driver, shapes, given = {}) {
  const [[m, n]] = shapes;
  const { stacked = false, device = 'cpu' } = given;
  const sizes = shapes.length > 1 ? `${shapes.length} × ${m} × ${n}` : `${m} × ${n}`;
  const { kind = sizes, series = driver, size = m } = given;
  const sum = (/** @type {(m: number, n: number) => number} */ part) =>
    shapes.reduce((total, [m, n]) => total + part(m, n), 0);
  return {
    name: `svd ${kind} ${driver}${whereWords(given)}`,
    suite: 'svd',
    panel: 'SVD, by rows of a matrix',
    series,
    size,
    parameters: { kind, driver, matrices: shapes.length },
    flops: sum(flopsOf),
    bytes: 4 * sum((m, n) => m * n + Math.min(m, n) * (m + n + 1)),
    bound,
    waits: true,
    prepare: (library) => {
      const operands = new Operands(library, 1, given);
      const list = stacked
        ? [operands.gaussian([shapes.length, m, n])]
        : shapes.map((shape) => operands.gaussian(shape));
      const input = /** @type {import('sigmatune').Tensor<'float32'>[]} */ (list);
      const decompose = async () =>
        stacked ? [await library.svd(input[0], { driver })] : library.svd(input, { driver });
      const free = (/** @type {readonly Svd[]} */ results) => {
        for (const { u, s, vt } of results) disposeAll(u, s, vt);
      };
      /** @param {readonly number[]} chosen of the matrices @returns {Promise<Answer[]>} */
      const answers = async (chosen) => {
        const results = await decompose();
        const made = chosen.map((i) => answerOf(list, results, i, shapes[i], stacked));
        free(results);
        return made;
      };
      return {
        call: async () => free(await decompose()),
        error: async () => {
          const parts = worst((await answers([...shapes.keys()])).map((each) => accuracy(each, 1)));
          return Math.max(...Object.values(parts));
        },
        errors: async () => {
          // Of many a few, the first and the last among them.
          const few = [...new Set([0, 1, shapes.length >> 1, shapes.length - 1])].filter((i) => i < shapes.length);
          const found = await answers(few);
          const parts = worst(found.map((each) => accuracy(each, 8)));
          const { residual, orthogonality } = driver === 'auto' ? partBounds.auto : partBounds.named;
          const grown = growth(Math.max(...few.map((i) => Math.min(...shapes[i]))));
          const comparable = device !== 'cpu' && Math.min(m, n) <= 1024;
          const lapack = comparable
            ? worst(await Promise.all(found.map(async (each) => ({ off: await offLapack(library, each) }))))
            : undefined;
          return [
            { value: parts.residual, bound: grown * residual, of: '‖A − U S Vᵀ‖ / ‖A‖' },
            { value: parts.u, bound: grown * orthogonality, of: '‖UᵀU − I‖₂' },
            { value: parts.v, bound: grown * orthogonality, of: '‖VᵀV − I‖₂' },
            { value: parts.sigma, bound: grown * orthogonality, of: '‖σ‖ / ‖A‖ − 1' },
            ...(lapack ? [{ value: lapack.off, bound: 2e-6, of: 'σ compared with LAPACK in float64, over σ₁' }] : []),
          ];
        },
        outputs: async () => (await decompose()).flatMap(({ u, s, vt }) => [u, s, vt]),
        dispose: () => disposeAll(list),
      };
    },
  };
}

/** @param {readonly Tensor[]} list @param {readonly Svd[]} results @param {number} i @param {readonly [number, number]} shape @param {boolean} stacked @returns {Answer} */
function answerOf(list, results, i, [m, n], stacked) {
  const r = Math.min(m, n);
  const of = (/** @type {Tensor} */ tensor, /** @type {number} */ size) => {
    const numbers = numbersOf(tensor);
    return stacked ? numbers.slice(i * size, (i + 1) * size) : numbers.slice();
  };
  const at = stacked ? 0 : i;
  const { u, s, vt } = results[at];
  return {
    a: view(m, n, of(list[at], m * n)),
    u: view(m, r, of(u, m * r)),
    s: of(s, r),
    vt: view(r, n, of(vt, r * n)),
  };
}

/** σ_j by the kind of matrix: a weight's is a power law over a flat tail, a Gaussian matrix's falls to 0 in a straight line. */
const spectra = {
  decaying: (/** @type {number} */ j) => (1 + j) ** -0.6 + 0.02,
  '1 / j': (/** @type {number} */ j) => 1 / (1 + j),
  flat: (/** @type {number} */ j, /** @type {number} */ r) => 1 - j / r,
};

/** @typedef {keyof typeof spectra} Spectrum */

/**
 * The `rank` largest triples, or all, of a matrix with one of these spectra.
 * @param {readonly [number, number]} shape @param {number} [rank]
 * @param {{ short?: boolean, spectrum?: Spectrum }} [given] @returns {Case}
 */
export function rankCase([m, n], rank, { short = false, spectrum = 'decaying' } = {}) {
  const r = Math.min(m, n);
  const k = rank ?? r;
  return {
    name: `svd rank ${k} of ${m} × ${n} auto`,
    suite: 'svd',
    panel: 'SVD, by rows of a matrix',
    series: rank === undefined ? `${spectrum} auto` : 'rank auto',
    size: m,
    parameters: { kind: `${spectrum} ${m} × ${n}`, rank: k },
    flops: rank === undefined ? flopsOf(m, n) : 16 * m * n * k,
    bytes: 4 * (m * n + k * (m + n + 1)),
    bound,
    short,
    waits: true,
    prepare: (library) => {
      const random = numbers(3);
      const sigma = (/** @type {number} */ j) => spectra[spectrum](j, r);
      const { data } = withSingularValues(m, n, sigma, (count) => random.gaussian(count));
      const a = new Operands(library, 1).tensor(Float32Array.from(data), [m, n]);
      const input = /** @type {import('sigmatune').Tensor<'float32'>} */ (a);
      const decompose = () => library.svd(input, rank === undefined ? {} : { rank });
      return {
        call: async () => {
          const { u, s, vt } = await decompose();
          disposeAll(u, s, vt);
        },
        error: async () => {
          const { u, s, vt } = await decompose();
          const found = leading(view(m, n, data), sigma, {
            u: view(m, k, numbersOf(u)),
            s: /** @type {Float32Array} */ (numbersOf(s)),
            vt: view(k, n, numbersOf(vt)),
          });
          disposeAll(u, s, vt);
          return found;
        },
        outputs: async () => {
          const { u, s, vt } = await decompose();
          return [u, s, vt];
        },
        dispose: () => disposeAll(a),
      };
    },
  };
}

/**
 * A V w from U diag(s) w, Aᵀ U w from V diag(s) w, and s from the largest σ.
 * @param {View} a @param {(j: number) => number} sigma @param {Omit<Answer, 'a'>} answer
 */
function leading(a, sigma, { u, s, vt }) {
  const w = numbers(7).signs(s.length);
  const weighted = w.map((sign, j) => sign * s[j]);
  return Math.max(
    distance(times(a, timesTransposed(vt, w)), times(u, weighted)),
    distance(timesTransposed(a, times(u, w)), timesTransposed(vt, weighted)),
    distance(
      s,
      Float64Array.from({ length: s.length }, (_, j) => sigma(j)),
    ),
  );
}

/** @type {readonly Case[]} */
const byDriver = inputs.flatMap(([kind, size, shapes, short]) =>
  /** @type {const} */ (['auto', 'gesdd', 'gesvd'])
    // QR iteration is there for what divide and conquer cannot do; a few sizes show what it costs.
    .filter((driver) => driver !== 'gesvd' || /^single/.test(kind))
    .map((driver) => ({
      ...svdCase(driver, shapes, { kind, size, series: `${kind.split(/[ ,]/)[0]} ${driver}` }),
      short: short && driver === 'auto',
    })),
);

/** @type {readonly Case[]} */
export const cases = [
  ...byDriver,
  rankCase([512, 512], 16, { short: true }),
  rankCase([1536, 512], 32),
  rankCase([512, 1536], 32),
];
