// @ts-check
// Compared with what JavaScript users would pick otherwise, if it is installed: npm install --no-save ml-matrix svd-js numeric
import { gemmCase } from '../cases/dense.js';
import { numbers } from '../cases/numbers.js';
import { svdCase } from '../cases/svd.js';
import { mark } from '../figures/figure.js';
import { groupJob } from '../figures/group.js';
import { wallClock } from '../measure/sample.js';

export const title = 'Compared with JavaScript libraries: their time over ours';
export const on = 'cpu';

/** @typedef {readonly (readonly number[])[]} Rows */

/** What each library does with the rows of a matrix. @type {Readonly<Record<string, Readonly<Record<'svd' | 'gemm', ((library: any, rows: Rows) => unknown) | undefined>>>>} */
const libraries = {
  'ml-matrix': {
    svd: (ml, rows) => new ml.SingularValueDecomposition(new ml.Matrix(rows)),
    gemm: (ml, rows) => new ml.Matrix(rows).mmul(new ml.Matrix(rows)),
  },
  'svd-js': { svd: (js, rows) => js.SVD(rows), gemm: undefined },
  numeric: { svd: (numeric, rows) => numeric.svd(rows), gemm: (numeric, rows) => numeric.dot(rows, rows) },
};

/** @param {import('../figures/figure.js').Context} context @returns {Generator<import('../figures/figure.js').Job>} */
export function* jobs(context) {
  const n = context.dry ? 8 : 128;
  const numbersOfA = numbers(1).gaussian(n * n);
  const rows = Array.from({ length: n }, (_, i) => Array.from(numbersOfA.subarray(i * n, (i + 1) * n)));
  const ours = {
    svd: svdCase('auto', [[n, n]], { size: n * n }),
    gemm: gemmCase({ out: n, inFeatures: n, tokens: n }),
  };
  for (const [name, does] of Object.entries(libraries)) {
    for (const what of /** @type {const} */ (['svd', 'gemm'])) {
      const theirs = does[what];
      const run = () => compare(context, name, { what, ours: ours[what], theirs: (js) => theirs?.(js, rows) });
      if (theirs) yield { name: `${what}, ${name}`, run };
    }
  }
}

/** @param {import('../figures/figure.js').Context} context @param {string} name @param {{ what: string, ours: import('../cases/case.js').Case, theirs: (library: any) => unknown }} of */
async function compare(context, name, { what, ours, theirs }) {
  const library = await import(name).then(
    (module) => ({ ...module.default, ...module }),
    () => undefined,
  );
  if (library === undefined) {
    context.say(`skipped: ${name} is not installed (npm install --no-save ml-matrix svd-js numeric)`);
    return [];
  }
  const rival = {
    prepared: { call: () => theirs(library), error: () => 0, dispose: () => undefined },
    clock: wallClock,
  };
  const group = {
    size: `${Math.sqrt(ours.size)}²`,
    cases: { [`${what} compared with ${name}`]: ours },
    against: { rival: { open: () => rival } },
    judge: (/** @type {string} */ mine, /** @type {import('../measure/alternate.js').Rounds} */ rounds) =>
      mark(
        'their time over ours',
        rounds.figure((ms) => ms.rival / ms[mine]),
        'higher',
      ),
  };
  return groupJob(context, group).run();
}
