// @ts-check
// A model's worth: every linear layer of a LLaMA-3-8B, random numbers in the true shapes. All of them are decomposed if
// time allows; else some of each shape, and the total is what those come to.
import * as sigmatune from 'sigmatune';
import { svdCase } from '../cases/svd.js';
import { sample } from '../measure/sample.js';
import { mark } from './figure.js';

export const title = "A model's worth";
export const on = 'cuda';

/** One block's weights: what they are called, [out, in] and how many a block has. */
const linears = [
  { name: 'q and o', m: 4096, n: 4096, each: 2 },
  { name: 'k and v', m: 1024, n: 4096, each: 2 },
  { name: 'gate and up', m: 14336, n: 4096, each: 2 },
  { name: 'down', m: 4096, n: 14336, each: 1 },
];

/** @param {import('./figure.js').Context} context @returns {Generator<import('./figure.js').Job>} */
export function* jobs(context) {
  yield { name: 'LLaMA-3-8B, every linear layer', run: () => whole(context) };
}

/** @param {import('./figure.js').Context} context @returns {Promise<readonly import('./figure.js').Case[]>} */
async function whole({ device, dry, left, say }) {
  const blocks = dry ? 2 : 32;
  const scale = dry ? 1 / 128 : 1;
  // A weight's numbers are the same in every block, which no driver can know.
  const made = await Promise.all(
    linears.map(async ({ m, n, ...linear }) => {
      const one = svdCase('auto', [[m * scale, n * scale]], { device, stacked: true });
      return { ...linear, prepared: await one.prepare(sigmatune), seconds: 0, done: 0 };
    }),
  );
  for (const { prepared } of made) await sample(prepared, 1); // each shape's first, which allocates
  for (let block = 0; block < blocks && (block === 0 || left() > 20); block++) {
    for (const each of made) {
      each.seconds += ((await sample(each.prepared, each.each)) * each.each) / 1000;
      each.done += each.each;
    }
    if (block % 8 === 7) say(`${block + 1} of ${blocks} blocks`);
  }
  for (const { prepared } of made) prepared.dispose();
  const total = made.reduce((sum, { each, done, seconds }) => sum + (seconds * blocks * each) / done, 0);
  const complete = made.every(({ each, done }) => done === blocks * each);
  const parts = made.map(({ name, done, seconds }) => `${name}: ${((1e3 * seconds) / done).toFixed(0)} ms (${done})`);
  const figure = dry ? undefined : { median: total, low: total, high: total };
  return [
    {
      name: complete ? '224 decompositions' : '224 decompositions, from those that were run',
      dtype: 'float32',
      size: 'LLaMA-3-8B',
      marks: mark('seconds (goal for an H200)', figure, 'lower', 90),
      detail: dry ? '' : parts.join(', '),
    },
  ];
}
