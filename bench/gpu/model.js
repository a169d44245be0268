// @ts-check
// A model's worth: every linear layer of a LLaMA-3-8B, random numbers in the true shapes. All of them are decomposed where
// time allows; else some of each shape, and the total is what those come to.
import { svd } from 'sigmatune';
import { mark } from './case.js';
import { free, operand } from './data.js';

export const title = "A model's worth";

/** One block's weights: what they are called, [out, in] and how many a block has. */
const linears = [
  { name: 'q and o', m: 4096, n: 4096, each: 2 },
  { name: 'k and v', m: 1024, n: 4096, each: 2 },
  { name: 'gate and up', m: 14336, n: 4096, each: 2 },
  { name: 'down', m: 4096, n: 14336, each: 1 },
];

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  yield { name: 'LLaMA-3-8B, every linear layer', run: () => whole(context) };
}

/** @param {import('./case.js').Context} context @returns {Promise<import('./case.js').Case>} */
async function whole(context) {
  const { dry, left, say } = context;
  const blocks = dry ? 2 : 32;
  const scale = dry ? 1 / 128 : 1;
  const made = linears.map((linear) => ({
    ...linear,
    // A weight as it lies on the device: its numbers are the same in every block, which no driver can know.
    weight: operand([linear.m * scale, linear.n * scale], 'float32', 0.02),
    seconds: 0,
    done: 0,
  }));
  const matrix = (/** @type {typeof made[number]} */ { weight }) =>
    /** @type {import('sigmatune').Tensor<'float32'>} */ (weight.on);
  for (const each of made) await once(matrix(each)); // each shape's first, which allocates
  for (let block = 0; block < blocks && (block === 0 || left() > 20); block++) {
    for (const each of made) {
      for (let i = 0; i < each.each; i++) {
        each.seconds += await once(matrix(each));
        each.done++;
      }
    }
    if (block % 8 === 7) say(`${block + 1} of ${blocks} blocks`);
  }
  free(made.map(({ weight }) => weight.on));
  const total = made.reduce((sum, { each, done, seconds }) => sum + (seconds * blocks * each) / done, 0);
  const complete = made.every(({ each, done }) => done === blocks * each);
  const figure = dry ? undefined : { median: total, low: total, high: total };
  return {
    name: complete ? '224 decompositions' : '224 decompositions, from those that were run',
    dtype: 'float32',
    size: 'LLaMA-3-8B',
    marks: mark('seconds (goal for an H200)', figure, 'lower', 90),
    detail: dry
      ? ''
      : made
          .map(({ name, done, seconds }) => `${name}: ${((1e3 * seconds) / done).toFixed(0)} ms (${done})`)
          .join(', '),
  };
}

/** Seconds. @param {import('sigmatune').Tensor<'float32'>} a */
async function once(a) {
  const start = performance.now();
  const { u, s, vt } = await svd(a);
  const seconds = (performance.now() - start) / 1e3;
  free(u, s, vt);
  return seconds;
}
