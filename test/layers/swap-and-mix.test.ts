/** `assign` replaces the numbers of a layer; `mixAdapters` is the exact linear mixture of layers on the same factors. */
import { join } from 'node:path';
import {
  type AdaptedLinear,
  loadModel,
  loraXs,
  mixAdapters,
  SparsityPattern,
  saveAdapters,
  siva,
  svdiff,
  svft,
  type Tensor,
  tensor,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { dtypes, families, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  expectNoLeak,
  item,
  rejectsSigma,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { type Bench, bench, disposeLayer, makeLayer, mergedOf, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

const shape = { name: 'tall', out: 14, in: 10, tokens: 6 };
type Weight = Tensor<'float64'>;

// ── mixAdapters ──────────────────────────────────────────────────────────────────────────────────────────

/** One layer of each kind, all on the bench's factors and bias. */
async function kinds(on: Bench, layout: 'out-in' | 'in-out' = 'out-in'): Promise<AdaptedLinear[]> {
  const weight = on.weight as Weight;
  const given = { factors: on.factors, bias: on.bias, layout };
  const layers = [
    await svft(weight, { ...given, pattern: 'banded', offDiagonals: 2 }),
    await svft(weight, { ...given, pattern: 'random', offDiagonals: 1, seed: 4, replacement: true }),
    await svft(weight, { ...given, rank: 4, gate: false }),
    await siva(weight, { ...given, count: 3 }),
    await siva(weight, { ...given, count: 2, select: 'top', strategy: 'factored' }),
    await vectorFit(weight, given),
    await svdiff(weight, given),
    await loraXs(weight, { ...given, rank: 3 }),
  ];
  for (const [i, layer] of layers.entries()) perturb(layer, i);
  return layers;
}

/** W0 + Σ α (W' − W0) and b0 + Σ α (b' − b0) in float64. */
function wanted(on: Bench, layers: readonly AdaptedLinear[], weights: readonly number[]) {
  const [w0, b0] = [snapshot(on.weight), snapshot(on.bias)];
  const [w, b] = [w0.slice(), b0.slice()];
  for (const [i, layer] of layers.entries()) {
    const merged = mergedOf(layer).data;
    const bias = layer.mergedBias();
    const own = bias ? snapshot(bias) : b0;
    bias?.dispose();
    for (let k = 0; k < w.length; k++) w[k] = at(w, k) + at(weights, i) * (at(merged, k) - at(w0, k));
    for (let k = 0; k < b.length; k++) b[k] = at(b, k) + at(weights, i) * (at(own, k) - at(b0, k));
  }
  return { w, b };
}

for (const dtype of dtypes) {
  t.test(`a mixture of every family, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'mixing', async () => {
      using on = await bench(shape, dtype);
      const layers = await kinds(on);
      const weights = layers.map((_, i) => [1, -0.5, 0.25, 2, 0, 0.3, 1, -1][i] ?? 1);
      const mix = await mixAdapters(layers, weights, { name: 'mix' });
      const { w, b } = wanted(on, layers, weights);
      assertClose(t, mergedOf(mix).data, w, tolerances[dtype], 'W0 + Σ α ΔW');
      const bias = mix.mergedBias();
      assertClose(t, bias ?? [], b, tolerances[dtype], 'b0 + Σ α Δb');
      bias?.dispose();
      t.same([mix.family, mix.parameters.map(({ name }) => name)], ['svft', ['mix.m', 'mix.bias']]);
      for (const layer of layers) disposeLayer(layer);
      const y = mix.apply(on.x);
      const linear = reference.linear(
        reference.matrix(shape.tokens, shape.in, snapshot(on.x)),
        reference.matrix(shape.out, shape.in, w),
        b,
      );
      assertClose(t, y, linear.data, tolerances[dtype], 'it computes without the layers');
      const pass = mix.forward(on.x);
      pass.backward(on.dy).dispose();
      t.ok(
        mix.parameters.every(({ grad, value }) => grad?.size === value.size),
        'and trains',
      );
      y.dispose();
      pass.y.dispose();
      disposeLayer(mix);
    });
  });
}

t.test('a mixture has the pretrained bias of its layers, and can be mixed again, saved and loaded', async (t) => {
  using on = await bench(shape, 'float64');
  const weight = on.weight as Weight;
  const layers = await kinds(on);
  const mix = await mixAdapters(
    layers,
    layers.map((_, i) => i / 4),
  );
  mix.enabled = false;
  assertClose(t, mix.mergedBias() ?? [], on.bias, tolerances.float64, 'switched off it has b0');
  mix.enabled = true;
  const again = await mixAdapters([mix, layers[5] as AdaptedLinear], [0.5, -2]);
  const { w, b } = wanted(on, [mix, layers[5] as AdaptedLinear], [0.5, -2]);
  assertClose(t, mergedOf(again).data, w, tolerances.float64, 'W0 + Σ α ΔW');
  assertClose(t, again.mergedBias() ?? [], b, tolerances.float64, 'b0 + Σ α Δb');

  const folder = join(t.testdir(), 'mix');
  await saveAdapters(folder, { q: mix });
  const loaded = await loadModel(folder, { q: weight, 'q.bias': on.bias });
  const restored = loaded.layers.get('q') as AdaptedLinear;
  assertClose(t, mergedOf(restored).data, snapshot(mix.mergedWeight()), tolerances.float64, "W' after loading");
  assertClose(
    t,
    restored.mergedBias() ?? [],
    snapshot(mix.mergedBias() as Tensor),
    tolerances.float64,
    "b' after loading",
  );

  const created = await vectorFit(weight, { factors: on.factors, createBias: true });
  const plain = await svft(weight, { factors: on.factors });
  perturb(created);
  const both = await mixAdapters([plain, created], [1, 3]);
  const expected = Float64Array.from(snapshot(created.parameters[1]?.value as Tensor), (value) => 3 * value);
  assertClose(t, both.mergedBias() ?? [], expected, tolerances.float64, 'a bias that training created');
  t.equal((await mixAdapters([plain], [1])).mergedBias(), undefined, 'no bias, if no layer has one');
  t.same(
    (await mixAdapters([layers[0] as AdaptedLinear], [1], { name: 'a' })).parameters.map(({ name }) => name),
    ['a.m'],
    'a bias that does not train in a layer does not train in the mixture',
  );
});

t.test('one layer, weight 1, has its numbers; the union of patterns has every cell', async (t) => {
  using on = await bench({ ...shape, out: 10 }, 'float64');
  const given = { factors: on.factors, gate: false } as const;
  const weight = on.weight as Weight;
  const [a, b] = [
    SparsityPattern.fromCoordinates([0, 3], [5, 1], 10),
    SparsityPattern.fromCoordinates([3, 9], [1, 9], 10),
  ];
  const one = await svft(weight, { ...given, pattern: a, init: { m: [2, 0] } });
  const two = await svft(weight, { ...given, pattern: b, init: { m: [0.5, -1] } });
  const alone = await mixAdapters([one], [1]);
  assertSameBits(t, alone.parameters[0]?.value ?? [], [2, 0], 'a cell of value 0 stays a cell');
  const both = await mixAdapters([one, two], [3, 4]);
  assertSameBits(t, both.parameters[0]?.value ?? [], [6, 2, -4], '3 · one + 4 · two, exactly');
  const nothing = await mixAdapters([one, two], [0, 0]);
  assertSameBits(t, mergedOf(nothing).data, on.weight, 'weights of 0 give W0');
});

t.test('weights that are stored as [in, out], and layers with few directions', async (t) => {
  using on = await bench(shape, 'float64');
  const layers = await kinds(on, 'in-out').catch(() => []);
  t.equal(layers.length, 0, 'the bias has the length of the outputs');
  const { weight, factors } = on as Bench & { weight: Weight };
  const stored = [
    await svft(weight, { factors, layout: 'in-out', pattern: 'banded', offDiagonals: 1 }),
    await loraXs(weight, { factors, layout: 'in-out', rank: 3 }),
  ];
  for (const layer of stored) perturb(layer);
  const mix = await mixAdapters(stored, [0.5, 2]);
  const sums = reference.transpose(reference.matrix(shape.out, shape.in, snapshot(on.weight))).data.slice();
  const w0 = sums.slice();
  for (const [i, layer] of stored.entries()) {
    const merged = mergedOf(layer).data;
    for (let k = 0; k < sums.length; k++) sums[k] = at(sums, k) + at([0.5, 2], i) * (at(merged, k) - at(w0, k));
  }
  assertClose(t, mergedOf(mix).data, sums, tolerances.float64, 'in-out');

  const [top, also, low] = [
    await loraXs(weight, { factors, rank: 4 }),
    await svft(weight, { factors, rank: 3 }),
    await siva(weight, { factors, count: 2 }),
  ];
  for (const layer of [top, also, low]) perturb(layer);
  for (const [name, parts, more] of [
    ['the largest', [top, also], {}],
    ['the smallest', [low, low], {}],
    ['both ends, with the factors', [top, low], { factors }],
  ] as const) {
    const made = await mixAdapters(parts, [0.5, -2], more);
    const expected = wanted({ ...on, bias: tensor(new Float64Array(14)) }, parts, [0.5, -2]);
    assertClose(t, mergedOf(made).data, expected.w, tolerances.float64, name);
  }
  await rejectsSigma(t, () => mixAdapters([top, low], [1, 1]), 'INVALID_ARGUMENT', 'both ends', 'options.factors');
});

t.test('wrong arguments of mixAdapters', async (t) => {
  using on = await bench(shape, 'float64');
  const weight = on.weight as Weight;
  const given = { factors: on.factors };
  const layer = await svft(weight, given);
  const refuse = async (args: unknown[], code: Parameters<typeof rejectsSigma>[2], ...parts: string[]) =>
    rejectsSigma(
      t,
      () => (mixAdapters as (...a: unknown[]) => Promise<unknown>)(...args),
      code,
      parts.join(),
      'mixAdapters',
      ...parts,
    );
  await refuse([layer, [1]], 'INVALID_ARGUMENT', 'layers: expected an array');
  await refuse([[], []], 'INVALID_ARGUMENT', 'layers');
  await refuse(
    [
      [layer, 5],
      [1, 1],
    ],
    'INVALID_ARGUMENT',
    'layers[1]',
  );
  await refuse([[layer], [1, 2]], 'SHAPE_MISMATCH', 'weights', '1 numbers', '2');
  await refuse([[layer], [Number.NaN]], 'INVALID_ARGUMENT', 'weights[0]', 'finite');
  await refuse([[layer], ['1']], 'INVALID_ARGUMENT', 'weights[0]');
  await refuse([[layer], [1], { nam: 'x' }], 'INVALID_ARGUMENT', 'name');
  await refuse(
    [
      [layer, await svft(weight)],
      [1, 1],
    ],
    'BASE_MISMATCH',
    'layers[1]',
    'factors',
  );
  const biased = await vectorFit(weight, { ...given, bias: on.bias });
  await refuse(
    [
      [layer, biased],
      [1, 1],
    ],
    'BASE_MISMATCH',
    'layers[1]',
    'bias',
  );
  const random = await siva(weight, { ...given, count: 2, basis: 'random' });
  await refuse(
    [
      [layer, random],
      [1, 1],
    ],
    'UNSUPPORTED',
    'layers[1]',
    'directions',
  );
  const dropped = await svft(weight, { ...given, rank: 3, residual: 'drop' });
  await refuse([[dropped], [1]], 'UNSUPPORTED', 'layers[0]', 'whole weight');
  layer.parameters[0]?.value.assign(new Float64Array(10).fill(Number.NaN));
  await refuse([[layer], [1]], 'NON_FINITE', 'layers[0]');
  biased.parameters[1]?.value.assign(new Float64Array(14).fill(Number.NaN));
  await refuse([[biased], [1]], 'NON_FINITE', 'layers[0]');
  layer.dispose();
  await refuse([[layer], [1]], 'DISPOSED', 'layers[0]');
});

// ── assign ───────────────────────────────────────────────────────────────────────────────────────────────

t.test('assign takes the numbers of another layer, for every family', async (t) => {
  using on = await bench(shape, 'float32');
  for (const family of families) {
    const [one, other] = [await makeLayer(family, on, 'auto'), await makeLayer(family, on, 'auto')];
    perturb(other, 9);
    const warm = one.forward(on.x); // a W' that is cached must not stay
    one.assign(other);
    const [y, expected] = [one.apply(on.x), other.apply(on.x)];
    assertSameBits(t, y, expected, `${family.name}: y`);
    perturb(other, 1);
    const again = one.apply(on.x);
    assertSameBits(t, again, y, `${family.name}: a copy`);
    warm.dispose();
    one.assign(Object.fromEntries(other.parameters.map(({ name, value }) => [name, value])));
    const [now, then] = [one.apply(on.x), other.apply(on.x)];
    assertSameBits(t, now, then, `${family.name}: by role`);
    perturb(other, 2);
    const views = other.parameters.map(({ name, value }) => [name, { data: value.dataSync(), shape: value.shape }]);
    one.assign(Object.fromEntries(views));
    const [seen, wanted] = [one.apply(on.x), other.apply(on.x)];
    assertSameBits(t, seen, wanted, `${family.name}: as views`);
    disposeLayer(one);
    disposeLayer(other);
  }
});

t.test('assign writes all parameters or none', async (t) => {
  using on = await bench(shape, 'float64');
  const weight = on.weight as Weight;
  const given = { factors: on.factors, bias: on.bias };
  const layer = await vectorFit(weight, { ...given, name: 'block.q' });
  const before = layer.parameters.map(({ value }) => snapshot(value));
  const refuse = (source: unknown, code: Parameters<typeof throwsSigma>[2], ...parts: string[]) => {
    throwsSigma(t, () => layer.assign(source as never), code, parts.join(), 'vectorfit.assign', ...parts);
    t.same(
      layer.parameters.map(({ value }) => snapshot(value)),
      before,
      `${parts}: nothing was written`,
    );
  };
  const [sigma, bias] = [new Float64Array(10), new Float64Array(14)];
  refuse(undefined, 'INVALID_ARGUMENT', 'source');
  refuse({ sigma }, 'INVALID_ARGUMENT', 'source.bias', '14 numbers');
  refuse({ sigma, bias: bias.subarray(1) }, 'SHAPE_MISMATCH', 'source.bias', '14', '13');
  refuse({ sigma, bias: [...bias.subarray(1), 'x'] }, 'INVALID_ARGUMENT', 'source.bias[13]');
  refuse({ sigma, bias: { data: bias, shape: [13] } }, 'SHAPE_MISMATCH', 'source.bias.data', '13', '14');
  refuse({ sigma, bias, gate: [0] }, 'INVALID_ARGUMENT', 'gate');
  refuse(
    await svft(weight, given),
    'INVALID_ARGUMENT',
    'source',
    'vectorfit with sigma [10], bias [14]',
    'svft with m [10]',
  );
  refuse(await vectorFit(weight, { ...given, nonnegative: true }), 'INVALID_ARGUMENT', 'source', 'nonnegative');
  const foreign = tensor(
    snapshot(weight).map((value, i) => value + 0.1 * Math.sin(i)),
    [14, 10],
    { dtype: 'float64' },
  );
  refuse(await vectorFit(foreign, { bias: on.bias }), 'BASE_MISMATCH', 'source', 'factors');
  const gone = await vectorFit(weight, given);
  gone.dispose();
  refuse(gone, 'DISPOSED', 'source');
  const banded = await svft(weight, { ...given, pattern: 'banded', offDiagonals: 1 });
  const random = await svft(weight, { ...given, pattern: 'random', offDiagonals: 1, seed: 2 });
  throwsSigma(t, () => banded.assign(random), 'INVALID_ARGUMENT', 'another pattern', 'pattern');
  const closing = {
    get sigma() {
      layer.dispose();
      return sigma;
    },
    bias,
  };
  throwsSigma(t, () => layer.assign(closing), 'DISPOSED', 'a getter that disposes the layer');
  const same = await vectorFit(weight, { bias: on.bias });
  const fromSvd = await vectorFit(weight, given);
  perturb(same);
  fromSvd.assign(same);
  assertSameBits(
    t,
    item(fromSvd.parameters, 0).value,
    item(same.parameters, 0).value,
    'equal factors of two SVDs will do',
  );
});
