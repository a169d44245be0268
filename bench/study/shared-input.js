#!/usr/bin/env node
// @ts-check
// What layers on one input would gain from one product: X with the V's of query, key and value side by side, against three
// products. The sides take turns: node bench/study/shared-input.js [threads]
import { matmul, setThreads, tensor, zeros } from 'sigmatune';
import { numbers } from '../cases/numbers.js';
import { quantile } from '../stats/quantile.js';

const [width, layers, rounds] = [768, 3, 60]; // ViT-B
setThreads(Number(process.argv[2] ?? 1));
const random = numbers(1);

/** @param {number} rows @param {number} columns */
const gaussian = (rows, columns) => tensor(random.gaussian(rows * columns), [rows, columns]);

for (const tokens of [64, 197, 512, 1576]) {
  const x = gaussian(tokens, width);
  const separate = Array.from({ length: layers }, () => ({ v: gaussian(width, width), p: zeros([tokens, width]) }));
  const joined = { v: gaussian(width, layers * width), p: zeros([tokens, layers * width]) };
  /** @param {() => void} call */
  const time = (call) => {
    const start = performance.now();
    call();
    return performance.now() - start;
  };
  const ratios = Array.from({ length: rounds }, () => {
    const three = time(() => separate.forEach(({ v, p }) => void matmul(x, v, { out: p })));
    return three / time(() => matmul(x, joined.v, { out: joined.p }));
  });
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(ratios, part).toFixed(2));
  console.log(`${tokens} tokens: three products take ${middle} times as long as one (quartiles ${low} to ${high})`);
}
