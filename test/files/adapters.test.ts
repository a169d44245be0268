/** Adapter folders: what was trained comes back, and the folder says what it is. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedLinear,
  inspectAdapters,
  loadAdapters,
  openSafetensors,
  SparsityPattern,
  type Svd,
  saveAdapters,
  siva,
  svd,
  svft,
  tensor,
} from 'sigmatune';
import t from 'tap';
import { dtypes, families, layerShapes, oneOfEach, tolerances } from '../support/cases.js';
import { mergedNumbers, otherSigns } from '../support/decompositions.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  real,
  rejectsSigma,
  seeded,
  testDevice,
  withSpectrum,
} from '../support/helpers.js';
import { type Bench, bench, diagonalWeight, makeLayer, perturb } from '../support/layer.js';

const folder = t.testdir({});
const configPath = join(folder, 'adapter_config.json');
const modelPath = join(folder, 'adapter_model.safetensors');

/** The same function y of x, whatever the vectors: W' and b'. */
function sameLayer(findings: Findings, found: AdaptedLinear, wanted: AdaptedLinear, on: Bench, label: string): void {
  using w = wanted.mergedWeight();
  using other = found.mergedWeight();
  assertClose(findings, other, w, tolerances[on.dtype], `${label}: W'`);
  const [b, c] = [wanted.mergedBias(), found.mergedBias()];
  if (b && c) assertSameBits(findings, c, b, `${label}: b'`);
  else findings.ok(b === c, `${label}: a bias`);
  disposeAll(b, c);
  using y = wanted.apply(on.x);
  using z = found.apply(on.x);
  assertClose(findings, z, y, tolerances[on.dtype], `${label}: y`);
}

t.test(
  'every family, shape and type comes back, on vectors of the same and of other signs',
  { timeout: 120_000 },
  async (t) => {
    for (const dtype of dtypes) {
      for (const shape of layerShapes.filter(({ tokens }) => tokens < 100)) {
        const findings = new Findings();
        await expectNoLeak(findings, `${shape.name}, ${dtype}`, async () => {
          using on = await bench(shape, dtype);
          const turned = otherSigns(on.factors, 5);
          const layers: Record<string, AdaptedLinear> = {};
          for (const [i, family] of families.entries()) {
            // Not every family has a layer for each shape.
            const layer = await makeLayer(family, on, 'auto').catch(() => undefined);
            if (layer !== undefined) layers[`${i} ${family.name}`] = layer;
          }
          const names = Object.keys(layers);
          findings.ok(names.length > 10, `${names.length} layers`);
          for (const [i, layer] of Object.values(layers).entries()) perturb(layer, i);
          await saveAdapters(folder, layers);
          const all = <T>(value: T): Record<string, T> => Object.fromEntries(names.map((name) => [name, value]));
          const weights = all(on.weight);
          for (const [label, options] of Object.entries({
            'the same vectors': { factors: all(on.factors) },
            'other signs': { factors: all(turned), biases: all(on.bias) },
            'a new SVD': {},
          })) {
            const loaded = await loadAdapters(folder, weights, options);
            findings.same(Object.keys(loaded), names, `${label}: names`);
            for (const name of names) {
              const [found, wanted] = [loaded[name], layers[name]];
              if (found && wanted) sameLayer(findings, found, wanted, on, `${name}, ${label}`);
              if (label === 'the same vectors') {
                for (const [p, { value }] of (found?.parameters ?? []).entries()) {
                  assertSameBits(findings, value, item(wanted?.parameters ?? [], p).value, `${name}: numbers`);
                }
              }
            }
            disposeAll(...Object.values(loaded));
          }
          disposeAll(...Object.values(layers));
          disposeSvd(turned);
        });
        t.same(findings.failures, [], `${shape.name}, ${dtype}`);
      }
    }
  },
);

t.test('another routine, another type', async (t) => {
  using weight = tensor(
    withSpectrum(
      seeded(4),
      20,
      12,
      Array.from({ length: 12 }, (_, i) => 12 - i),
    ),
    [20, 12],
    { dtype: 'float32' },
  );
  using wide = weight.cast('float64');
  for (const family of oneOfEach) {
    using layer = await family.make(weight, {});
    perturb(layer, 7);
    await saveAdapters(folder, { w: layer });
    using w = layer.mergedWeight();
    for (const driver of ['gesdd', 'gesvd', 'gesvdj'] as const) {
      const factors = await svd(weight, { driver }).catch(() => undefined);
      // Not every device has every routine.
      if (factors === undefined) continue;
      const { w: found } = await loadAdapters(folder, { w: weight }, { factors: { w: factors } });
      using merged = found?.mergedWeight();
      assertClose(t, merged ?? [], w, tolerances.float32, `${family.name}, ${driver}`);
      disposeAll(found);
      disposeSvd(factors);
    }
    const { w: found } = await loadAdapters(folder, { w: wide });
    using merged = found?.mergedWeight();
    t.equal(merged?.dtype, 'float64');
    assertClose(t, merged ?? [], w, tolerances.float32, `${family.name}, float64`);
    disposeAll(found);
  }
});

t.test('weights that are stored as [in, out]', async (t) => {
  using weight = gaussian(seeded(16), [7, 5], 'float64');
  using flat = gaussian(seeded(17), [5], 'float64');
  const factors = await svd(weight);
  const turned = otherSigns(factors, 8);
  for (const family of families) {
    const layer = await family.make(weight, { layout: 'in-out', bias: flat, factors }).catch(() => undefined);
    if (layer === undefined) continue;
    perturb(layer, 9);
    await saveAdapters(folder, { w: layer });
    const { w } = await loadAdapters(folder, { w: weight }, { factors: { w: turned } });
    t.same([w?.outFeatures, w?.inFeatures], [5, 7]);
    assertClose(t, mergedNumbers(w), mergedNumbers(layer), tolerances.float64, family.name);
    using upright = gaussian(seeded(16), [5, 7], 'float64');
    await rejectsSigma(t, () => loadAdapters(folder, { w: upright }), 'BASE_MISMATCH', 'as [out, in]', '[7, 5]');
    disposeAll(w, layer);
  }
  disposeSvd(factors, turned);
});

t.test('what the folder says', async (t) => {
  using weight = gaussian(seeded(9), [8, 6], 'float32');
  using one = await svft(weight, {
    name: 'layers.0',
    pattern: 'banded',
    offDiagonals: { lower: 0, upper: 1 },
    rank: 4,
    gate: false,
  });
  using two = await siva(weight, { perc: 0.9, strategy: 'factored' });
  await saveAdapters(
    folder,
    new Map([
      ['layers.0.q_proj.weight', one as AdaptedLinear],
      ['b', two],
    ]),
  );
  const config = JSON.parse(readFileSync(configPath, 'utf8'));
  t.match(config, {
    peft_type: 'SIGMATUNE',
    format_version: 1,
    library_name: 'sigmatune',
    library_version: /^\d+\.\d+/,
    target_modules: ['layers.0.q_proj.weight', 'b'],
  });
  const { version, layers } = await inspectAdapters(folder);
  t.equal(version, config.library_version);
  t.match(layers, [
    {
      name: 'layers.0.q_proj.weight',
      family: 'svft',
      out: 8,
      in: 6,
      rank: 4,
      dtype: 'float32',
      parameters: 7,
      weight: /^[0-9a-f]{64}$/,
    },
    { name: 'b', family: 'siva', rank: two.rank, parameters: two.rank },
  ]);
  t.same(layers[0]?.options, {
    name: 'layers.0',
    pattern: 'banded',
    offDiagonals: { lower: 0, upper: 1 },
    rank: 4,
    gate: false,
  });
  await using file = await openSafetensors(modelPath);
  t.ok(file.names.includes('base_model.model.layers.0.q_proj.weight.svft.m'));
  t.equal(file.metadata['format'], 'pt');

  const loaded = await loadAdapters(folder, { 'layers.0.q_proj.weight': weight, b: weight, other: weight });
  t.same(
    loaded['layers.0.q_proj.weight']?.parameters.map(({ name }) => name),
    ['layers.0.m'],
  );
  t.same(loaded['b']?.explain(3).strategy, 'factored');
  await saveAdapters(folder, loaded);
  const again = JSON.parse(readFileSync(configPath, 'utf8'));
  t.same({ ...again, save_id: '' }, { ...config, save_id: '' }, 'loaded and saved again, it is the same');
  disposeAll(...Object.values(loaded));
});

t.test('top-k and patterns of the caller are saved as they are', async (t) => {
  using weight = gaussian(seeded(10), [7, 7], 'float64');
  using topk = await svft(weight, { pattern: 'topk', offDiagonals: 1, absolute: false });
  using own = await svft(weight, { pattern: SparsityPattern.fromCoordinates([3, 0, 3, 3], [1, 6, 1, 0], 7) });
  perturb(topk, 1);
  perturb(own, 2);
  await saveAdapters(folder, { topk, own });
  // Signed alignments change with the signs: ranked again, other entries would be the largest.
  const factors = await svd(weight);
  const turned = otherSigns(factors, 3);
  const loaded = await loadAdapters(folder, { topk: weight, own: weight }, { factors: { topk: turned } });
  for (const [name, layer] of Object.entries({ topk, own })) {
    assertClose(t, mergedNumbers(loaded[name]), mergedNumbers(layer), tolerances.float64, name);
  }
  disposeSvd(factors, turned);
  t.equal((await inspectAdapters(folder)).layers[0]?.options['pattern'], 'topk');
  disposeAll(...Object.values(loaded));
});

t.test("SiVA's k is saved, and not counted again", async (t) => {
  // σ₁² is 0.9 of all: whether it carries the share 0.9 is a matter of the last digit.
  const spectrum = [3, Math.sqrt(0.5), Math.sqrt(0.5)];
  const { weight, factors } = diagonalWeight(spectrum);
  const scaled = (by: number): Svd => ({
    ...factors,
    s: real([3 * by, at(spectrum, 1), at(spectrum, 2)], [3], 'float64'),
  });
  const [more, less] = [scaled(1 + 1e-10), scaled(1 - 1e-10)];
  const counts: number[] = [];
  for (const [saved, loaded] of [
    [more, less],
    [less, more],
  ] as const) {
    using layer = await siva(weight, { perc: 0.9, factors: saved });
    counts.push(layer.rank);
    await saveAdapters(folder, { w: layer });
    const { w } = await loadAdapters(folder, { w: weight }, { factors: { w: loaded } });
    t.equal(w?.rank, layer.rank, `k = ${layer.rank}`);
    disposeAll(w);
  }
  t.not(counts[0], counts[1], 'the two decompositions would count differently');
  disposeAll(weight, more.s, less.s);
  disposeSvd(factors);
});

t.test('layers on a device', { skip: testDevice === 'cpu' && 'no device but the CPU' }, async (t) => {
  using weight = gaussian(seeded(15), [6, 5], 'float32');
  using there = await weight.to(testDevice);
  using layer = await svft(there, { pattern: 'banded', offDiagonals: 1 });
  perturb(layer, 1);
  await saveAdapters(folder, { w: layer });
  for (const [given, options] of [
    [weight, {}],
    [there, {}],
    [weight, { device: testDevice }],
  ] as const) {
    const { w } = await loadAdapters(folder, { w: given }, options);
    using merged = await w?.mergedWeight().to('cpu');
    using wanted = await layer.mergedWeight().to('cpu');
    assertClose(t, merged ?? [], wanted, tolerances.float32, `${given.device}, ${JSON.stringify(options)}`);
    disposeAll(w);
  }
});
