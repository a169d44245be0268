// @ts-check
// Beside what JavaScript users would pick otherwise, where it is installed: npm install --no-save ml-matrix svd-js numeric
import { matmul, svd } from 'sigmatune';
import { alternate, quartiles, ratio } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'Beside JavaScript libraries: their time over ours';
export const columns = ['what', 'library', 'times ours', 'quartiles', ''];

/** @param {string} name @returns {Promise<any>} */
const installed = (name) =>
  import(name).then(
    (module) => ({ ...module.default, ...module }),
    () => undefined,
  );

export async function* run({ rounds = 5 } = {}) {
  const n = 128;
  const a = gaussianTensor([n, n]);
  const rows = Array.from({ length: n }, (_, i) => Array.from(a.dataSync().subarray(i * n, (i + 1) * n)));
  const [ml, svdJs, numeric] = await Promise.all(['ml-matrix', 'svd-js', 'numeric'].map(installed));
  /** @type {Record<string, Record<string, (() => unknown) | undefined>>} */
  const rivals = {
    'svd of 128²': {
      'ml-matrix': ml && (() => new ml.SingularValueDecomposition(new ml.Matrix(rows))),
      'svd-js': svdJs && (() => svdJs.SVD(rows)),
      numeric: numeric && (() => numeric.svd(rows)),
    },
    'product of 128²': {
      'ml-matrix': ml && (() => new ml.Matrix(rows).mmul(new ml.Matrix(rows))),
      numeric: numeric && (() => numeric.dot(rows, rows)),
    },
  };
  const ours = {
    'svd of 128²': async () => {
      for (const each of Object.values(await svd(a))) each.dispose();
    },
    'product of 128²': () => matmul(a, a).dispose(),
  };
  for (const [what, libraries] of Object.entries(rivals)) {
    for (const [library, side] of Object.entries(libraries)) {
      if (side === undefined) {
        console.log(`skipped: ${library} is not installed (npm install --no-save ml-matrix svd-js numeric)`);
        continue;
      }
      const mine = ours[/** @type {keyof typeof ours} */ (what)];
      const samples = await alternate({ ours: mine, theirs: side }, { rounds });
      const times = ratio(samples.theirs, samples.ours);
      yield [what, library, times.median.toFixed(1), quartiles(times, 1), ''];
    }
  }
}
