/** Adapter folders: what was trained comes back, on the singular vectors of any decomposition, or is refused. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type AdaptedLinear,
  inspectAdapters,
  loadAdapters,
  openSafetensors,
  type Real,
  readSafetensors,
  SparsityPattern,
  type Svd,
  saveAdapters,
  siva,
  svd,
  svdiff,
  svft,
  type Tensor,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { dtypes, families, layerShapes, oneOfEach, tolerances } from '../support/cases.js';
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
  orthonormal,
  real,
  rejectsSigma,
  rewrite,
  seeded,
  snapshot,
  testDevice,
  withSpectrum,
} from '../support/helpers.js';
import { type Bench, bench, diagonalWeight, makeLayer } from '../support/layer.js';
import { KillDelay } from '../support/process.js';

const folder = t.testdir({});
const configPath = join(folder, 'adapter_config.json');
const modelPath = join(folder, 'adapter_model.safetensors');

/** Numbers as after some training. */
function train(layer: AdaptedLinear, seed: number): void {
  const random = seeded(seed);
  for (const { value } of layer.parameters) rewrite(value, (before) => before + 0.3 * random.normal());
}

/** Changes the sign of some singular pairs, at random. */
function otherSigns({ u, s, vt }: Svd, seed: number): Svd {
  const random = seeded(seed);
  const signs = Float64Array.from({ length: s.size }, (_, i) => (i === 0 || random.uniform() < 0.5 ? -1 : 1));
  const columns = at(vt.shape, 1);
  const like = (source: Tensor, sign: (p: number) => number) =>
    tensor(
      snapshot(source).map((value, p) => value * sign(p)),
      source.shape,
      { dtype: source.dtype as Real, device: source.device },
    );
  return {
    u: like(u, (p) => at(signs, p % s.size)),
    s: like(s, () => 1),
    vt: like(vt, (p) => at(signs, Math.floor(p / columns))),
  };
}

/** W' as numbers. */
function mergedNumbers(layer: AdaptedLinear | undefined): Float64Array {
  using merged = layer?.mergedWeight();
  return merged ? snapshot(merged) : new Float64Array();
}

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
            try {
              layers[`${i} ${family.name}`] = await makeLayer(family, on, 'auto');
            } catch {
              // Not for this shape.
            }
          }
          const names = Object.keys(layers);
          findings.ok(names.length > 10, `${names.length} layers`);
          for (const [i, layer] of Object.values(layers).entries()) train(layer, i);
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

t.test('the numbers are turned, and not only kept', async (t) => {
  using weight = gaussian(seeded(3), [6, 5], 'float64');
  const factors = await svd(weight);
  const turned = otherSigns(factors, 1);
  using layer = await svft(weight, { pattern: 'banded', offDiagonals: 4, factors });
  train(layer, 2);
  await saveAdapters(folder, { w: layer });
  const { w } = await loadAdapters(folder, { w: weight }, { factors: { w: turned } });
  const [before, after] = [layer, w].map((each) => snapshot(item(each?.parameters ?? [], 0).value));
  const changed = before?.filter((value, p) => value !== at(after ?? [], p)).length;
  t.ok(changed && changed > 3, `${changed} numbers have another sign`);
  t.same(after?.map(Math.abs), before?.map(Math.abs), 'and the same magnitude');
  disposeAll(w);
  disposeSvd(factors, turned);
});

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
    train(layer, 7);
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
    let layer: AdaptedLinear;
    try {
      layer = await family.make(weight, { layout: 'in-out', bias: flat, factors });
    } catch {
      continue;
    }
    train(layer, 9);
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

/** A weight with equal singular values, and two decompositions of it that differ by a rotation. */
function degenerate(spectrum: readonly number[], from: number, to: number) {
  const r = spectrum.length;
  const random = seeded(11);
  const [u, v] = [orthonormal(random, r + 2, r), orthonormal(random, r, r)];
  const rotation = orthonormal(random, to - from + 1, to - from + 1);
  const size = to - from + 1;
  const rotated = (matrix: Float64Array) =>
    Float64Array.from(matrix, (value, p) => {
      const [row, j] = [Math.floor(p / r), p % r];
      if (j < from || j > to) return value;
      let sum = 0;
      for (let k = 0; k < size; k++) sum += at(matrix, row * r + from + k) * at(rotation, k * size + (j - from));
      return sum;
    });
  const transposed = (matrix: Float64Array) =>
    Float64Array.from(matrix, (_, p) => at(matrix, (p % r) * r + Math.floor(p / r)));
  const make = (left: Float64Array, right: Float64Array): Svd => ({
    u: real(left, [r + 2, r], 'float64'),
    s: real(spectrum, [r], 'float64'),
    vt: real(transposed(right), [r, r], 'float64'),
  });
  const weight = Float64Array.from({ length: (r + 2) * r }, (_, p) => {
    const [i, j] = [Math.floor(p / r), p % r];
    let sum = 0;
    for (let k = 0; k < r; k++) sum += at(u, i * r + k) * at(spectrum, k) * at(v, j * r + k);
    return sum;
  });
  return {
    weight: real(weight, [r + 2, r], 'float64'),
    one: make(u, v),
    other: make(rotated(u), rotated(v)),
  };
}

t.test('equal singular values', async (t) => {
  const { weight, one, other } = degenerate([5, 4, 4, 4, 2, 1], 1, 3);
  await expectNoLeak(t, 'equal singular values', async () => {
    for (const family of oneOfEach) {
      using layer = await family.make(weight, { factors: one });
      const untouched = mergedNumbers(layer);
      await saveAdapters(folder, { w: layer });
      const { w: untrained } = await loadAdapters(folder, { w: weight }, { factors: { w: other } });
      assertClose(
        t,
        mergedNumbers(untrained),
        untouched,
        tolerances.float64,
        `${family.name}: untrained, nothing is lost`,
      );
      disposeAll(untrained);
      train(layer, 4);
      const trains = item(layer.parameters, 0).value.size;
      await saveAdapters(folder, { w: layer });
      const usesThem = family.family !== 'siva' || trains > 2;
      if (usesThem) {
        await rejectsSigma(
          t,
          () => loadAdapters(folder, { w: weight }, { factors: { w: other } }),
          'BASE_MISMATCH',
          `${family.name}: rotated`,
          "weights['w']",
          'singular values 1 to 3',
          'vectors: true',
          'options.factors',
        );
      }
      const { w: same } = await loadAdapters(folder, { w: weight }, { factors: { w: one } });
      assertClose(t, mergedNumbers(same), mergedNumbers(layer), tolerances.float64, `${family.name}: the same factors`);
      disposeAll(same);
    }
  });
  disposeAll(weight);
  disposeSvd(one, other);
});

t.test('equal singular values that no trained number touches', async (t) => {
  const { weight, one, other } = degenerate([5, 4, 4, 4, 2, 1], 1, 3);
  const pattern = SparsityPattern.fromCoordinates([0, 4, 5], [5, 4, 0], 6);
  using layer = await svft(weight, { factors: one, pattern });
  train(layer, 4);
  await saveAdapters(folder, { w: layer });
  const { w: found } = await loadAdapters(folder, { w: weight }, { factors: { w: other } });
  assertClose(t, mergedNumbers(found), mergedNumbers(layer), tolerances.float64, 'are no obstacle');
  disposeAll(found, weight);
  disposeSvd(one, other);
});

t.test('saved vectors make an adapter independent of any decomposition', async (t) => {
  const { weight, one, other } = degenerate([5, 4, 4, 4, 2, 1], 1, 3);
  await expectNoLeak(t, 'vectors', async () => {
    for (const family of families) {
      let layer: AdaptedLinear;
      try {
        layer = await family.make(weight, { factors: one });
      } catch {
        continue;
      }
      train(layer, 4);
      const saved = await saveAdapters(folder, { w: layer }, { vectors: true }).catch((error) => error);
      if (saved !== undefined) {
        t.match(saved, { code: 'UNSUPPORTED', op: 'saveAdapters' }, `${family.name}: ${saved.message}`);
        t.equal(family.family, 'siva', `${family.name} keeps only some`);
      } else {
        const { w: found } = await loadAdapters(folder, { w: weight });
        using merged = found?.mergedWeight();
        using wanted = layer.mergedWeight();
        assertSameBits(t, merged ?? [], wanted, `${family.name}: to the bit`);
        disposeAll(found);
      }
      disposeAll(layer);
    }
  });
  disposeAll(weight);
  disposeSvd(one, other);
});

t.test('other base weights are refused', async (t) => {
  await expectNoLeak(t, 'refused', async () => {
    const random = seeded(6);
    using weight = gaussian(random, [8, 6], 'float32');
    using bias = gaussian(random, [8], 'float32');
    using layer = await svft(weight, { pattern: 'banded', offDiagonals: 1, bias });
    using second = await svdiff(weight);
    train(layer, 1);
    await saveAdapters(folder, { w: layer, v: second });
    const load =
      (weights: Record<string, unknown>, options: object = {}) =>
      () =>
        loadAdapters(folder, weights as never, options);
    using other = gaussian(random, [8, 6], 'float32');
    using nearly = tensor(
      snapshot(weight).map((value, i) => (i === 20 ? value * (1 + 2 ** -22) : value)),
      [8, 6],
      { dtype: 'float32' },
    );
    using turned = gaussian(random, [6, 8], 'float32');
    using numbers = tensor([1]);
    using strange = gaussian(random, [8], 'float32');
    const names = ['SHA-256', "weights['w']"];
    await rejectsSigma(t, load({ w: other, v: weight }), 'BASE_MISMATCH', 'another weight', ...names);
    await rejectsSigma(t, load({ w: nearly, v: weight }), 'BASE_MISMATCH', 'one number by one bit', ...names);
    await rejectsSigma(
      t,
      load({ w: turned, v: weight }),
      'BASE_MISMATCH',
      'another shape',
      "weights['w']",
      '[8, 6]',
      '[6, 8]',
    );
    await rejectsSigma(t, load({ w: numbers, v: weight }), 'BASE_MISMATCH', 'no matrix', "weights['w']", '[1]');
    await rejectsSigma(t, load({ w: weight }), 'INVALID_ARGUMENT', 'a missing weight', "weights['v']", 'undefined');
    await rejectsSigma(t, load({ w: weight, v: 7 }), 'INVALID_ARGUMENT', 'a number', "weights['v']", 'got 7');
    const both = { w: weight, v: weight };
    await rejectsSigma(
      t,
      load(both, { biases: { w: strange } }),
      'BASE_MISMATCH',
      'another bias',
      "options.biases['w']",
    );
    await rejectsSigma(
      t,
      load(both, { biases: { v: bias } }),
      'BASE_MISMATCH',
      'a bias where there was none',
      "options.biases['v']",
    );
    const factors = await svd(other);
    await rejectsSigma(
      t,
      load(both, { factors: { w: factors } }),
      'BASE_MISMATCH',
      'factors of another weight',
      "module 'w'",
      'options.factors',
    );
    disposeSvd(factors);
    await rejectsSigma(t, load(both, { signal: AbortSignal.abort() }), 'ABORTED', 'aborted');
    await rejectsSigma(t, load(both, { device: 'gpu' }), 'INVALID_ARGUMENT', 'no device', 'device');
    await rejectsSigma(t, load(both, { factor: {} }), 'INVALID_ARGUMENT', 'misspelt', 'factors');
    await rejectsSigma(t, load(null as never), 'INVALID_ARGUMENT', 'no weights', 'weights');
    using wide = other.cast('float64');
    await rejectsSigma(
      t,
      load({ w: wide, v: weight }),
      'BASE_MISMATCH',
      'another weight in another type',
      "weights['w']",
      'singular value',
    );
  });
});

t.test('a weight that was disposed before saving is known by σ and the vectors', async (t) => {
  const random = seeded(8);
  const numbers = random.normals(48);
  const weight = tensor(numbers, [8, 6]);
  using layer = await vectorFit(weight);
  train(layer, 1);
  weight.dispose();
  await saveAdapters(folder, { w: layer });
  t.equal((await inspectAdapters(folder)).layers[0]?.weight, undefined);
  using again = tensor(numbers, [8, 6]);
  const { w } = await loadAdapters(folder, { w: again });
  assertClose(t, mergedNumbers(w), mergedNumbers(layer), tolerances.float32, 'comes back');
  using other = tensor(random.normals(48), [8, 6]);
  await rejectsSigma(t, () => loadAdapters(folder, { w: other }), 'BASE_MISMATCH', 'another weight', 'singular value');
  const { u, s, vt } = await svd(again);
  const [v2] = [await svd(other)];
  const swapped = Float64Array.from({ length: 48 }, (_, p) => {
    let sum = 0;
    for (let k = 0; k < 6; k++)
      sum += at(u.dataSync(), Math.floor(p / 6) * 6 + k) * at(s.dataSync(), k) * at(v2.vt.dataSync(), k * 6 + (p % 6));
    return sum;
  });
  using same = tensor(swapped, [8, 6]);
  await rejectsSigma(
    t,
    () => loadAdapters(folder, { w: same }),
    'BASE_MISMATCH',
    'the same σ, other vectors',
    'vector',
  );
  disposeAll(w, vt);
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
  train(topk, 1);
  train(own, 2);
  await saveAdapters(folder, { topk, own });
  // Signed alignments change with the signs: ranked anew, other entries would be the largest.
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

t.test('what cannot be saved', async (t) => {
  using weight = gaussian(seeded(12), [4, 4], 'float32');
  using layer = await svdiff(weight);
  await rejectsSigma(t, () => saveAdapters('', { w: layer }), 'INVALID_ARGUMENT', 'no folder', 'folder');
  await rejectsSigma(t, () => saveAdapters(folder, layer as never), 'INVALID_ARGUMENT', 'a layer', 'layers');
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: weight } as never),
    'INVALID_ARGUMENT',
    'a tensor',
    "layers['w']",
    'AdaptedLinear',
    'a Tensor',
  );
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: layer }, { vectors: 1 } as never),
    'INVALID_ARGUMENT',
    'a number',
    'options.vectors',
  );
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: layer }, { signal: AbortSignal.abort() }),
    'ABORTED',
    'aborted',
  );
  writeFileSync(join(folder, 'file'), '');
  await rejectsSigma(
    t,
    () => saveAdapters(join(folder, 'file'), { w: layer }),
    'INVALID_ARGUMENT',
    'a file',
    'folder',
    'EEXIST',
  );
  const gone = await svdiff(weight);
  gone.dispose();
  await rejectsSigma(t, () => saveAdapters(folder, { w: gone }), 'DISPOSED', 'a disposed layer');
  await rejectsSigma(
    t,
    () => loadAdapters(join(folder, 'none'), {}),
    'INVALID_ARGUMENT',
    'no such folder',
    'ENOENT',
    'adapter_config.json',
  );
  t.notOk(existsSync(join(folder, 'none')));
});

t.test('malformed folders', async (t) => {
  using weight = gaussian(seeded(13), [5, 4], 'float32');
  using layer = await svft(weight, { pattern: SparsityPattern.fromCoordinates([0, 1], [1, 2], 4) });
  await saveAdapters(folder, { w: layer });
  const config = readFileSync(configPath, 'utf8');
  const model = readFileSync(modelPath);
  const load = () => loadAdapters(folder, { w: weight });
  type Json = Record<string, unknown> & { modules: Record<string, unknown>[] };
  const changed = (change: (config: Json, module: Record<string, unknown>) => void) => {
    const json: Json = JSON.parse(config);
    change(json, item(json.modules, 0));
    writeFileSync(configPath, JSON.stringify(json));
  };
  const configs: [string, 'CORRUPT_FILE' | 'UNSUPPORTED', Parameters<typeof changed>[0], ...string[]][] = [
    [
      'a newer format',
      'UNSUPPORTED',
      (json) => Object.assign(json, { format_version: 2, library_version: '9.8.7' }),
      'format_version',
      'version 2',
      '9.8.7',
    ],
    [
      'another method',
      'UNSUPPORTED',
      (json) => Object.assign(json, { peft_type: 'LORA' }),
      'peft_type',
      'SIGMATUNE',
      "'LORA'",
    ],
    [
      'a family of the future',
      'UNSUPPORTED',
      (_, module) => Object.assign(module, { family: 'wavelet' }),
      "module 'w'",
      "'wavelet'",
      'vectorfit',
    ],
    ['no method', 'CORRUPT_FILE', (json) => delete json['peft_type'], 'peft_type', 'a string'],
    [
      'a version in words',
      'CORRUPT_FILE',
      (json) => Object.assign(json, { format_version: 'one' }),
      'format_version',
      'an integer',
    ],
    ['no modules', 'CORRUPT_FILE', (json) => Object.assign(json, { modules: {} }), 'modules', 'an array'],
    ['a module twice', 'CORRUPT_FILE', (json, module) => json.modules.push(module), "'w' a second time"],
    ['another save', 'CORRUPT_FILE', (json) => Object.assign(json, { save_id: 'x' }), 'save_id', "'x'"],
    [
      'an unknown option',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { patern: 1 } }),
      "module 'w'",
      'patern',
    ],
    [
      'a wrong option',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { gate: 'open' } }),
      "module 'w'",
      'options.gate',
    ],
    [
      'options that hide a name',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { bias: 1, gate: false } }),
      "module 'w'",
    ],
    ['another rank', 'CORRUPT_FILE', (_, module) => Object.assign(module, { rank: 3 }), 'module', 'w'],
    ['other parameters', 'CORRUPT_FILE', (_, module) => Object.assign(module, { parameters: ['m'] }), 'svft.gate'],
    [
      'a parameter more',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { parameters: ['m', 'gate', 'z'] }),
      'svft.z',
      'without it',
    ],
    [
      'vectors that are not there',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { vectors: true }),
      "sigmatune.u'",
    ],
    ['another type', 'CORRUPT_FILE', (_, module) => Object.assign(module, { dtype: 'float64' }), 'F64', 'F32'],
    [
      'a type that matrices lack',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { dtype: 'int32' }),
      'dtype',
      'int32',
    ],
  ];
  await expectNoLeak(t, 'malformed', async () => {
    for (const [label, code, change, ...says] of configs) {
      changed(change);
      await rejectsSigma(t, load, code, label, 'loadAdapters', ...says);
    }
    for (const [label, text] of Object.entries({
      'no JSON': '{',
      'a list': '[]',
      'a key twice': '{"peft_type":"A","peft_type":"B"}',
      'no UTF-8': '\u{fffd}',
    })) {
      writeFileSync(configPath, label === 'no UTF-8' ? Buffer.from([0xff]) : text);
      await rejectsSigma(t, load, 'CORRUPT_FILE', label, configPath);
    }
    writeFileSync(configPath, config);

    const key = (name: string) => `base_model.model.w.${name}`;
    const files: [string, (tensors: Map<string, Tensor>) => void, ...string[]][] = [
      ['a tensor more', (tensors) => tensors.set('x', tensor([1])), "tensor 'x'"],
      ['a tensor less', (tensors) => tensors.delete(key('svft.m')), key('svft.m'), 'without it'],
      ['more numbers', (tensors) => tensors.set(key('svft.m'), tensor([1, 2, 3])), key('svft.m'), '[2]', '[3]'],
      [
        'numbers of another type',
        (tensors) => tensors.set(key('svft.m'), tensor([1, 2], [2], { dtype: 'int32' })),
        'F32',
        'I32',
      ],
      [
        'a sketch of another size',
        (tensors) => tensors.set(key('sigmatune.left'), tensor([1, 2], [2, 1])),
        key('sigmatune.left'),
        '[2, 2]',
      ],
      [
        'a row beyond the core',
        (tensors) => tensors.set(key('sigmatune.rows'), tensor([0, 9], [2], { dtype: 'int32' })),
        "module 'w'",
        '9',
      ],
      [
        'fewer columns',
        (tensors) => tensors.set(key('sigmatune.columns'), tensor([0], [1], { dtype: 'int32' })),
        "module 'w'",
        'columns',
      ],
    ];
    for (const [label, change, ...says] of files) {
      writeFileSync(modelPath, model);
      const { tensors, metadata } = await readSafetensors(modelPath);
      const before = [...tensors.values()];
      change(tensors);
      await writeSafetensors(modelPath, tensors, { metadata });
      disposeAll(...before, ...tensors.values());
      await rejectsSigma(t, load, ['CORRUPT_FILE', 'SHAPE_MISMATCH'], label, ...says);
    }
    writeFileSync(modelPath, model.subarray(0, -4));
    await rejectsSigma(t, load, 'CORRUPT_FILE', 'cut off', modelPath);
    rmSync(modelPath);
    await rejectsSigma(t, load, 'INVALID_ARGUMENT', 'no tensors', modelPath, 'ENOENT');
    writeFileSync(modelPath, model);
    disposeAll(...Object.values(await load()));
  });
});

t.test('both files are replaced together', async (t) => {
  using weight = gaussian(seeded(14), [5, 4], 'float32');
  using layer = await svdiff(weight);
  const place = join(t.testdir({}), 'deep', 'adapter');
  const names = () => readdirSync(place).sort();
  const both = ['adapter_config.json', 'adapter_model.safetensors'];
  await saveAdapters(place, { w: layer });
  writeFileSync(join(place, 'README.md'), 'mine');
  t.same(names(), ['README.md', ...both], 'the folder is made');
  const old = both.map((name) => readFileSync(join(place, name)));
  train(layer, 3);
  await saveAdapters(place, { w: layer });
  t.same(names(), ['README.md', ...both], 'other files stay');
  const loadedSize = async () => {
    const { w } = await loadAdapters(place, { w: weight });
    const first = at(snapshot(item(w?.parameters ?? [], 0).value), 0);
    disposeAll(w);
    return first;
  };
  const trained = await loadedSize();
  t.not(trained, 0);

  // As a process leaves the folder that is killed between the commit and the end.
  const commit = join(place, '.sigmatune-commit');
  for (const moved of [[], [both[0]], [both[1]]]) {
    mkdirSync(commit);
    for (const [i, name] of both.entries()) {
      const before = readFileSync(join(place, name));
      renameSync(join(place, name), join(commit, name));
      writeFileSync(join(place, name), moved.includes(name) ? before : (old[i] ?? ''));
      if (moved.includes(name)) rmSync(join(commit, name));
    }
    t.equal(await loadedSize(), trained, `the new files count, ${moved.length} of 2 in place`);
    await saveAdapters(place, { w: layer });
    t.same(names(), ['README.md', ...both], 'and the next save tidies up');
  }
});

t.test('a process that is killed while it saves', { timeout: 120_000 }, async (t) => {
  const script = fileURLToPath(new URL('../fixtures/save-adapters.mjs', import.meta.url));
  const { NODE_OPTIONS: _, ...env } = process.env;
  const place = join(t.testdir({}), 'adapter');
  let state = 7;
  const draw = () => {
    state = (state * 16807) % 2147483647;
    return state / 2 ** 30 - 1;
  };
  using weight = tensor(Float32Array.from({ length: 400 }, draw), [20, 20]);
  let replaced = 0;
  let last = 0;
  const delay = new KillDelay();
  for (let round = 0; round < 15; round++) {
    const children = [1, 2].map((each) =>
      spawn(process.execPath, [script, place, String(round * 100_000 + each * 10_000)], {
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    await Promise.all(children.map((child) => once(child.stdout, 'data')));
    await delay.wait();
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => once(child, 'exit')));
    if (!existsSync(join(place, 'adapter_config.json')) && !existsSync(join(place, '.sigmatune-commit'))) {
      delay.sawResult(false);
      continue;
    }
    const { w } = await loadAdapters(place, { w: weight });
    const numbers = snapshot(item(w?.parameters ?? [], 0).value);
    if (!numbers.every((value) => value === numbers[0])) t.fail('a mixture');
    delay.sawResult(numbers[0] !== last);
    if (numbers[0] !== last) replaced += 1;
    last = numbers[0] ?? 0;
    disposeAll(w);
  }
  t.ok(replaced > 3, `${replaced} of 15 rounds replaced the adapter`);
});

t.test('layers on a device', { skip: testDevice === 'cpu' && 'no device but the CPU' }, async (t) => {
  using weight = gaussian(seeded(15), [6, 5], 'float32');
  using there = await weight.to(testDevice);
  using layer = await svft(there, { pattern: 'banded', offDiagonals: 1 });
  train(layer, 1);
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
