// @ts-check
// The same call a hundred times: every reduction gives the same bits, whatever ran before it.
import * as sigmatune from 'sigmatune';
import { adapterCase } from '../cases/adapters.js';
import { resetArena } from '../cases/arena.js';
import { gemmCase } from '../cases/dense.js';
import { disposeAll } from '../cases/operands.js';
import { directions, sparseCase } from '../cases/sparse.js';
import { svdCase } from '../cases/svd.js';
import { settings } from './settings.js';

/** @typedef {import('../cases/case.js').Case} Case */

export const title = 'The same bits every time';

/** @param {import('./figure.js').Context} context @returns {Generator<import('./figure.js').Job>} */
export function* jobs(context) {
  const { dtypes, sparsePatterns, repeated: n } = settings(context);
  const { device } = context;
  const tokens = 2 * n + 7;
  const job = (/** @type {Case} */ one, times = 100) => ({
    name: one.name,
    run: () => same(one, context.dry ? 2 : times),
  });
  for (const dtype of dtypes) {
    for (const pattern of sparsePatterns) {
      for (const direction of directions) {
        const one = sparseCase({ direction, pattern, r: n, columns: tokens, device, dtype });
        yield job(one, direction === 'sddmm' ? 100 : 10);
      }
    }
    for (const family of ['vectorfit', 'svft band 8', 'svft random 17']) {
      yield job(adapterCase({ family, shape: [n, n], tokens, what: 'pass', device, dtype }));
    }
  }
  yield job(gemmCase({ out: n, inFeatures: n, tokens: n, device }));
  yield job(svdCase('auto', [[n >> 2, n >> 2]], { device }), 10);
}

/** @param {Case} one @param {number} times @returns {Promise<readonly import('./figure.js').Case[]>} */
async function same({ name, prepare }, times) {
  resetArena();
  const prepared = await prepare(sigmatune);
  if (!prepared.outputs) throw new Error(`${name} has no outputs`);
  /** @type {string | undefined} */
  let first;
  let different = 0;
  for (let round = 0; round < times; round++) {
    const made = await prepared.outputs();
    const bits = (await Promise.all(made.map(async (each) => checksum(await each.data())))).join();
    disposeAll(made);
    first ??= bits;
    if (bits !== first) different++;
  }
  prepared.dispose();
  return [{ name, errors: [{ value: different, bound: 0, of: `of ${times} repeats differ` }] }];
}

/** FNV over the bits: only equal bits have to give equal sums. @param {NodeJS.TypedArray} numbers */
function checksum(numbers) {
  const words = new Uint16Array(numbers.buffer, numbers.byteOffset, numbers.byteLength / 2);
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (let i = 0; i < words.length; i++) {
    a = Math.imul(a ^ words[i], 0x01000193);
    b = Math.imul(b + words[i], 0x85ebca6b) ^ (b >>> 15);
  }
  return `${words.length}:${a >>> 0}:${b >>> 0}`;
}
