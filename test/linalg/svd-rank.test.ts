// The largest singular triples alone, at sizes where only they are computed.
import {
  adaptModel,
  decompose,
  loraXs,
  memory,
  openFactorCache,
  planModel,
  type Real,
  type Svd,
  setThreads,
  svd,
  svft,
  type Tensor,
  threads,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { dtypes, svdAccuracy } from '../support/cases.js';
import {
  assertSameBits,
  at,
  type Check,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  put,
  real,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { withSingularValues } from '../support/reference.js';

const withKnownSpectrum = (m: number, n: number, spectrum: (j: number) => number): Float64Array =>
  withSingularValues(m, n, spectrum, seeded(m + n).normals).data;

/** |A v − σ u| and |Aᵀ u − σ v| together over all triples, orthonormality, signs, and σ. All relative to σ₁. */
function checkLeading(t: Check, a: Float64Array, { u, s, vt }: Svd, wanted: Float64Array, dtype: Real, label: string) {
  const [m, k] = u.shape as [number, number];
  const n = at(vt.shape, 1);
  const [left, values, right] = [snapshot(u), snapshot(s), snapshot(vt)];
  const size = Math.hypot(...values) || 1;
  let [offU, offV, skew] = [0, 0, 0];
  for (let p = 0; p < k; p++) {
    const back = new Float64Array(n);
    for (let i = 0; i < m; i++) {
      let dot = 0;
      const own = at(left, i * k + p);
      for (let j = 0; j < n; j++) {
        dot += at(a, i * n + j) * at(right, p * n + j);
        back[j] = at(back, j) + own * at(a, i * n + j);
      }
      offU += (dot - at(values, p) * own) ** 2;
    }
    for (let j = 0; j < n; j++) offV += (at(back, j) - at(values, p) * at(right, p * n + j)) ** 2;
    for (let q = 0; q <= p; q++) {
      let [inU, inV] = [0, 0];
      for (let i = 0; i < m; i++) inU += at(left, i * k + p) * at(left, i * k + q);
      for (let j = 0; j < n; j++) inV += at(right, p * n + j) * at(right, q * n + j);
      skew = Math.max(skew, Math.abs(inU - Number(p === q)), Math.abs(inV - Number(p === q)));
    }
    const column = Array.from({ length: m }, (_, i) => at(left, i * k + p));
    const least = column.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * (1 - 1 / 2048);
    t.ok((column.find((value) => Math.abs(value) >= least) ?? 0) > 0, `${label}: the sign of column ${p}`);
  }
  const { residual, orthogonality } = svdAccuracy[dtype];
  const off = Math.sqrt(Math.max(offU, offV)) / size;
  t.ok(off <= residual, `${label}: residual ${off}`);
  t.ok(skew <= orthogonality, `${label}: orthogonality ${skew}`);
  const worst = values.reduce((most, value, p) => Math.max(most, Math.abs(value - at(wanted, p))), 0);
  t.ok(worst <= 2 * residual * (at(wanted, 0) || 1), `${label}: σ is off by ${worst / (at(wanted, 0) || 1)} · σ₁`);
  t.ok(
    values.every((value, p) => p === 0 || value <= at(values, p - 1)),
    `${label}: descending`,
  );
}

const spectra: Record<string, (j: number) => number> = {
  '1 / j': (j) => 1 / (1 + j),
  'power law with a flat tail': (j) => (1 + j) ** -0.6 + 0.02,
  geometric: (j) => 0.8 ** j,
  'a cluster that is wider than the cut': (j) => (j < 90 ? 3 : 1 / (1 + j)),
  'ties at the cut': (j) => (j < 20 ? 4 - j / 10 : j < 60 ? 1 : 0.5 / (j - 58)),
  'rank 7': (j) => (j < 7 ? 2 - j / 7 : 0),
  'all equal': () => 0.75,
};

for (const dtype of dtypes) {
  t.test(`the largest triples, ${dtype}`, async (t) => {
    for (const [name, spectrum] of Object.entries(spectra)) {
      for (const [m, n, k] of [
        [340, 340, 24],
        [600, 260, 30],
        [260, 600, 1],
      ] as const) {
        await expectNoLeak(t, name, async () => {
          const label = `${name}, ${m} × ${n}, k = ${k}`;
          const numbers = withKnownSpectrum(m, n, spectrum);
          const wanted = Float64Array.from({ length: Math.min(m, n) }, (_, j) => spectrum(j))
            .sort()
            .reverse();
          const a = real(numbers, [m, n], dtype);
          const found = await svd(a, { rank: k });
          t.same([found.u.shape, found.s.shape, found.vt.shape], [[m, k], [k], [k, n]], `${label}: shapes`);
          checkLeading(t, snapshot(a), found, wanted, dtype, label);
          a.dispose();
          disposeSvd(found);
        });
      }
    }
  });
}

t.test('scales, zeros, NaN', async (t) => {
  const numbers = withKnownSpectrum(300, 270, (j) => 1 / (1 + j));
  for (const [scale, dtype] of [
    [2 ** 120, 'float32'],
    [2 ** -100, 'float32'],
    [2 ** 1000, 'float64'],
    [2 ** -1000, 'float64'],
  ] as const) {
    const a = real(
      numbers.map((value) => value * scale),
      [300, 270],
      dtype,
    );
    const plain = real(numbers, [300, 270], dtype);
    const [found, wanted] = [await svd(a, { rank: 8 }), await svd(plain, { rank: 8 })];
    assertSameBits(
      t,
      found.s,
      snapshot(wanted.s).map((value) => value * scale),
      `${dtype}, ${scale}: a power of two changes nothing else`,
    );
    disposeAll(a, plain);
    disposeSvd(found, wanted);
  }
  const nothing = zeros([300, 280]);
  const found = await svd(nothing, { rank: 4 });
  t.same([...snapshot(found.s)], [0, 0, 0, 0], 'zeros');
  disposeSvd(found);
  put(nothing, 700, Number.NaN);
  await rejectsSigma(t, () => svd(nothing, { rank: 4 }), 'NON_FINITE', 'NaN', 'row 2, column 140');
  await rejectsSigma(
    t,
    () => svd(nothing, { rank: 281 }),
    'INVALID_ARGUMENT',
    'rank beyond the sides',
    'rank',
    '280',
    '281',
  );
  nothing.dispose();
});

t.test('the same bits for any number of threads, in a list, a stack and alone', async (t) => {
  const before = threads();
  const numbers = withKnownSpectrum(520, 300, (j) => 1 / (1 + j));
  const [a, other] = [real(numbers, [520, 300], 'float32'), gaussian(seeded(2), [520, 300], 'float32')];
  const stack = real([...snapshot(other), ...snapshot(a)], [2, 520, 300], 'float32');
  const alone = await svd(a, { rank: 9 });
  for (const count of [1, 3]) {
    setThreads(count);
    const [, listed] = await svd([other, a], { rank: 9 });
    const stacked = await svd(stack, { rank: 9 });
    for (const part of ['u', 's', 'vt'] as const) {
      assertSameBits(t, (listed as Svd)[part] as Tensor, snapshot(alone[part]), `${part}, ${count} threads`);
      const all = snapshot(stacked[part]);
      t.same(all.slice(all.length / 2), snapshot(alone[part]), `${part} of a stack, ${count} threads`);
    }
    disposeSvd(stacked);
  }
  setThreads(before);
  disposeAll(a, other, stack);
  disposeSvd(alone);
});

t.test('a layer with a rank decomposes no more than that', async (t) => {
  const weight = real(
    withKnownSpectrum(300, 264, (j) => 1 / (1 + j)),
    [300, 264],
    'float32',
  );
  const rank = 12;
  using factors = await decompose(weight, { rank });
  for (const [name, make] of [
    ['svft', (options: object) => svft(weight, { rank, pattern: 'banded', offDiagonals: 1, ...options })],
    ['svft, dropped', (options: object) => svft(weight, { rank, residual: 'drop', ...options })],
    ['loraXs', (options: object) => loraXs(weight, { rank, ...options })],
  ] as const) {
    using layer = await make({});
    using given = await make({ factors });
    const own = layer.factors;
    assertSameBits(t, own.u as Tensor, snapshot(factors.u as Tensor), `${name}: U of svd's triples`);
    assertSameBits(t, own.s, snapshot(factors.s), `${name}: σ of svd's triples`);
    t.same(layer.telemetry(), given.telemetry(), `${name}: knows what a layer on truncated factors knows`);
    const [spectrum, wanted] = [await layer.spectrum(), await svd(weight)];
    const kept = name === 'svft, dropped' ? rank : 264;
    t.ok(
      snapshot(spectrum).every((value, j) => Math.abs(value - (j < kept ? at(snapshot(wanted.s), j) : 0)) < 1e-5),
      `${name}: the whole spectrum takes an SVD`,
    );
    spectrum.dispose();
    disposeSvd(wanted);
  }
  for (const options of [
    { family: 'svft', options: { rank } },
    { family: 'svft', options: { rank, residual: 'drop' } },
    { family: 'loraxs', options: { rank } },
  ] as const) {
    using model = await adaptModel({ 'a.q.weight': weight }, { targets: 'all', ...options });
    t.same(
      planModel({ 'a.q.weight': [300, 264] }, { targets: 'all', ...options }),
      model.describe(),
      JSON.stringify(options),
    );
  }
  const cache = await openFactorCache(t.testdir());
  using cached = await cache.decompose(weight, { rank });
  using whole = await cache.decompose(weight);
  using again = await cache.decompose(weight, { rank });
  t.same([cache.misses, cache.hits], [2, 1], 'the rank is part of the key');
  assertSameBits(t, again.u as Tensor, snapshot(cached.u as Tensor), 'U from the folder');
  t.equal(whole.s.size, 264);
  weight.dispose();
});

t.test('no memory grows over many decompositions', { skip: cpuOnly }, async (t) => {
  const a = real(
    withKnownSpectrum(280, 260, (j) => 1 / (1 + j)),
    [280, 260],
    'float32',
  );
  const before = memory().bytes;
  const resident: number[] = [];
  for (let i = 0; i < 240; i++) {
    disposeSvd(await svd(a, { rank: 8 }));
    if (i % 80 === 79) resident.push(process.memoryUsage().rss);
  }
  t.same(memory().bytes, before);
  t.ok(
    at(resident, 2) - at(resident, 1) < 16e6,
    `${at(resident, 2) - at(resident, 1)} bytes more after 80 decompositions`,
  );
  a.dispose();
});
