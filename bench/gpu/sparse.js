// @ts-check
// The sparse core and its gradient, over a copy of the bytes that they have to move.
import { matmul, SparsityPattern, sddmm, spmm, zeros } from 'sigmatune';
import { mark } from './case.js';
import { free, numbersOf, operand, ring, width } from './data.js';
import { measure } from './measure.js';
import { deviation, dot, rowsOf, some } from './reference.js';

export const title = 'Sparse core and its gradient';

/** What the goals of the project ask: a share of copy bandwidth, or microseconds at r = N = 4096 in bfloat16 on an H200. */
const goals = /** @type {Record<string, { share?: number, micro?: { product: number, gradient: number } }>} */ ({
  diagonal: { share: 0.85 },
  'band, d = 2': { share: 0.7 },
  'band, d = 8': { share: 0.7 },
  'band, d = 32': { micro: { product: 30, gradient: Number.POSITIVE_INFINITY } },
  '16 random a row': { micro: { product: 60, gradient: 80 } },
  '33 random a row': { micro: { product: 90, gradient: 140 } },
});

/** @param {number} r @returns {Record<string, () => SparsityPattern>} */
export const patterns = (r) => ({
  diagonal: () => SparsityPattern.diagonal(r),
  'band, d = 2': () => SparsityPattern.banded(r, 2),
  'band, d = 8': () => SparsityPattern.banded(r, 8),
  'band, d = 32': () => SparsityPattern.banded(r, 32),
  '16 random a row': () => SparsityPattern.random(r, { entries: 16 * r }, { seed: 1 }),
  '33 random a row': () => SparsityPattern.random(r, { entries: 33 * r }, { seed: 1 }),
});

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  const n = context.dry ? 72 : 4096;
  for (const dtype of /** @type {const} */ (['float32', 'bfloat16'])) {
    for (const [name, make] of Object.entries(patterns(n))) {
      yield { name: `${name}, ${dtype}`, run: () => kernels(context, name, make(), n, dtype) };
    }
  }
}

/**
 * @param {import('./case.js').Context} context @param {string} name @param {SparsityPattern} pattern
 * @param {number} n r and N @param {import('./data.js').Narrow} dtype
 */
async function kernels(context, name, pattern, n, dtype) {
  const [x, z] = [operand([n, n], dtype), operand([n, n], dtype)];
  const values = operand([pattern.entries]);
  const [inputs, others] = [ring(x.on, context.dry), ring(z.on, context.dry)];
  const outputs = inputs.map(() => zeros([n, n], { device: 'cuda', dtype }));
  const gradient = zeros([pattern.entries], { device: 'cuda' });
  const at = (/** @type {readonly any[]} */ list, /** @type {number} */ i) => list[i % list.length];
  /** @type {Record<string, import('./measure.js').Side>} */
  const sides = {
    copy: (i) => at(inputs, i).cast(dtype).dispose(),
    spmm: (i) => spmm(pattern, values.on, at(inputs, i), { out: at(outputs, i) }),
    'spmm, transposed': (i) => spmm(pattern, values.on, at(inputs, i), { transpose: true, out: at(outputs, i) }),
    sddmm: (i) => sddmm(pattern, at(others, i), at(inputs, i), { out: gradient }),
  };
  if (dtype === 'float32') sides['dense GEMM'] = (i) => matmul(at(others, i), at(inputs, i), { out: at(outputs, i) });
  const measured = measure(context, sides);
  const cases = [];
  for (const operation of ['spmm', 'spmm, transposed', 'sddmm']) {
    const pairs = await compare(operation, pattern, { x, z, values }, n);
    cases.push(
      line(measured, name, operation, pattern, n, dtype, [
        deviation(pairs, 'outputs', operation === 'sddmm' || dtype === 'float32' ? 2e-5 : 2e-2),
      ]),
    );
  }
  free(inputs, others, outputs, gradient, values.on);
  return cases;
}

/**
 * @param {ReturnType<typeof measure>} measured @param {string} name @param {string} operation
 * @param {SparsityPattern} pattern @param {number} n @param {import('./data.js').Narrow} dtype
 * @param {readonly import('./case.js').Deviation[]} errors @returns {import('./case.js').Case}
 */
function line(measured, name, operation, pattern, n, dtype, errors) {
  const { share, micro } = goals[name];
  const half = dtype === 'bfloat16';
  const limit = operation === 'sddmm' ? micro?.gradient : micro?.product;
  const goal = half && Number.isFinite(limit) ? limit : undefined;
  // A gradient reads two matrices where a copy reads one and writes one: the same bytes.
  const marks = [
    ...mark('share of a copy', measured.ratio('copy', operation), 'higher', share),
    ...(goal === undefined ? [] : mark('µs (goal for an H200)', measured.micro(operation), 'lower', goal)),
    ...(half || share !== undefined
      ? []
      : mark('times a dense GEMM', measured.ratio(operation, 'dense GEMM'), 'lower', 1)),
  ];
  return {
    name: `${operation}, ${name}`,
    dtype,
    size: `r = ${n}, N = ${n}`,
    flops: 2 * pattern.entries * n,
    bytes: 2 * n * n * width(dtype) + 4 * pattern.entries,
    time: measured.time(operation),
    marks,
    errors,
  };
}

/**
 * @param {string} operation @param {SparsityPattern} pattern
 * @param {{ x: import('./data.js').Operand, z: import('./data.js').Operand, values: import('./data.js').Operand }} operands
 * @param {number} n
 */
async function compare(operation, pattern, { x, z, values }, n) {
  const rows = rowsOf(pattern);
  const { columnIndices } = pattern;
  const dense = /** @type {any} */ (x.on);
  const weights = /** @type {any} */ (values.on);
  if (operation === 'sddmm') {
    const made = sddmm(pattern, /** @type {any} */ (z.on), dense);
    const got = await numbersOf(made);
    made.dispose();
    return some(pattern.entries, 256).map((p) => ({
      got: got[p],
      wanted: dot(z.host, rows[p] * n, 1, x.host, columnIndices[p] * n, 1, n),
    }));
  }
  const transpose = operation !== 'spmm';
  const made = spmm(pattern, weights, dense, { transpose });
  const got = await numbersOf(made);
  made.dispose();
  /** Of some outputs, by row. @type {Map<number, number[]>} */
  const sample = new Map();
  for (const at of some(n * n, 512))
    sample.set(Math.floor(at / n), [...(sample.get(Math.floor(at / n)) ?? []), at % n]);
  /** @type {Map<number, number>} */
  const wanted = new Map();
  for (let p = 0; p < pattern.entries; p++) {
    const [to, from] = transpose ? [columnIndices[p], rows[p]] : [rows[p], columnIndices[p]];
    for (const t of sample.get(to) ?? []) {
      wanted.set(to * n + t, (wanted.get(to * n + t) ?? 0) + values.host[p] * x.host[from * n + t]);
    }
  }
  return [...sample].flatMap(([row, columns]) =>
    columns.map((t) => ({ got: got[row * n + t], wanted: wanted.get(row * n + t) ?? 0 })),
  );
}
