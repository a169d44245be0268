#!/usr/bin/env node
// @ts-check
// A training step with bfloat16 and with float16 matrices, and with int8 factors next to float32 and bfloat16
// activations, against the same step in float32, with the errors of each and the bytes of U and Vᵀ, by family and shape:
//   node bench/study/storage.js [threads] [family, such as 'svft plain']
// The sides take turns. A ratio is of processor time, which other programs disturb less than the clock.
import * as library from 'sigmatune';
import { adapterCase } from '../cases/adapters.js';
import { quantile } from '../stats/quantile.js';

const rounds = 9;
library.setThreads(Number(process.argv[2] ?? 1));

/** @type {readonly [string, readonly [number, number], number, 'merged'?][]} */
const cases = [
  ['svft plain', [768, 768], 512],
  ['svft band 8', [768, 768], 512],
  ['svft random 17', [768, 768], 512],
  ['siva', [768, 768], 512],
  ['vectorfit', [768, 768], 512],
  ['loraxs 16', [768, 768], 512],
  ['svft band 8', [3072, 768], 512],
  ['svft band 8', [3072, 768], 2048],
  ['svft band 8', [768, 768], 4096],
  ['svft band 8', [768, 768], 4096, 'merged'],
  ['vectorfit', [768, 3072], 512],
  ['vectorfit', [4096, 4096], 512],
];

/** The matrices of each side, and the type of its factors. */
const sides = /** @type {const} */ ([
  { dtype: 'float32' },
  { dtype: 'bfloat16' },
  { dtype: 'float16' },
  { dtype: 'float32', storage: 'int8' },
  { dtype: 'bfloat16', storage: 'int8' },
]);
const names = sides.map((side) => ('storage' in side ? `int8 next to ${side.dtype}` : side.dtype));

console.log(`${library.systemInfo().simd}, ${library.threads()} threads`);
for (const [family, shape, tokens, asked] of cases) {
  if (!family.startsWith(process.argv[3] ?? '')) continue;
  /** @type {import('../cases/families.js').Strategy} */
  const strategy = asked ?? (family === 'siva' || family.startsWith('loraxs') ? 'lowrank' : 'factored');
  const given = {
    family,
    shape,
    tokens,
    strategy,
    what: /** @type {const} */ ('step'),
  };
  const made = await Promise.all(sides.map((side) => adapterCase({ ...given, ...side }).prepare(library)));
  const work = 2 * 2 * tokens * shape[0] * shape[1] * 2;
  const repeats = Math.max(1, Math.round(4e9 / work));
  /** @param {() => void} call */
  const time = (call) => {
    const start = process.cpuUsage();
    for (let i = 0; i < repeats; i++) call();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e3 / repeats;
  };
  for (const { call } of made) time(call);
  const times = Array.from({ length: rounds }, () => made.map(({ call }) => time(call)));
  console.log(`${family}, ${shape.join(' × ')}, ${tokens} tokens, ${strategy}`);
  for (const [i, side] of made.entries()) {
    const middle = quantile(
      times.map((each) => each[i]),
      0.5,
    );
    const ratios = times.map((each) => each[0] / each[i]);
    const [low, high] = [0, 1].map((part) => quantile(ratios, part).toFixed(2));
    const error = (await side.error?.())?.toExponential(1);
    console.log(`  ${names[i]}: ${middle.toFixed(2)} ms, ${low} to ${high} times as fast as float32, error ${error}`);
    side.dispose?.();
  }
}
