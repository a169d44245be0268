import { SparsityPattern, sddmm, spmm, type Tensor } from 'sigmatune';
import t from 'tap';
import { dtypes, sparseCases, tolerances, vectorsOf } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  disposeAll,
  expectNoLeak,
  gaussian,
  real,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import * as reference from '../support/reference.js';

t.test('products and their gradients against a dense reference', async (t) => {
  await expectNoLeak(t, 'sparse', () => {
    for (const { op, name, r, columns, pattern: patternCase, dtype, tolerance } of sparseCases) {
      const random = seeded(r * 1000 + columns);
      const pattern = patternCase.make(r);
      const a = gaussian(random, [r, columns], dtype);
      const b = gaussian(random, [r, columns], dtype);
      const values = gaussian(random, [pattern.entries], vectorsOf(dtype));
      const before = [a, b, values].map(snapshot);
      const dense = reference.matrix(r, columns, snapshot(a));
      if (op === 'sddmm') {
        const result = sddmm(pattern, a, b);
        const expected = reference.sddmm(pattern, dense, reference.matrix(r, columns, snapshot(b)));
        t.same([result.shape, result.dtype], [[pattern.entries], vectorsOf(dtype)], name);
        assertClose(t, result, expected, tolerance, name);
        disposeAll(result);
      } else {
        const transpose = op === 'spmmᵀ';
        const result = spmm(pattern, values, a, { transpose });
        const expected = reference.spmm(pattern, snapshot(values), dense, transpose);
        t.same([result.shape, result.dtype], [[r, columns], dtype], name);
        assertClose(t, result, expected.data, tolerance, name);
        disposeAll(result);
      }
      [a, b, values].forEach((tensor, i) => {
        assertSameBits(t, tensor, before[i] ?? [], `${name}: arguments are left alone`);
      });
      disposeAll(a, b, values);
    }
  });
});

/** Shapes that the CPU kernels split differently: ragged blocks, rows that do not fill a group, slabs of each width. */
const cuts = [
  ['a band in several blocks', SparsityPattern.banded(151, 8), 2500],
  ['a band wider than its matrix', SparsityPattern.banded(7, 6), 90],
  ['more slabs than ranges of them', SparsityPattern.random(70, { entries: 700 }, { seed: 1 }), 2410],
  ['rows too many for a wide slab', SparsityPattern.random(1540, { entries: 10_000 }, { seed: 2 }), 66],
  ['too few entries for slabs', SparsityPattern.random(300, { entries: 700 }, { seed: 3 }), 700],
] as const;

t.test('blocks of rows and tokens', async (t) => {
  for (const [name, pattern, columns] of cuts) {
    const [r] = pattern.shape;
    for (const dtype of dtypes) {
      const random = seeded(columns);
      const [a, b] = [gaussian(random, [r, columns], dtype), gaussian(random, [r, columns], dtype)];
      const values = gaussian(random, [pattern.entries], dtype);
      const [left, right] = [a, b].map((x) => reference.matrix(r, columns, snapshot(x)));
      const tolerance = tolerances[dtype];
      for (const transpose of [false, true]) {
        const product = spmm(pattern, values, a, { transpose });
        const expected = reference.spmm(pattern, snapshot(values), left as reference.Matrix, transpose);
        assertClose(t, product, expected.data, tolerance, `spmm${transpose ? 'ᵀ' : ''}, ${name}, ${dtype}`);
        disposeAll(product);
      }
      const samples = sddmm(pattern, a, b);
      const expected = reference.sddmm(pattern, left as reference.Matrix, right as reference.Matrix);
      assertClose(t, samples, expected, tolerance, `sddmm, ${name}, ${dtype}`);
      disposeAll(a, b, values, samples);
    }
  }
});

t.test('an entry outside the pattern does not multiply, even inside a group of rows', async (t) => {
  const [r, columns, bad] = [14, 70, 5];
  const random = SparsityPattern.random(r, { entries: 7 * r }, { seed: 4 });
  for (const pattern of [SparsityPattern.banded(r, 1), random]) {
    const values = gaussian(seeded(1), [pattern.entries], 'float32');
    const numbers = snapshot(gaussian(seeded(2), [r, columns], 'float32'));
    const clean = real(numbers, [r, columns], 'float32');
    const dense = real(
      numbers.fill(Number.POSITIVE_INFINITY, bad * columns, (bad + 1) * columns),
      [r, columns],
      'float32',
    );
    const product = spmm(pattern, values, dense);
    const samples = sddmm(pattern, clean, dense);
    const [products, dots] = [snapshot(product), snapshot(samples)];
    for (let i = 0; i < r; i++) {
      const row = pattern.columnIndices.subarray(pattern.rowPointers[i], pattern.rowPointers[i + 1]);
      const finite = products.subarray(i * columns, (i + 1) * columns).every(Number.isFinite);
      t.equal(finite, !row.includes(bad), `row ${i} of the product`);
      row.forEach((j, q) => {
        t.equal(Number.isFinite(dots[(pattern.rowPointers[i] ?? 0) + q]), j !== bad, `sample ${i}, ${j}`);
      });
    }
    disposeAll(values, clean, dense, product, samples);
  }
});

t.test('values are in slot order', async (t) => {
  const pattern = SparsityPattern.fromCoordinates([1, 0, 1], [0, 1, 0], 2);
  const slots = pattern.slots ?? new Int32Array();
  // Coordinate p gets 10ᵖ: M = [[0, 10], [101, 0]].
  const data = new Float64Array(3);
  for (let p = 0; p < 3; p++) data[slots[p] ?? 0] = 10 ** p;
  const values = real(data, [3], 'float64');
  const unit = real([1, 0, 0, 1], [2, 2], 'float64');
  const m = spmm(pattern, values, unit);
  t.same([...snapshot(m)], [0, 10, 101, 0], 'duplicates sum');
  const gradient = sddmm(pattern, unit, real([1, 2, 3, 4], [2, 2], 'float64'));
  t.same(
    [0, 1, 2].map((p) => snapshot(gradient)[slots[p] ?? 0]),
    [2, 3, 2],
    'duplicates get the same gradient each',
  );
  disposeAll(values, unit, m, gradient);
});

t.test('a row without entries gives zeros, even for NaN operands', async (t) => {
  const pattern = SparsityPattern.fromCoordinates([0], [0], 3);
  const values = real([2], [1], 'float32');
  const dense = real([1, Number.NaN, Number.NaN], [3, 1], 'float32');
  const result = spmm(pattern, values, dense);
  t.same([...result.dataSync()], [2, 0, 0], 'entries that are not in the pattern are not multiplied');
  disposeAll(values, dense, result);
});

t.test('sparse products refuse invalid arguments', async (t) => {
  const pattern = SparsityPattern.banded(4, 1);
  const values = gaussian(seeded(1), [pattern.entries], 'float32');
  const dense = gaussian(seeded(1), [4, 3], 'float32');
  const short = gaussian(seeded(1), [pattern.entries - 1], 'float32');
  const flat = gaussian(seeded(1), [12], 'float32');
  const tall = gaussian(seeded(1), [5, 3], 'float32');
  const narrow = gaussian(seeded(1), [4, 2], 'float32');
  const double = gaussian(seeded(1), [4, 3], 'float64');
  const half = dense.cast('bfloat16');
  const gone = gaussian(seeded(1), [4, 3], 'float32');
  gone.dispose();
  await expectNoLeak(t, 'failed calls', () => {
    throwsSigma(
      t,
      () => spmm(pattern, short, dense),
      'SHAPE_MISMATCH',
      'too few values',
      'values',
      String(pattern.entries),
      String(pattern.entries - 1),
    );
    throwsSigma(t, () => spmm(pattern, values, tall), 'SHAPE_MISMATCH', 'another r', 'dense', '[5,3]', '4');
    throwsSigma(t, () => spmm(pattern, values, flat), 'SHAPE_MISMATCH', 'a vector', 'dense', '[12]');
    throwsSigma(
      t,
      () => spmm(pattern, values, double as Tensor),
      'DTYPE_MISMATCH',
      'mixed types',
      'float32',
      'float64',
    );
    throwsSigma(t, () => spmm(pattern, values, gone), 'DISPOSED', 'a disposed tensor', 'dense');
    throwsSigma(t, () => spmm({} as SparsityPattern, values, dense), 'INVALID_ARGUMENT', 'not a pattern', 'pattern');
    throwsSigma(t, () => spmm(pattern, {} as Tensor, dense), 'INVALID_ARGUMENT', 'not a tensor', 'values');
    throwsSigma(t, () => sddmm(pattern, dense, narrow), 'SHAPE_MISMATCH', 'columns that differ', 'b', '[4,2]');
    throwsSigma(t, () => sddmm(pattern, tall, dense), 'SHAPE_MISMATCH', 'another r', 'a', '[5,3]');
    throwsSigma(
      t,
      () => sddmm(pattern, dense, double as Tensor),
      'DTYPE_MISMATCH',
      'mixed types',
      'float32',
      'float64',
    );
    throwsSigma(t, () => sddmm(pattern, gone, dense), 'DISPOSED', 'a disposed tensor', 'a');
    throwsSigma(
      t,
      () => sddmm(undefined as unknown as SparsityPattern, dense, dense),
      'INVALID_ARGUMENT',
      'no pattern',
      'pattern',
    );
  });
  disposeAll(values, dense, short, flat, tall, narrow, double, half);
});

t.test('a pattern with overwritten arrays cannot reach other memory', async (t) => {
  const pattern = SparsityPattern.fromCoordinates([0, 1, 2], [2, 1, 0], 3);
  const values = real([1, 2, 3], [3], 'float64');
  const dense = gaussian(seeded(2), [3, 4], 'float64');
  const expected = reference.spmm(pattern, [1, 2, 3], reference.matrix(3, 4, snapshot(dense)));
  pattern.columnIndices[0] = 1 << 28;
  pattern.rowPointers[1] = 1 << 28;
  for (const call of [() => spmm(pattern, values, dense), () => spmm(pattern, values, dense, { transpose: true })]) {
    try {
      const result = call();
      if (call.toString().includes('transpose')) t.equal(result.size, 12, 'the written arrays were copies');
      else assertClose(t, result, expected.data, { atol: 1e-14, rtol: 0 }, 'the written arrays were copies');
      disposeAll(result);
    } catch (error) {
      t.match(error, { name: 'SigmaError', code: 'INVALID_ARGUMENT' }, 'the damage is noticed');
    }
  }
  disposeAll(values, dense);
});
