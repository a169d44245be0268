/** SiVA's own rules: how many singular values are trained, which, and in what basis. */
import { type AdaptedLinear, type SivaOptions, siva, svd } from 'sigmatune';
import t from 'tap';
import { dtypes, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  orthonormal,
  real,
  rejectsSigma,
  seeded,
  snapshot,
  withSpectrum,
  write,
} from '../support/helpers.js';
import { dense, diagonalWeight, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';

/** k = max(1, n − j*), j* = min{j : Σ_{i≤j} λ_i ≥ perc · Σ λ}. */
const spectra: readonly { s: readonly number[]; options: SivaOptions; k: number; why: string }[] = [
  { s: [4, 2, 1, 1], options: {}, k: 1, why: 'σ² reach 0.727, 0.909, 0.954: the third passes 0.95' },
  { s: [4, 2, 1, 1], options: { perc: 0.9 }, k: 2, why: 'the second reaches 0.909' },
  { s: [4, 2, 1, 1], options: { perc: 0.7 }, k: 3, why: 'the first reaches 0.727' },
  { s: [4, 2, 1, 1], options: { perc: 0.7, spectrum: 'linear' }, k: 2, why: 'σ reach 0.5, 0.75' },
  {
    s: [4, 2, 1, 1],
    options: { perc: 0.5, spectrum: 'linear' },
    k: 3,
    why: 'the index that reaches perc exactly is cut after',
  },
  { s: [4, 2, 1, 1], options: { perc: 0.75, spectrum: 'linear' }, k: 2, why: 'and so the second' },
  { s: [4, 2, 1, 1], options: { spectrum: 'linear' }, k: 1, why: 'at least one, where none is left' },
  { s: [10, 1, 1, 1, 1, 1], options: {}, k: 5, why: 'the first holds 0.952' },
  { s: [10, 1, 1, 1, 1, 1], options: { spectrum: 'linear' }, k: 1, why: 'linear: 10, 11, 12, 13, 14 of 15' },
  { s: [2, 2, 2, 2, 2], options: { perc: 0.55 }, k: 2, why: 'flat: three of five' },
  { s: [3], options: {}, k: 1, why: 'one singular value' },
  { s: [5, 3, 0, 0], options: { perc: 0.9 }, k: 2, why: 'zeros count among the lowest' },
  { s: [4, 2, 1, 1], options: { count: 3 }, k: 3, why: 'count overrules' },
  { s: [4, 2, 1, 1], options: { count: 4 }, k: 4, why: 'all of them' },
];

t.test('the variance rule gives k', async (t) => {
  for (const { s, options, k, why } of spectra) {
    const { weight, factors } = diagonalWeight(s);
    for (const select of ['lowest', 'top'] as const) {
      const label = `[${s}], ${JSON.stringify({ ...options, select })}: ${why}`;
      const layer = await siva(weight, { factors, select, ...options });
      t.same([layer.rank, parameter(layer, 's').value.size, layer.parameterCount], [k, k, k], label);
      // s = 1, 2, …: s[0] belongs to the largest of the chosen σ.
      const chosen = Array.from({ length: k }, (_, i) => i + 1);
      write(parameter(layer, 's').value, chosen);
      const expected = s.map((sigma, i) => sigma + (chosen[select === 'top' ? i : i - (s.length - k)] ?? 0));
      const merged = layer.mergedWeight();
      assertClose(t, merged, reference.diagonal(expected).data, tolerances.float64, `${label}: which`);
      merged.dispose();
      disposeLayer(layer);
    }
    const random = await siva(weight, { factors, basis: 'random', seed: 1, ...options });
    t.equal(random.rank, k, `[${s}]: the random basis has the same k`);
    disposeLayer(random);
    disposeAll(weight);
    disposeSvd(factors);
  }
});

for (const dtype of dtypes) {
  t.test(`k of a weight that siva decomposes itself, ${dtype}`, async (t) => {
    // Excludes sums that equal perc exactly, which rounding decides.
    for (const { s, options, k, why } of spectra.filter(
      ({ options }) => options.perc !== 0.5 && options.perc !== 0.75,
    )) {
      const weight = real(withSpectrum(seeded(3), 9, s.length, s), [9, s.length], dtype);
      const layer = await siva(weight, options);
      t.equal(layer.rank, k, `[${s}], ${JSON.stringify(options)}: ${why}`);
      disposeLayer(layer);
      disposeAll(weight);
    }
  });
}

t.test('layer.factors are the trained singular triples', async (t) => {
  const weight = gaussian(seeded(4), [10, 7], 'float64');
  const factors = await svd(weight);
  const [u, s, vt] = [dense(factors.u), snapshot(factors.s), dense(factors.vt)];
  for (const select of ['lowest', 'top'] as const) {
    for (const strategy of ['lowrank', 'merged', 'factored'] as const) {
      const layer = await siva(weight, { factors, count: 3, select, strategy });
      const first = select === 'top' ? 0 : 4;
      const columns = reference.build(10, 3, (i, j) => reference.entry(u, i, first + j));
      const rows = reference.build(3, 7, (i, j) => reference.entry(vt, first + i, j));
      const label = `${select}, ${strategy}`;
      t.same([layer.factors.u.shape, layer.factors.s.shape, layer.factors.vt.shape], [[10, 3], [3], [3, 7]], label);
      assertClose(t, layer.factors.u, columns.data, tolerances.float64, `${label}: columns of U`);
      assertClose(t, layer.factors.s, s.subarray(first, first + 3), tolerances.float64, `${label}: their σ`);
      assertClose(t, layer.factors.vt, rows.data, tolerances.float64, `${label}: rows of Vᵀ`);
      disposeLayer(layer);
    }
  }
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('the random basis is orthonormal and seeded', async (t) => {
  const weight = gaussian(seeded(5), [12, 9], 'float64');
  const make = (seed: number): Promise<AdaptedLinear> => siva(weight, { count: 4, basis: 'random', seed });
  const [layer, same, other] = [await make(1), await make(1), await make(2)];
  const [u, vt] = [dense(layer.factors.u), dense(layer.factors.vt)];
  const unit = reference.identity(4);
  t.ok(
    reference.largest(reference.subtract(reference.matmul(reference.transpose(u), u), unit)) < 1e-13,
    'U is orthonormal',
  );
  t.ok(
    reference.largest(reference.subtract(reference.matmul(vt, reference.transpose(vt)), unit)) < 1e-13,
    'V is orthonormal',
  );
  assertSameBits(t, same.factors.u, layer.factors.u, 'the same for the same seed');
  t.notSame(snapshot(other.factors.u), snapshot(layer.factors.u), 'another basis for another seed');
  const own = await svd(weight);
  const overlap = reference.matmul(reference.transpose(dense(own.u)), u);
  t.ok(reference.largest(overlap) < 0.999, "not the weight's own directions");
  for (const each of [layer, same, other]) disposeLayer(each);
  disposeAll(weight);
  disposeSvd(own);
});

t.test('Theorem 4: one example is fitted exactly', async (t) => {
  // Square orthogonal U and V, s_i = u_iᵀy / v_iᵀx − σ_i: then W' x = y.
  const n = 16;
  const random = seeded(6);
  for (const strategy of ['auto', 'factored', 'merged', 'lowrank'] as const) {
    const weight = gaussian(random, [n, n], 'float64', 1 / 4);
    const factors = await svd(weight);
    const layer = await siva(weight, { factors, count: n, strategy });
    const x = gaussian(random, [1, n], 'float64');
    const target = gaussian(random, [1, n], 'float64');
    const p = reference.matmul(dense(x), reference.transpose(dense(factors.vt)));
    const q = reference.matmul(dense(target), dense(factors.u));
    const s = snapshot(factors.s).map((sigma, i) => at(q.data, i) / at(p.data, i) - sigma);
    write(parameter(layer, 's').value, s);
    const y = layer.apply(x);
    assertClose(t, y, target, { atol: 1e-11, rtol: 0 }, `${strategy}: no loss is left`);
    disposeAll(weight, x, target, y);
    disposeSvd(factors);
    disposeLayer(layer);
  }
});

t.test('orthonormal factors are used unchanged', async (t) => {
  const random = seeded(7);
  const u = real(orthonormal(random, 6, 6), [6, 6], 'float64');
  const vt = real(orthonormal(random, 6, 6), [6, 6], 'float64');
  const s = real([6, 5, 4, 3, 2, 1], [6], 'float64');
  const weight = real(
    reference.matmul(reference.matmul(dense(u), reference.diagonal([6, 5, 4, 3, 2, 1])), dense(vt)).data,
    [6, 6],
    'float64',
  );
  const layer = await siva(weight, { factors: { u, s, vt }, count: 2 });
  write(parameter(layer, 's').value, [10, 20]);
  const merged = layer.mergedWeight();
  const expected = reference.matmul(reference.matmul(dense(u), reference.diagonal([6, 5, 4, 3, 12, 21])), dense(vt));
  assertClose(t, merged, expected.data, tolerances.float64, 'W0 + U_k diag(s) V_kᵀ');
  disposeAll(u, vt, s, weight, merged);
  disposeLayer(layer);
});

t.test('siva refuses invalid options', async (t) => {
  const weight = gaussian(seeded(1), [6, 5], 'float32');
  for (const perc of [-0.1, 0, 1.1, Number.NaN]) {
    await rejectsSigma(t, () => siva(weight, { perc }), 'INVALID_ARGUMENT', `perc ${perc}`, 'perc', String(perc));
  }
  for (const count of [0, 6, -1, 1.5]) {
    await rejectsSigma(
      t,
      () => siva(weight, { count }),
      ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'],
      `count ${count}`,
      'count',
      String(count),
    );
  }
  for (const [name, value] of [
    ['spectrum', 'cubic'],
    ['select', 'middle'],
    ['basis', 'fourier'],
  ] as const) {
    const options = { [name]: value } as unknown as SivaOptions;
    await rejectsSigma(t, () => siva(weight, options), 'INVALID_ARGUMENT', `${name}: ${value}`, name, value);
  }
  disposeAll(weight);
});

t.test('count and perc exclude each other', async (t) => {
  const weight = gaussian(seeded(1), [6, 5], 'float32');
  await rejectsSigma(t, () => siva(weight, { count: 2, perc: 0.9 }), 'INVALID_ARGUMENT', 'perc with count', 'perc');
  disposeAll(weight);
});

t.test('a weight of zeros', async (t) => {
  const weight = real(new Float64Array(12), [4, 3], 'float64');
  const layer = await siva(weight);
  t.equal(layer.rank, 1, 'carries no share of anything: one is trained, as always');
  disposeLayer(layer);
  disposeAll(weight);
});

t.test('merging a factored layer keeps the bits of the base', async (t) => {
  const weight = gaussian(seeded(9), [10, 10], 'float32');
  const layer = await siva(weight, { count: 4, strategy: 'factored' });
  const merged = layer.mergedWeight();
  assertSameBits(t, merged, weight, 'where nothing was trained');
  disposeAll(merged, weight);
  disposeLayer(layer);
});

t.test('the planner chooses the cheaper of factored and low-rank', async (t) => {
  // On a square weight factored costs 4 GEMMs and low-rank 2 + 4k/r, which is equal at k = r / 2.
  const weight = gaussian(seeded(9), [16, 16], 'float32');
  for (const [count, strategy] of [
    [7, 'lowrank'],
    [8, 'lowrank'],
    [9, 'factored'],
  ] as const) {
    const layer = await siva(weight, { count });
    const plan = layer.explain(1);
    t.equal(plan.strategy, strategy, `k = ${count}`);
    const cost = strategy === 'factored' ? 4 : 2 + (4 * count) / 16;
    t.ok(Math.abs(plan.gemms - cost) < 1e-12, `k = ${count}: ${plan.gemms} GEMMs for ${cost}`);
    disposeLayer(layer);
  }
  disposeAll(weight);
});

t.test('count makes `spectrum` irrelevant', async (t) => {
  const weight = gaussian(seeded(1), [6, 5], 'float64');
  const [layer, plain] = [await siva(weight, { count: 2, spectrum: 'linear' }), await siva(weight, { count: 2 })];
  assertSameBits(t, layer.factors.u, plain.factors.u, 'the spectrum');
  disposeLayer(layer);
  disposeLayer(plain);
  disposeAll(weight);
});

t.test('the factors are created once and disposed with the layer', async (t) => {
  const weight = gaussian(seeded(4), [10, 7], 'float64');
  const factors = await svd(weight);
  for (const strategy of ['auto', 'factored', 'merged', 'lowrank'] as const) {
    await expectNoLeak(t, strategy, async () => {
      const layer = await siva(weight, { factors, count: 5, strategy });
      const { u, s, vt } = layer.factors;
      t.same([u.shape, s.shape, vt.shape], [[10, 5], [5], [5, 7]], `${strategy}: k triples`);
      t.ok(layer.factors.u === u && layer.factors.vt === vt, `${strategy}: the same handles every time`);
      layer.dispose();
      t.same([u.disposed, s.disposed, vt.disposed], [true, true, true], `${strategy}: are gone`);
    });
    await expectNoLeak(t, `${strategy}, never asked for`, async () => {
      const layer = await siva(weight, { factors, count: 5, strategy });
      layer.dispose();
    });
  }
  disposeAll(weight);
  disposeSvd(factors);
});
