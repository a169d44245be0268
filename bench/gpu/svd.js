// @ts-check
// Decompositions by driver and shape, by the wall clock, with what the answers are worth.
import { svd } from 'sigmatune';
import { mark } from './case.js';
import { free, operand } from './data.js';
import { clocked, wallTime } from './measure.js';
import { accuracy } from './svd-accuracy.js';

export const title = 'SVD by driver';

/** @typedef {'auto' | 'gram64' | 'gesvdp' | 'gesvdj' | 'gesvd'} Driver */
/** @typedef {{ batch: number, m: number, n: number, drivers: readonly Driver[], goal?: number }} Shape goal in seconds */

const all = /** @type {const} */ (['auto', 'gram64', 'gesvdp', 'gesvdj', 'gesvd']);

/** The slow drivers only where they are done within seconds. @type {readonly Shape[]} */
const shapes = [
  { batch: 1, m: 4096, n: 4096, drivers: ['auto', 'gram64', 'gesvdp'], goal: 0.25 },
  { batch: 48, m: 768, n: 768, drivers: ['auto', 'gram64', 'gesvdp'] },
  { batch: 1, m: 1024, n: 1024, drivers: all },
  { batch: 1000, m: 32, n: 32, drivers: all },
  { batch: 1, m: 2048, n: 16384, drivers: ['auto', 'gram64', 'gesvdp'] },
  { batch: 1, m: 4096, n: 14336, drivers: ['auto', 'gram64', 'gesvdp'], goal: 0.35 },
  { batch: 48, m: 768, n: 768, drivers: ['gesvdj'] },
  { batch: 1, m: 4096, n: 4096, drivers: ['gesvdj', 'gesvd'] },
];

/** @type {readonly Shape[]} */
const tiny = [
  { batch: 3, m: 8, n: 8, drivers: all },
  { batch: 1, m: 40, n: 24, drivers: all },
  { batch: 2, m: 24, n: 40, drivers: ['auto', 'gram64', 'gesvdp'] },
];

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  for (const shape of context.dry ? tiny : shapes) {
    for (const driver of shape.drivers) {
      const { batch, m, n } = shape;
      const size = batch > 1 ? `${batch} × ${m} × ${n}` : `${m} × ${n}`;
      yield { name: `svd '${driver}', ${size}`, run: () => decompose(context, shape, driver, size) };
    }
  }
}

/**
 * @param {import('./case.js').Context} context @param {Shape} shape @param {Driver} driver @param {string} size
 * @returns {Promise<import('./case.js').Case>}
 */
async function decompose(context, { batch, m, n, goal }, driver, size) {
  const a = operand([batch, m, n]);
  const stack = /** @type {import('sigmatune').Tensor<'float32'>} */ (a.on);
  const samples = await clocked(
    context,
    async () => {
      const { u, s, vt } = await svd(stack, { driver });
      free(u, s, vt);
    },
    driver === 'auto' ? 12 : 8,
  );
  const answer = await svd(stack, { driver });
  const { errors, marks } = await accuracy(a.host, answer, { batch, m, n }, driver);
  free(stack, answer.u, answer.s, answer.vt);
  const time = wallTime(samples);
  const seconds = time && { median: time.median / 1e3, low: time.low / 1e3, high: time.high / 1e3 };
  return {
    name: `svd '${driver}'`,
    dtype: 'float32',
    size,
    time,
    marks: [...(driver === 'auto' && goal ? mark('seconds (goal for an H200)', seconds, 'lower', goal) : []), ...marks],
    errors,
    detail: 'wall clock',
  };
}
