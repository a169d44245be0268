/** The numerical rank: its default tolerance, matrices of a known rank, invalid arguments. */
import { numericalRank, svd, type Tensor, tidy } from 'sigmatune';
import t from 'tap';
import { dtypes } from '../support/cases.js';
import { disposeSvd, gaussian, real, seeded, throwsSigma } from '../support/helpers.js';
import { dense } from '../support/layer.js';
import * as reference from '../support/reference.js';

t.test('matrices of a known rank', async (t) => {
  for (const dtype of dtypes) {
    for (const [out, inFeatures, rank] of [
      [20, 20, 20],
      [30, 20, 7],
      [9, 40, 1],
      [16, 16, 15],
    ] as const) {
      const [tall, wide] = [gaussian(seeded(1), [out, rank], dtype), gaussian(seeded(2), [rank, inFeatures], dtype)];
      const product = reference.matmul(dense(tall), dense(wide));
      const weight = real(product.data, [out, inFeatures], dtype);
      const factors = await svd(weight as Tensor<'float32'>);
      const epsilon = dtype === 'float32' ? 2 ** -23 : 2 ** -52;
      const label = `${out} × ${inFeatures} of rank ${rank}, ${dtype}`;
      t.equal(numericalRank(factors.s, { tolerance: Math.max(out, inFeatures) * epsilon }), rank, label);
      if (out === inFeatures) t.equal(numericalRank(factors.s), rank, `${label}: the default`);
      disposeSvd(factors);
      for (const tensor of [tall, wide, weight]) tensor.dispose();
    }
  }
});

t.test('the tolerance', async (t) => {
  const s = [-8, 4, 2, 1e-7, 0, 1e-15, -0];
  t.equal(numericalRank(s), 4, 'by default 7 · 2⁻⁵² · 8: not 1e-15');
  t.equal(numericalRank(Float64Array.from(s)), 4, 'Float64Array');
  t.equal(numericalRank(Float32Array.from(s)), 3, 'Float32Array: 7 · 2⁻²³ · 8 is above 1e-7');
  const tensors = dtypes.map((dtype) => real(s, [7], dtype));
  t.same(
    tensors.map((tensor) => numericalRank(tensor)),
    [3, 4],
    'tensors',
  );
  for (const tensor of tensors) tensor.dispose();
  t.equal(numericalRank(s, {}), 4);
  t.equal(numericalRank(s, { tolerance: 0 }), 5, '0 counts all that are not 0');
  t.equal(numericalRank(s, { tolerance: 0.25 }), 2, 'a value must be above the limit, so 2 does not count');
  t.equal(numericalRank(s, { tolerance: 0.2499 }), 3);
  t.equal(numericalRank(s, { tolerance: 1 }), 0, 'no value is above the largest');
  t.equal(numericalRank([5]), 1);
  t.equal(numericalRank([0, -0]), 0);
  t.equal(numericalRank([5e-324, 0]), 1, 'the smallest number');
  t.equal(numericalRank([1.7e308, 1e307]), 2, 'near overflow');
  t.same([numericalRank([1, Number.NaN]), numericalRank([1, Infinity])], [Number.NaN, Number.NaN], 'not finite');
});

t.test('invalid arguments', async (t) => {
  const gone = real([1], [1], 'float64');
  gone.dispose();
  const integers = tidy(() => real([1], [1], 'float32').cast('int32'));
  for (const [label, bad, code, part] of [
    ['nothing', undefined, 'INVALID_ARGUMENT', 's'],
    ['an empty array', [], 'INVALID_ARGUMENT', 's'],
    ['texts', [1, '2'], 'INVALID_ARGUMENT', 's[1]'],
    ['a disposed tensor', gone, 'DISPOSED', 's'],
    ['integers', integers, 'DTYPE_MISMATCH', 's'],
  ] as const) {
    throwsSigma(t, () => numericalRank(bad as unknown as number[]), code, label, /^numericalRank: /, part);
  }
  integers.dispose();
  for (const tolerance of [-1e-3, Number.NaN, Infinity, '0.1', null] as unknown as number[]) {
    const call = () => numericalRank([1], { tolerance });
    throwsSigma(t, call, 'INVALID_ARGUMENT', `${tolerance}`, 'options.tolerance', `${tolerance}`);
  }
  const unknown = { tol: 1e-3 } as object;
  throwsSigma(t, () => numericalRank([1], unknown), 'INVALID_ARGUMENT', 'unknown', 'tol', 'tolerance');
});
