import { effectiveRank, matmul, type Real, type Tensor, tensor } from 'sigmatune';
import t from 'tap';
import { matmulCases, roundedTo } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  gaussian,
  real,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { dense } from '../support/layer.js';
import * as reference from '../support/reference.js';

t.test('against the reference', async (t) => {
  await expectNoLeak(t, 'matmul', () => {
    for (const { name, m, k, n, transposeA, transposeB, dtype, tolerance } of matmulCases) {
      const random = seeded(m * 10000 + k * 100 + n);
      const aShape = transposeA ? [k, m] : [m, k];
      const bShape = transposeB ? [n, k] : [k, n];
      const a = gaussian(random, aShape, dtype);
      const b = gaussian(random, bShape, dtype);
      const [aBefore, bBefore] = [snapshot(a), snapshot(b)];
      const result = matmul(a, b, { transposeA, transposeB });
      const left = reference.matrix(aShape[0] ?? 0, aShape[1] ?? 0, aBefore);
      const right = reference.matrix(bShape[0] ?? 0, bShape[1] ?? 0, bBefore);
      const expected = reference.matmul(
        transposeA ? reference.transpose(left) : left,
        transposeB ? reference.transpose(right) : right,
      );
      t.same([result.shape, result.dtype], [[m, n], dtype], name);
      assertClose(t, result, expected.data, tolerance, name);
      assertSameBits(t, a, aBefore, `${name}: a is left alone`);
      assertSameBits(t, b, bBefore, `${name}: b is left alone`);
      disposeAll(a, b, result);
    }
  });
});

// A is packed in parts of 8 MB, which tasks share by rows, and k in parts of 512 or 1024.
t.test('in 16 bits a row depends neither on the other rows nor on their number', { skip: cpuOnly }, async (t) => {
  for (const dtype of ['bfloat16', 'float16'] as const) {
    for (const [m, k, n] of [
      [70_000, 64, 5],
      [1100, 1300, 70],
    ] as const) {
      const random = seeded(m);
      using a = gaussian(random, [m, k], dtype);
      using b = gaussian(random, [k, n], dtype);
      using all = matmul(a, b);
      const [rows, expected] = [snapshot(a), snapshot(all)];
      for (const first of [0, Math.floor(m / 2), m - 20]) {
        const label = `${dtype}, ${m} rows, from ${first} on`;
        using some = tensor(rows.slice(first * k, (first + 20) * k), [20, k], { dtype });
        using product = matmul(some, b);
        assertSameBits(t, product, expected.slice(first * n, (first + 20) * n), label);
        const right = reference.matmul(dense(some), dense(b));
        assertClose(t, product, right.data, roundedTo(dtype), label);
      }
    }
  }
});

t.test('a matrix with itself', async (t) => {
  const a = gaussian(seeded(3), [5, 5], 'float64');
  const expected = reference.matrix(5, 5, snapshot(a));
  const squared = matmul(a, a);
  const gram = matmul(a, a, { transposeA: true });
  assertClose(t, squared, reference.matmul(expected, expected).data, { atol: 1e-14, rtol: 0 }, 'a · a');
  assertClose(
    t,
    gram,
    reference.matmul(reference.transpose(expected), expected).data,
    { atol: 1e-14, rtol: 0 },
    'aᵀ · a',
  );
  disposeAll(a, squared, gram);
});

t.test('NaN and Infinity pass through arithmetic', async (t) => {
  const a = real([Number.NaN, 1, Infinity, 1], [2, 2], 'float32');
  const one = real([1, 0, 0, 1], [2, 2], 'float32');
  const product = matmul(a, one);
  const [first = 0, , third = 0] = product.dataSync();
  t.ok(Number.isNaN(first), 'NaN stays NaN');
  t.equal(third, Infinity);
  disposeAll(a, one, product);
});

t.test('matmul refuses invalid arguments', async (t) => {
  const a = gaussian(seeded(1), [3, 4], 'float32');
  const b = gaussian(seeded(1), [3, 5], 'float32');
  const vector = gaussian(seeded(1), [4], 'float32');
  const double = gaussian(seeded(1), [4, 2], 'float64');
  await expectNoLeak(t, 'failed calls', () => {
    throwsSigma(t, () => matmul(a, b), 'SHAPE_MISMATCH', 'inner sizes', '4', '[3,5]');
    throwsSigma(
      t,
      () => matmul(a, b, { transposeA: true, transposeB: true }),
      'SHAPE_MISMATCH',
      'inner sizes, transposed',
    );
    throwsSigma(t, () => matmul(a, vector), 'SHAPE_MISMATCH', 'a vector', 'b', '[4]');
    throwsSigma(
      t,
      () => matmul(a, double as unknown as Tensor<'float32'>),
      'DTYPE_MISMATCH',
      'mixed types',
      'float32',
      'float64',
    );
  });
  const [integers, half] = [a.cast('int32') as unknown as Tensor<Real>, a.cast('bfloat16')];
  throwsSigma(t, () => matmul(integers, integers), 'DTYPE_MISMATCH', 'int32', 'a', 'int32');
  throwsSigma(t, () => matmul(a, half as never), 'DTYPE_MISMATCH', 'mixed', 'b', 'float32', 'bfloat16');
  disposeAll(integers, half);
  disposeAll(a, b, vector, double);
});

t.test('effective rank', async (t) => {
  const spectra = [[1], [3, 3, 3, 3], [4, 2, 1, 1], [5, 0, 0], [1e-20, 1e-20], [1e200, 1e200, 1e200], [-1, 2, -3]];
  for (const spectrum of spectra) {
    const found = effectiveRank(spectrum);
    const wanted = reference.effectiveRank(spectrum);
    t.ok(Math.abs(found - wanted) <= 1e-12 * wanted, `[${spectrum}]: ${found} for ${wanted}`);
    for (const dtype of ['float32', 'float64'] as const) {
      const asTensor = tensor(spectrum, [spectrum.length], { dtype });
      const expected = reference.effectiveRank(snapshot(asTensor));
      if (Number.isFinite(expected))
        t.ok(Math.abs(effectiveRank(asTensor) - expected) <= 1e-6 * expected, `[${spectrum}], ${dtype}`);
      disposeAll(asTensor);
    }
  }
  t.equal(effectiveRank([0, 0, 0]), 0, 'all zeros');
  t.ok(Number.isNaN(effectiveRank([1, Number.NaN, 2])), 'NaN stays NaN');
  t.ok(Math.abs(effectiveRank(new Float32Array([2, 2])) - 2) < 1e-12, 'a typed array');
});
