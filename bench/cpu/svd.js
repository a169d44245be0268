// @ts-check
// The default driver beside LAPACK's own, matrix by matrix and as a batch.
import { svd } from 'sigmatune';
import { alternate, quartiles, ratio, timing } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'SVD';
export const columns = ['matrix', "'auto', ms", "'gesdd', ms", 'auto over gesdd', 'quartiles', 'goal'];

const free = (/** @type {import('sigmatune').Svd[]} */ list) => {
  for (const { u, s, vt } of list) for (const each of [u, s, vt]) each.dispose();
};

export async function* run({ rounds = 9 } = {}) {
  for (const [m, n] of [
    [64, 64],
    [256, 256],
    [768, 768],
    [1536, 1536],
    [3072, 768],
    [768, 3072],
  ]) {
    const a = gaussianTensor([m, n]);
    const side = (/** @type {'auto' | 'gesdd'} */ driver) => async () => free([await svd(a, { driver })]);
    const samples = await alternate({ auto: side('auto'), gesdd: side('gesdd') }, { rounds: m * n > 2e6 ? 5 : rounds });
    yield line(`${m} × ${n}`, samples, '≤ 1.00');
    a.dispose();
  }
  const batch = Array.from({ length: 16 }, () => gaussianTensor([768, 768]));
  const whole = (/** @type {'auto' | 'gesdd'} */ driver) => async () => free(await svd(batch, { driver }));
  const samples = await alternate({ auto: whole('auto'), gesdd: whole('gesdd') }, { rounds: 5 });
  for (const list of Object.values(samples)) for (const i of list.keys()) list[i] /= 16;
  yield line('16 × 768², each', samples, '');
  for (const each of batch) each.dispose();
}

/** @param {string} name @param {Record<string, number[]>} samples @param {string} goal */
function line(name, { auto, gesdd }, goal) {
  const over = ratio(auto, gesdd);
  const ms = (/** @type {number[]} */ list) => timing(list).median.toFixed(1);
  return [name, ms(auto), ms(gesdd), over.median.toFixed(2), quartiles(over), goal];
}
