/** SVFT's own options: patterns by name, initialisation, truncation, and the public reference code's departures. */
import {
  type AdaptedLinear,
  parameterCount,
  SparsityPattern,
  type Svd,
  type SvftOptions,
  svd,
  svft,
  type Tensor,
} from 'sigmatune';
import t from 'tap';
import { tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  fill,
  gaussian,
  real,
  rejectsSigma,
  rewrite,
  seeded,
  snapshot,
  values,
  withSpectrum,
} from '../support/helpers.js';
import { dense, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';
import { cells, cellsOf, weightAndFactors } from '../support/svft-core.js';

t.test('patterns by name', async (t) => {
  const { weight, factors } = await weightAndFactors(14, 14);
  const named: [SvftOptions, SparsityPattern][] = [
    [{}, SparsityPattern.diagonal(14)],
    [{ pattern: 'plain' }, SparsityPattern.diagonal(14)],
    [{ pattern: 'banded', offDiagonals: 3 }, SparsityPattern.banded(14, 3)],
    [{ pattern: 'banded', offDiagonals: 0 }, SparsityPattern.diagonal(14)],
    [{ pattern: 'random', offDiagonals: 2, seed: 7 }, SparsityPattern.random(14, { offDiagonals: 2 }, { seed: 7 })],
    [{ pattern: 'topk', offDiagonals: 2 }, SparsityPattern.topK(factors.u, factors.vt, { offDiagonals: 2 })],
    [
      { pattern: 'topk', offDiagonals: 2, absolute: false },
      SparsityPattern.topK(factors.u, factors.vt, { offDiagonals: 2 }, { absolute: false }),
    ],
    [
      { pattern: SparsityPattern.fromCoordinates([3, 3, 0], [1, 1, 13], 14) },
      SparsityPattern.fromCoordinates([3, 3, 0], [1, 1, 13], 14),
    ],
  ];
  for (const [options, pattern] of named) {
    const label = `${typeof options.pattern === 'string' ? options.pattern : options.pattern?.kind}, d ${options.offDiagonals}`;
    const layer = await svft(weight, { factors, ...options });
    t.same(cellsOf(layer), cells(pattern), label);
    t.equal(layer.parameterCount, pattern.entries + 1, `${label}: its entries and the gate`);
    disposeLayer(layer);
    const gateless = await svft(weight, { factors, ...options, gate: false });
    t.same(
      gateless.parameters.map(({ name }) => name),
      ['m'],
      `${label}: no gate`,
    );
    t.same(cellsOf(gateless), cells(pattern), `${label}, no gate: M is not scaled`);
    disposeLayer(gateless);
  }
  const wrong = SparsityPattern.banded(13, 1);
  await rejectsSigma(
    t,
    () => svft(weight, { factors, pattern: wrong }),
    'SHAPE_MISMATCH',
    'a pattern of another r',
    'pattern',
    '13',
    '14',
  );
  const unknown = { pattern: 'dense' } as unknown as SvftOptions;
  await rejectsSigma(
    t,
    () => svft(weight, unknown),
    'INVALID_ARGUMENT',
    'an unknown pattern',
    'pattern',
    'dense',
    'banded',
  );
  for (const offDiagonals of [-1, 0.5, Number.NaN]) {
    await rejectsSigma(
      t,
      () => svft(weight, { pattern: 'banded', offDiagonals }),
      'INVALID_ARGUMENT',
      `${offDiagonals}`,
      'offDiagonals',
    );
  }
  const tall = gaussian(seeded(2), [9, 4], 'float64');
  await rejectsSigma(
    t,
    () => svft(tall, { pattern: 'topk', offDiagonals: 1 }),
    'SHAPE_MISMATCH',
    'top-k on a rectangle',
    '9',
    '4',
  );
  disposeAll(weight, tall);
  disposeSvd(factors);
});

t.test('initialisation', async (t) => {
  const { weight, factors } = await weightAndFactors(64, 64);
  const plain = await svft(weight, { factors, pattern: 'banded', offDiagonals: 8 });
  t.ok(
    values(parameter(plain, 'm').value)[0] === 0 && snapshot(parameter(plain, 'm').value).every((m) => m === 0),
    'zeros by default',
  );
  disposeLayer(plain);

  const kaiming = await svft(weight, { factors, pattern: 'banded', offDiagonals: 8, init: 'kaiming', seed: 1 });
  const m = snapshot(parameter(kaiming, 'm').value);
  const z = m.length;
  const mean = m.reduce((sum, value) => sum + value, 0) / z;
  const variance = m.reduce((sum, value) => sum + value * value, 0) / z;
  t.ok(Math.abs(mean) < 5 * Math.sqrt(2 / z / z), `Kaiming: mean ${mean} about 0`);
  t.ok(Math.abs(variance / (2 / z) - 1) < 0.25, `Kaiming: variance ${variance} about 2/z = ${2 / z}`);
  const merged = kaiming.mergedWeight();
  const update = reference.norm(reference.subtract(dense(merged), dense(weight)));
  t.ok(Math.abs(update - Math.SQRT1_2) < 0.1, `Kaiming: ‖ΔW₀‖ is ${update}, about 0.71`);
  const same = await svft(weight, { factors, pattern: 'banded', offDiagonals: 8, init: 'kaiming', seed: 1 });
  const other = await svft(weight, { factors, pattern: 'banded', offDiagonals: 8, init: 'kaiming', seed: 2 });
  assertSameBits(t, parameter(same, 'm').value, m, 'Kaiming: the same for the same seed');
  t.notSame(snapshot(parameter(other, 'm').value), m, 'Kaiming: other numbers for another seed');
  merged.dispose();
  for (const layer of [kaiming, same, other]) disposeLayer(layer);

  const given = Float64Array.from({ length: 64 }, (_, i) => i / 10);
  const own = await svft(weight, { factors, init: { m: given, gate: -1.5 } });
  assertSameBits(t, parameter(own, 'm').value, given, 'given values');
  assertSameBits(t, parameter(own, 'gate').value, [-1.5], 'a given gate');
  given.fill(0);
  t.equal(at(values(parameter(own, 'm').value), 63), 6.3, 'given values are copied');
  disposeLayer(own);
  const ungated = await svft(weight, { factors, init: { m: new Array(64).fill(0.25) } });
  assertSameBits(t, parameter(ungated, 'gate').value, [0], 'no gate given: γ is 0');
  disposeLayer(ungated);
  await rejectsSigma(
    t,
    () => svft(weight, { factors, init: { m: [1, 2, 3] } }),
    ['SHAPE_MISMATCH', 'INVALID_ARGUMENT'],
    'too few values',
    'init',
    '3',
    '64',
  );
  const unknown = { factors, init: 'ones' } as unknown as SvftOptions;
  await rejectsSigma(t, () => svft(weight, unknown), 'INVALID_ARGUMENT', 'an unknown initialisation', 'init', 'ones');
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('truncation', async (t) => {
  await expectNoLeak(t, 'truncation', async () => {
    for (const [rows, columns] of [
      [12, 12],
      [18, 9],
      [9, 18],
    ] as const) {
      const { weight, factors } = await weightAndFactors(rows, columns);
      const r = Math.min(rows, columns);
      const rank = 4;
      const [u, s, vt] = [dense(factors.u), snapshot(factors.s), dense(factors.vt)];
      const kept = s.map((value, i) => (i < rank ? value : 0));
      const head = reference.matmul(reference.matmul(u, reference.diagonal(kept)), vt);
      const wanted = { drop: head, keep: dense(weight), orthonormal: head, default: dense(weight) };
      for (const residual of ['drop', 'keep', 'orthonormal', undefined] as const) {
        const label = `${rows} × ${columns}, ${residual ?? 'default'}`;
        const layer = await svft(weight, {
          rank,
          pattern: 'banded',
          offDiagonals: 1,
          seed: 3,
          ...(residual && { residual }),
        });
        const merged = layer.mergedWeight();
        assertClose(t, merged, wanted[residual ?? 'default'].data, tolerances.float64, `${label}: step 0`);
        t.equal(layer.rank, residual === 'orthonormal' ? r : rank, `${label}: rank`);
        const { shape } = layer.factors.u;
        t.same(shape, [rows, layer.rank], `${label}: factors of that rank`);
        t.equal(
          parameter(layer, 'm').value.size,
          SparsityPattern.banded(layer.rank, 1).entries,
          `${label}: M is rank × rank`,
        );
        const [lu, lvt] = [dense(layer.factors.u), dense(layer.factors.vt)];
        const unit = reference.identity(layer.rank);
        const close = (a: reference.Matrix): boolean => reference.largest(reference.subtract(a, unit)) < 1e-12;
        t.ok(close(reference.matmul(reference.transpose(lu), lu)), `${label}: UᵀU = I`);
        t.ok(close(reference.matmul(lvt, reference.transpose(lvt))), `${label}: VᵀV = I`);
        const expected = Float64Array.from({ length: layer.rank }, (_, i) => at(kept, i));
        assertClose(t, layer.factors.s, expected, tolerances.float64, `${label}: the largest σ, then zeros`);
        merged.dispose();
        disposeLayer(layer);
      }
      const whole = await svft(weight, { factors, rank: r });
      t.equal(whole.rank, r, 'the full rank is no truncation');
      disposeLayer(whole);
      const sliced = await svft(weight, { factors, rank, residual: 'drop' });
      t.same([sliced.rank, sliced.factors.u.shape], [rank, [rows, rank]], 'a smaller rank slices given factors');
      disposeLayer(sliced);
      for (const bad of [0, -1, 1.5, r + 1]) {
        await rejectsSigma(
          t,
          () => svft(weight, { factors, rank: bad }),
          ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'],
          `rank ${bad}`,
          'rank',
          String(bad),
        );
      }
      disposeAll(weight);
      disposeSvd(factors);
    }
  });
});

t.test('the orthonormal fill is seeded', async (t) => {
  const { weight, factors } = await weightAndFactors(10, 8);
  const make = (seed: number): Promise<AdaptedLinear> =>
    svft(weight, { factors, rank: 3, residual: 'orthonormal', seed });
  const [first, same, other] = [await make(1), await make(1), await make(2)];
  assertSameBits(t, same.factors.u, first.factors.u, 'the same for the same seed');
  t.notSame(snapshot(other.factors.u), snapshot(first.factors.u), 'another basis for another seed');
  for (const layer of [first, same, other]) disposeLayer(layer);
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('svft refuses invalid options', async (t) => {
  const weight = gaussian(seeded(1), [6, 5], 'float32');
  const factors = await svd(weight);
  const foreign = await svd(gaussian(seeded(2), [6, 4], 'float32'));
  const vector = gaussian(seeded(1), [6], 'float32');
  const shortBias = gaussian(seeded(1), [5], 'float32');
  const doubleBias = gaussian(seeded(1), [6], 'float64');
  const broken = real([1, 2, Number.NaN, 4], [2, 2], 'float32');
  await rejectsSigma(t, () => svft(vector), 'SHAPE_MISMATCH', 'a vector', 'weight', '[6]');
  await rejectsSigma(t, () => svft(broken), 'NON_FINITE', 'NaN in the weight');
  await rejectsSigma(
    t,
    () => svft(weight, { bias: shortBias }),
    'SHAPE_MISMATCH',
    'a bias of the wrong length',
    'bias',
    '[5]',
    '6',
  );
  await rejectsSigma(
    t,
    () => svft(weight, { bias: doubleBias }),
    'DTYPE_MISMATCH',
    'a bias of another type',
    'bias',
    'float64',
    'float32',
  );
  await rejectsSigma(
    t,
    () => svft(weight, { factors: foreign }),
    'SHAPE_MISMATCH',
    'factors of another weight',
    'factors',
  );
  await rejectsSigma(t, () => svft(weight, { signal: AbortSignal.abort() }), 'ABORTED', 'aborted');
  await rejectsSigma(
    t,
    () => svft(weight, { parity: 'other' } as unknown as SvftOptions),
    'INVALID_ARGUMENT',
    'an unknown parity',
    'parity',
    'other',
  );
  await rejectsSigma(
    t,
    () => svft(weight, { residual: 'some' } as unknown as SvftOptions),
    'INVALID_ARGUMENT',
    'an unknown residual',
    'residual',
    'some',
  );
  await rejectsSigma(t, () => svft(undefined as unknown as Tensor), 'INVALID_ARGUMENT', 'no weight', 'weight');
  disposeAll(weight, vector, shortBias, doubleBias, broken);
  disposeSvd(factors, foreign);
});

t.test('contradictory options are refused', async (t) => {
  const { weight, factors } = await weightAndFactors(6, 6);
  const refused: [SvftOptions, string][] = [
    // A width without a pattern most likely means that the pattern was forgotten.
    [{ offDiagonals: 2 }, 'options.pattern'],
    [{ gate: false, init: { m: new Float64Array(6), gate: 1 } }, 'gate'],
    [{ init: { m: [0, 0, Number.NaN, 0, 0, 0] } }, 'init.m[2]'],
    [{ init: { m: new Float64Array(6), gate: Infinity } }, 'init.gate'],
  ];
  for (const [options, part] of refused) {
    await rejectsSigma(t, () => svft(weight, { factors, ...options }), 'INVALID_ARGUMENT', part, part);
  }
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('a seed gives the same start on every platform and in every version', async (t) => {
  // The pattern, the start and the residual have independent streams.
  const { weight, factors } = await weightAndFactors(6, 6);
  const layer = await svft(weight, { factors, init: 'kaiming', seed: 42 });
  assertClose(
    t,
    parameter(layer, 'm').value,
    [
      -0.30215554035698033, 0.3476984025150477, 0.44308347840674733, -0.08309843047718977, 1.0120062768068032,
      -0.20811496706242724,
    ],
    { atol: 1e-13, rtol: 0 },
    'Kaiming, seed 42',
  );
  disposeLayer(layer);
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('options of another pattern are ignored', async (t) => {
  const { weight, factors } = await weightAndFactors(9, 9);
  const x = gaussian(seeded(3), [4, 9], 'float64');
  const own = SparsityPattern.fromCoordinates([3, 0], [1, 8], 9);
  for (const [label, options, same] of [
    ['a width for plain', { pattern: 'plain', offDiagonals: 2 }, { pattern: 'plain' }],
    ['a width for a structure', { pattern: own, offDiagonals: 3 }, { pattern: own }],
    ['a seed for banded', { pattern: 'banded', seed: 7 }, { pattern: 'banded' }],
    ['a sign for banded', { pattern: 'banded', absolute: false }, { pattern: 'banded' }],
  ] as [string, SvftOptions, SvftOptions][]) {
    const [layer, plain] = [
      await svft(weight, { factors, ...options }),
      await svft(weight, { factors, ...same }),
    ] as const;
    t.equal(layer.parameterCount, plain.parameterCount, `${label}: as many numbers`);
    for (const each of [layer, plain]) {
      rewrite(parameter(each, 'm').value, (_, p) => Math.sin(p + 1));
    }
    const [y, expected] = [layer.apply(x), plain.apply(x)];
    assertSameBits(t, y, expected, `${label}: the same layer`);
    disposeAll(y, expected);
    disposeLayer(layer);
    disposeLayer(plain);
  }
  await rejectsSigma(
    t,
    () => svft(weight, { factors, pattern: 'plain', offDiagonals: -1 }),
    'INVALID_ARGUMENT',
    'but not what no pattern would take',
    'offDiagonals',
    '-1',
  );
  disposeAll(weight, x);
  disposeSvd(factors);
});

t.test('large seeds are distinct', async (t) => {
  const { weight, factors } = await weightAndFactors(9, 9);
  const options = { factors, pattern: 'random', init: 'kaiming' } as const;
  const starts = new Set<string>();
  const seeds = [5, 2 ** 32 + 5, 2 ** 45 + 5, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
  for (const seed of seeds) {
    const layer = await svft(weight, { ...options, seed });
    starts.add(String(snapshot(parameter(layer, 'm').value)));
    disposeLayer(layer);
  }
  t.equal(starts.size, seeds.length, 'each gives a start of its own');
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('two-sided bands, repeated cells and the diagonal, by name', async (t) => {
  const r = 14;
  const { weight, factors } = await weightAndFactors(r, r);
  const lower = { lower: 2, upper: 0 };
  const both = { lower: 1, upper: 3 };
  const { random, topK, banded } = SparsityPattern;
  const named: [SvftOptions, SparsityPattern][] = [
    [{ pattern: 'banded', offDiagonals: lower }, banded(r, lower)],
    [{ pattern: 'banded', offDiagonals: both }, banded(r, both)],
    [{ pattern: 'banded', offDiagonals: { lower: 99, upper: 0 } }, banded(r, { lower: 13, upper: 0 })],
    [{ pattern: 'topk', offDiagonals: both }, topK(factors.u, factors.vt, { offDiagonals: both })],
    [{ pattern: 'random', offDiagonals: lower, seed: 7 }, random(r, { offDiagonals: lower }, { seed: 7 })],
    [
      { pattern: 'random', offDiagonals: 3, seed: 7, replacement: true },
      random(r, { offDiagonals: 3 }, { seed: 7, replacement: true }),
    ],
    [
      { pattern: 'random', offDiagonals: both, seed: 7, includeDiagonal: true },
      random(r, { offDiagonals: both }, { seed: 7, includeDiagonal: true }),
    ],
    [
      { pattern: 'random', offDiagonals: 2, seed: 7, includeDiagonal: true, replacement: true },
      random(r, { offDiagonals: 2 }, { seed: 7, includeDiagonal: true, replacement: true }),
    ],
    // parity draws with replacement by default.
    [
      { pattern: 'random', offDiagonals: 3, seed: 7, replacement: false, parity: 'svft-ref' },
      random(r, { offDiagonals: 3 }, { seed: 7 }),
    ],
    [
      { pattern: 'random', offDiagonals: 3, seed: 7, parity: 'svft-ref' },
      random(r, { offDiagonals: 3 }, { seed: 7, replacement: true }),
    ],
  ];
  for (const [{ parity, ...options }, pattern] of named) {
    const label = JSON.stringify({ ...options, parity });
    const layer = await svft(weight, { factors, ...options, ...(parity && { parity }) });
    t.same(cellsOf(layer), cells(pattern), label);
    t.equal(layer.parameterCount, pattern.entries + 1, `${label}: its entries and the gate`);
    const method = {
      name: 'svft',
      pattern: options.pattern as 'banded',
      offDiagonals: options.offDiagonals ?? 1,
    } as const;
    const modules = [{ out: r, in: r }];
    t.equal(parameterCount(method, modules), layer.parameterCount, `${label}: as counted without weights`);
    t.equal(parameterCount({ ...method, gate: false }, modules), pattern.entries, `${label}: and without a gate`);
    disposeLayer(layer);
  }
  const diagonal = await svft(weight, { factors, pattern: 'random', offDiagonals: 1, seed: 3, includeDiagonal: true });
  const found = new Set(cellsOf(diagonal));
  t.ok(Array.from({ length: r }, (_, i) => found.has(`${i},${i}`)).every(Boolean), 'the whole diagonal is there');
  disposeLayer(diagonal);

  const refused: [Record<string, unknown>, ...string[]][] = [
    [{ pattern: 'banded', offDiagonals: { lower: 1 } }, 'offDiagonals.upper'],
    [{ pattern: 'banded', offDiagonals: { lower: -1, upper: 0 } }, 'offDiagonals.lower', '-1'],
    [{ pattern: 'banded', offDiagonals: { lower: 1, upper: 1, width: 1 } }, 'offDiagonals', 'width'],
    [{ pattern: 'banded', offDiagonals: [1, 2] }, 'offDiagonals'],
    [{ offDiagonals: { lower: 1, upper: 2 } }, 'options.pattern'],
    [{ pattern: 'random', replacement: 1 }, 'replacement', '1'],
    [{ pattern: 'random', includeDiagonal: 'yes' }, 'includeDiagonal', 'yes'],
  ];
  for (const [options, ...parts] of refused) {
    const given = { factors, ...options } as unknown as SvftOptions;
    await rejectsSigma(t, () => svft(weight, given), 'INVALID_ARGUMENT', JSON.stringify(options), ...parts);
  }
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('parameterCount of two-sided bands', async (t) => {
  const count = (out: number, inFeatures: number, lower: number, upper: number, rank?: number): number =>
    parameterCount(
      { name: 'svft', pattern: 'banded', offDiagonals: { lower, upper }, gate: false, ...(rank && { rank }) },
      [{ out, in: inFeatures, count: 3 }],
    );
  for (const [out, inFeatures, lower, upper, rank] of [
    [6, 9, 0, 0],
    [9, 6, 2, 0],
    [6, 6, 1, 4],
    [6, 6, 50, 2],
    [12, 9, 3, 1, 4],
  ] as const) {
    const r = Math.min(out, inFeatures, rank ?? Infinity);
    let entries = 0;
    for (let i = 0; i < r; i++) for (let j = 0; j < r; j++) if (i - j <= lower && j - i <= upper) entries++;
    t.equal(
      count(out, inFeatures, lower, upper, rank),
      3 * entries,
      `${out} × ${inFeatures}, ${lower}, ${upper}, rank ${rank}`,
    );
  }
  for (const d of [0, 1, 8]) {
    const modules = [{ out: 2048, in: 256, count: 18 }];
    const both = parameterCount({ name: 'svft', pattern: 'banded', offDiagonals: { lower: d, upper: d } }, modules);
    t.equal(both, parameterCount({ name: 'svft', pattern: 'banded', offDiagonals: d }, modules), `both sides ${d}`);
  }
});

/** A weight, with its three largest triples, filled up with directions of σ = 0 that are not the weight's own. */
async function filledFactors(rows: number, columns: number): Promise<{ weight: Tensor; factors: Svd }> {
  const { weight, factors } = await weightAndFactors(rows, columns, 3);
  const layer = await svft(weight, { factors, rank: 3, residual: 'orthonormal', seed: 2 });
  const { u, s, vt } = layer.factors;
  const copy = {
    u: real(snapshot(u), u.shape, 'float64'),
    s: real(snapshot(s), s.shape, 'float64'),
    vt: real(snapshot(vt), vt.shape, 'float64'),
  };
  disposeLayer(layer);
  disposeSvd(factors);
  return { weight, factors: copy };
}

t.test('supplied factors may be filled up with σ = 0', async (t) => {
  await expectNoLeak(t, 'filled factors', async () => {
    for (const [rows, columns] of [
      [6, 6],
      [9, 6],
      [6, 9],
    ] as const) {
      const { weight, factors } = await filledFactors(rows, columns);
      const { weight: other, factors: foreign } = await weightAndFactors(rows, columns, 8);
      const x = gaussian(seeded(4), [5, columns], 'float64');
      const options = { pattern: 'banded', offDiagonals: 1, init: 'zeros' } as const;
      const head = reference.matmul(
        reference.matmul(dense(factors.u), reference.diagonal(snapshot(factors.s))),
        dense(factors.vt),
      );
      for (const more of [{ residual: 'drop' }, { residual: 'orthonormal' }, { parity: 'svft-ref' }] as const) {
        const label = `${rows} × ${columns}, ${JSON.stringify(more)}`;
        const layer = await svft(weight, { ...options, ...more, factors });
        t.equal(layer.rank, 6, `${label}: all of their directions`);
        const merged = layer.mergedWeight();
        assertClose(t, merged, head.data, tolerances.float64, `${label}: W' is what they make up`);
        const y = layer.apply(x);
        assertClose(t, y, reference.linear(dense(x), head).data, tolerances.float64, `${label}: y`);
        // The directions of σ = 0 train as well.
        const m = parameter(layer, 'm').value;
        fill(m, 1);
        const moved = layer.mergedWeight();
        const pattern = SparsityPattern.banded(6, 1);
        const operator = {
          u: dense(factors.u),
          vt: dense(factors.vt),
          sigma: snapshot(factors.s),
          m: { pattern, values: snapshot(m) },
          gate: 0,
        };
        assertClose(t, moved, reference.mergedWeight(operator).data, tolerances.float64, `${label}: trained`);
        layer.enabled = false;
        const base = layer.mergedWeight();
        assertSameBits(t, base, weight, `${label}: off, the weight with its tail`);
        disposeAll(merged, y, moved, base);
        disposeLayer(layer);

        await rejectsSigma(
          t,
          () => svft(weight, { ...options, ...more, factors: foreign }),
          'BASE_MISMATCH',
          `${label}: factors of another weight`,
          'options.factors',
        );
        await rejectsSigma(
          t,
          () => svft(other, { ...options, ...more, factors }),
          'BASE_MISMATCH',
          `${label}: another weight`,
          'options.factors',
        );
        const nothing = real(new Float64Array(6), [6], 'float64');
        await rejectsSigma(
          t,
          () => svft(weight, { ...options, ...more, factors: { ...foreign, s: nothing } }),
          'BASE_MISMATCH',
          `${label}: nothing but fill`,
          'options.factors',
        );
        nothing.dispose();
      }
      for (const residual of ['keep', undefined] as const) {
        await rejectsSigma(
          t,
          () => svft(weight, { ...options, factors, ...(residual && { residual }) }),
          'BASE_MISMATCH',
          `${rows} × ${columns}: residual ${residual}, whose W' has the tail`,
          'options.factors',
        );
      }
      // A smaller rank slices the fill off.
      const sliced = await svft(weight, { ...options, factors, rank: 3, residual: 'drop' });
      const merged = sliced.mergedWeight();
      assertClose(t, merged, head.data, tolerances.float64, `${rows} × ${columns}: sliced`);
      merged.dispose();
      disposeLayer(sliced);
      disposeAll(weight, other, x);
      disposeSvd(factors, foreign);
    }
  });
});

t.test('a small tail is still a tail', async (t) => {
  // Within the tolerance for factors, but far beyond rounding: every strategy must drop it.
  const spectrum = [1, 0.5, 0.2, 1e-4, 1e-4, 1e-4];
  const weight = real(withSpectrum(seeded(1), 6, 6, spectrum), [6, 6], 'float64');
  const x = gaussian(seeded(4), [5, 6], 'float64');
  const made = await svft(weight, { rank: 3, residual: 'orthonormal' });
  for (const residual of ['drop', 'orthonormal'] as const) {
    for (const strategy of ['factored', 'merged'] as const) {
      const layer = await svft(weight, { factors: made.factors, residual, strategy });
      const [y, merged] = [layer.apply(x), layer.mergedWeight()];
      const [u, s, vt] = [dense(made.factors.u), snapshot(made.factors.s), dense(made.factors.vt)];
      const head = reference.matmul(reference.matmul(u, reference.diagonal(s)), vt);
      assertClose(t, merged, head.data, tolerances.float64, `${residual}, ${strategy}: W'`);
      assertClose(t, y, reference.linear(dense(x), head).data, tolerances.float64, `${residual}, ${strategy}: y`);
      disposeAll(y, merged);
      disposeLayer(layer);
    }
  }
  disposeLayer(made);
  disposeAll(weight, x);
});

t.test('initial values that overflow the dtype', async (t) => {
  const weight = gaussian(seeded(1), [3, 3], 'float32');
  const refused = (m: number[], gate: number, part: string) =>
    rejectsSigma(t, () => svft(weight, { init: { m, gate } }), 'INVALID_ARGUMENT', part, part);
  await refused([0, 1e300, 0], 0, 'options.init.m[1]');
  await refused([0, 0, 0], 1e300, 'options.init.gate');
  weight.dispose();
});
