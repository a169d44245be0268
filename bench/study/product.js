#!/usr/bin/env node
// @ts-check
// One product op(A) op(B)ᵀ by `matmul`, into memory that is there and into new memory, as the clock sees it:
//   node bench/study/product.js [float32 | bfloat16 | float16] [m 512] [n 768] [k 768] [threads 1]
// SIGMATUNE_SIMD=avx512, avx2 or baseline selects a lower instruction set for the package's own panels.
import { matmul, setThreads, systemInfo, tensor, tidy } from 'sigmatune';
import { numbers } from '../cases/numbers.js';
import { quantile } from '../stats/quantile.js';

const [dtype = 'float32', ...sizes] = process.argv.slice(2);
const [m = 512, n = 768, k = 768, threads = 1] = sizes.map(Number);
setThreads(threads);
const random = numbers(1);
const operand = (/** @type {number} */ rows) =>
  tidy(() =>
    tensor(random.gaussian(rows * k), [rows, k]).cast(/** @type {'float32' | 'bfloat16' | 'float16'} */ (dtype)),
  );
const [a, b] = [operand(m), operand(n)];
const out = matmul(a, b, { transposeB: true });

/** Milliseconds of some calls: the least and the median. @param {() => unknown} call */
function time(call) {
  const all = [];
  for (const end = performance.now() + 3000; all.length < 8 || (performance.now() < end && all.length < 500); ) {
    const start = performance.now();
    call();
    all.push(performance.now() - start);
  }
  return { least: Math.min(...all), median: quantile(all, 0.5) };
}

/** Kept until the end: the memory of a disposed result would be used again. @type {unknown[]} */
const results = [];
const given = time(() => matmul(a, b, { transposeB: true, out }));
const fresh = quantile(
  Array.from({ length: 8 }, () => {
    const start = performance.now();
    results.push(matmul(a, b, { transposeB: true }));
    return performance.now() - start;
  }),
  0.5,
);
const rate = (2 * m * n * k) / given.least / 1e6;
console.log(`${systemInfo().simd}, ${systemInfo().blas}`);
console.log(
  `${dtype}, ${m} × ${n} × ${k}, ${threads} threads: into out ${given.median.toFixed(2)} ms, at best ${rate.toFixed(0)} GFLOP/s`,
);
console.log(`new memory: ${fresh.toFixed(2)} ms`);
