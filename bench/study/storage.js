#!/usr/bin/env node
// @ts-check
// A training step with bfloat16 matrices against the same step in float32, and the errors of both, by family and shape:
//   node bench/study/storage.js [threads]
// The sides take turns. A ratio is of processor time, which other programs disturb less than the clock.
import * as library from 'sigmatune';
import { adapterCase } from '../cases/adapters.js';
import { quantile } from '../stats/quantile.js';

const rounds = 9;
library.setThreads(Number(process.argv[2] ?? 1));

/** @type {readonly [string, readonly [number, number], number][]} */
const cases = [
  ['svft plain', [768, 768], 512],
  ['svft band 8', [768, 768], 512],
  ['svft random 17', [768, 768], 512],
  ['siva', [768, 768], 512],
  ['vectorfit', [768, 768], 512],
  ['loraxs 16', [768, 768], 512],
  ['svft band 8', [3072, 768], 512],
  ['svft band 8', [3072, 768], 2048],
  ['vectorfit', [768, 3072], 512],
  ['vectorfit', [4096, 4096], 512],
];

console.log(`${library.systemInfo().simd}, ${library.threads()} threads`);
for (const [family, shape, tokens] of cases) {
  const strategy = family === 'siva' || family.startsWith('loraxs') ? 'lowrank' : 'factored';
  const sides = await Promise.all(
    /** @type {const} */ (['float32', 'bfloat16']).map((dtype) =>
      adapterCase({ family, shape, tokens, strategy, what: 'step', dtype }).prepare(library),
    ),
  );
  const work = 2 * 2 * tokens * shape[0] * shape[1] * 2;
  const repeats = Math.max(1, Math.round(4e9 / work));
  /** @param {() => void} call */
  const time = (call) => {
    const start = process.cpuUsage();
    for (let i = 0; i < repeats; i++) call();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e3 / repeats;
  };
  for (const { call } of sides) time(call);
  const times = Array.from({ length: rounds }, () => sides.map(({ call }) => time(call)));
  const ratios = times.map(([single, half]) => single / half);
  const [low, middle, high] = [0, 0.5, 1].map((part) => quantile(ratios, part).toFixed(2));
  const [single, half] = [0, 1].map((side) =>
    quantile(
      times.map((each) => each[side]),
      0.5,
    ).toFixed(2),
  );
  const errors = await Promise.all(sides.map(async (side) => (await side.error?.())?.toExponential(1)));
  console.log(
    `${family}, ${shape.join(' × ')}, ${tokens} tokens: ${single} and ${half} ms, ${middle} times as fast (${low} to ${high}); errors ${errors.join(' and ')}`,
  );
  for (const side of sides) side.dispose?.();
}
