// @ts-check
// Bare GEMMs: what every adapter is held against. matmul has float32 and float64; in bfloat16 it is a layer that is
// switched off, whose forward pass is one GEMM with the base weight and nothing else.
import { matmul, tensor, zeros } from 'sigmatune';
import { free, normal, numbersOf, operand } from './data.js';
import { measure } from './measure.js';
import { deviation, dot, some } from './reference.js';
import { baseLayer, weightWithFactors } from './weights.js';

export const title = 'Bare GEMMs';

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  const sizes = context.dry ? [48] : [1024, 2048, 4096, 8192];
  for (const n of sizes) yield { name: `gemm, float32, ${n}²`, run: () => single(context, n) };
  for (const n of sizes.slice(0, 3)) yield { name: `gemm, float64, ${n}²`, run: () => double(context, n) };
  for (const n of sizes.slice(0, 3)) yield { name: `gemm, bfloat16, ${n}²`, run: () => half(context, n) };
}

/**
 * @param {import('./case.js').Context} context @param {number} n @param {string} dtype @param {() => unknown} side
 * @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {() => Promise<ArrayLike<number>>} result a · bᵀ
 * @param {number} bound @returns {Promise<import('./case.js').Case>}
 */
async function line(context, n, dtype, side, a, b, result, bound) {
  const measured = measure(context, { gemm: side });
  const numbers = await result();
  const pairs = some(n * n, 256).map((at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return { got: numbers[at], wanted: dot(a, i * n, 1, b, j * n, 1, n) };
  });
  return {
    name: 'gemm',
    dtype,
    size: `${n} × ${n} × ${n}`,
    flops: 2 * n ** 3,
    time: measured.time('gemm'),
    errors: [deviation(pairs, 'outputs', bound)],
  };
}

/** @param {import('./case.js').Context} context @param {number} n */
async function single(context, n) {
  const [a, b] = [operand([n, n]), operand([n, n])];
  const out = zeros([n, n], { device: 'cuda' });
  const side = () => matmul(/** @type {any} */ (a.on), /** @type {any} */ (b.on), { transposeB: true, out });
  // TF32 would be off by 1e-3.
  const made = await line(context, n, 'float32', side, a.host, b.host, () => numbersOf(out), 2e-5);
  free(a.on, b.on, out);
  return made;
}

/** @param {import('./case.js').Context} context @param {number} n */
async function double(context, n) {
  const [a, b] = [Float64Array.from(normal(n * n)), Float64Array.from(normal(n * n))];
  const [left, right] = [a, b].map((numbers) => tensor(numbers, [n, n], { device: 'cuda' }));
  const out = zeros([n, n], { device: 'cuda', dtype: 'float64' });
  const side = () => matmul(left, right, { transposeB: true, out });
  const made = await line(context, n, 'float64', side, a, b, () => out.data(), 1e-12);
  free(left, right, out);
  return made;
}

/** @param {import('./case.js').Context} context @param {number} n */
async function half(context, n) {
  const weight = await weightWithFactors(n, n, 'bfloat16');
  const layer = await baseLayer(weight);
  const x = operand([n, n], 'bfloat16');
  const result = async () => {
    const y = layer.apply(x.on);
    const numbers = await numbersOf(y);
    y.dispose();
    return numbers;
  };
  const made = await line(
    context,
    n,
    'bfloat16',
    () => layer.apply(x.on).dispose(),
    x.host,
    weight.weight.host,
    result,
    2e-2,
  );
  free(layer, x.on, weight);
  return made;
}
