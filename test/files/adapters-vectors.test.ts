/** Adapters on the singular vectors of another decomposition: numbers are turned, or the adapter is refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedLinear,
  inspectAdapters,
  loadAdapters,
  openSafetensors,
  readSafetensors,
  SparsityPattern,
  type Svd,
  saveAdapters,
  siva,
  svd,
  svft,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { families, oneOfEach, tolerances } from '../support/cases.js';
import { mergedNumbers, otherSigns } from '../support/decompositions.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  item,
  orthonormal,
  real,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { dense, perturb } from '../support/layer.js';
import { build, diagonal, type Matrix, matmul, matrix, transpose } from '../support/reference.js';

const folder = t.testdir({});

/** A weight with equal singular values, and two decompositions of it that differ by a rotation. */
function degenerate(spectrum: readonly number[], from: number, to: number) {
  const r = spectrum.length;
  const random = seeded(11);
  const [u, v] = [matrix(r + 2, r, orthonormal(random, r + 2, r)), matrix(r, r, orthonormal(random, r, r))];
  const size = to - from + 1;
  const among = orthonormal(random, size, size);
  const rotation = build(r, r, (i, j) => {
    const [k, l] = [i - from, j - from];
    const isInside = Math.min(k, l) >= 0 && Math.max(k, l) < size;
    return isInside ? at(among, k * size + l) : Number(i === j);
  });
  const stored = ({ rows, columns, data }: Matrix) => real(data, [rows, columns], 'float64');
  const make = (left: Matrix, right: Matrix): Svd => ({
    u: stored(left),
    s: real(spectrum, [r], 'float64'),
    vt: stored(transpose(right)),
  });
  return {
    weight: stored(matmul(matmul(u, diagonal(spectrum)), transpose(v))),
    one: make(u, v),
    other: make(matmul(u, rotation), matmul(v, rotation)),
  };
}

t.test('the numbers are turned, and not only kept', async (t) => {
  using weight = gaussian(seeded(3), [6, 5], 'float64');
  const factors = await svd(weight);
  const turned = otherSigns(factors, 1);
  using layer = await svft(weight, { pattern: 'banded', offDiagonals: 4, factors });
  perturb(layer, 2);
  await saveAdapters(folder, { w: layer });
  const { w } = await loadAdapters(folder, { w: weight }, { factors: { w: turned } });
  const [before, after] = [layer, w].map((each) => snapshot(item(each?.parameters ?? [], 0).value));
  const changed = before?.filter((value, p) => value !== at(after ?? [], p)).length;
  t.ok(changed && changed > 3, `${changed} numbers have another sign`);
  t.same(after?.map(Math.abs), before?.map(Math.abs), 'and the same magnitude');
  disposeAll(w);
  disposeSvd(factors, turned);
});

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
      perturb(layer, 4);
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
  perturb(layer, 4);
  await saveAdapters(folder, { w: layer });
  const { w: found } = await loadAdapters(folder, { w: weight }, { factors: { w: other } });
  assertClose(t, mergedNumbers(found), mergedNumbers(layer), tolerances.float64, 'are no obstacle');
  disposeAll(found, weight);
  disposeSvd(one, other);
});

/** Telemetry to 12 digits. */
function told(layer: AdaptedLinear | undefined): unknown {
  const rounded = (_key: string, value: unknown) => (typeof value === 'number' ? value.toPrecision(12) : value);
  return JSON.parse(JSON.stringify(layer?.telemetry(), rounded));
}

t.test('saved vectors make an adapter independent of any decomposition', async (t) => {
  const { weight, one, other } = degenerate([5, 4, 4, 4, 2, 1], 1, 3);
  await expectNoLeak(t, 'vectors', async () => {
    for (const family of families) {
      const layer = await family.make(weight, { factors: one }).catch(() => undefined);
      if (layer === undefined) continue;
      perturb(layer, 4);
      await saveAdapters(folder, { w: layer }, { vectors: true });
      const { w: found } = await loadAdapters(folder, { w: weight });
      using merged = found?.mergedWeight();
      using wanted = layer.mergedWeight();
      assertSameBits(t, merged ?? [], wanted, `${family.name}: to the bit`);
      // The σ of a random basis are not saved but computed again.
      t.same(told(found), told(layer), `${family.name}: the same telemetry`);
      disposeAll(found);
      disposeAll(layer);
    }
  });
  disposeAll(weight);
  disposeSvd(one, other);
});

t.test('a weight that was disposed before saving is known by σ and the vectors', async (t) => {
  const random = seeded(8);
  const numbers = random.normals(48);
  const weight = tensor(numbers, [8, 6]);
  using layer = await vectorFit(weight);
  perturb(layer, 1);
  weight.dispose();
  await saveAdapters(folder, { w: layer });
  t.equal((await inspectAdapters(folder)).layers[0]?.weight, undefined);
  using again = tensor(numbers, [8, 6]);
  const { w } = await loadAdapters(folder, { w: again });
  assertClose(t, mergedNumbers(w), mergedNumbers(layer), tolerances.float32, 'comes back');
  using other = tensor(random.normals(48), [8, 6]);
  await rejectsSigma(t, () => loadAdapters(folder, { w: other }), 'BASE_MISMATCH', 'another weight', 'singular value');
  const [own, others] = [await svd(again), await svd(other)];
  const swapped = matmul(matmul(dense(own.u), diagonal(snapshot(own.s))), dense(others.vt));
  using same = tensor(swapped.data, [8, 6]);
  await rejectsSigma(
    t,
    () => loadAdapters(folder, { w: same }),
    'BASE_MISMATCH',
    'the same σ, other vectors',
    'vector',
  );
  disposeAll(w);
  disposeSvd(own, others);
});

t.test('SiVA saves only the vectors that it trains', async (t) => {
  const spectrum = Array.from({ length: 12 }, (_, i) => (i < 9 ? 1 / (i + 1) : 0));
  const { weight, one, other } = degenerate(spectrum, 7, 10);
  for (const dtype of ['float64', 'float32'] as const) {
    using base = weight.cast(dtype);
    const cast = ({ u, s, vt }: Svd) => ({ u: u.cast(dtype), s: s.cast(dtype), vt: vt.cast(dtype) }) as Svd;
    const [given, rotated] = [cast(one), cast(other)];
    for (const select of ['lowest', 'top'] as const) {
      for (const count of [1, 3, 5]) {
        const label = `${dtype}, ${select} ${count}`;
        using layer = await siva(base, { count, select, factors: given, strategy: 'lowrank' });
        perturb(layer, 4);
        await saveAdapters(folder, { w: layer }, { vectors: true });
        {
          await using file = await openSafetensors(join(folder, 'adapter_model.safetensors'));
          t.same(file.info('base_model.model.w.sigmatune.u').shape, [14, count], `${label}: few vectors`);
        }
        const { w: found } = await loadAdapters(folder, { w: base });
        assertSameBits(t, mergedNumbers(found), mergedNumbers(layer), `${label}: to the bit`);
        t.same(found?.telemetry(), layer.telemetry(), `${label}: all σ are known`);
        // Saved again from there, it is the same file.
        await saveAdapters(folder, { w: found as AdaptedLinear }, { vectors: true });
        const { w: again } = await loadAdapters(folder, { w: base });
        assertSameBits(t, mergedNumbers(again), mergedNumbers(layer), `${label}: a second time`);
        disposeAll(found, again);
      }
    }
    using other64 = gaussian(seeded(6), [14, 12], 'float64');
    using layer = await siva(base, { count: 4, factors: given, strategy: 'lowrank' });
    perturb(layer, 4);
    await saveAdapters(folder, { w: layer }, { vectors: true });
    // In another type the SHA-256 is not compared, so that the vectors have to tell.
    using wrong = other64.cast(dtype === 'float32' ? 'float64' : 'float32');
    await rejectsSigma(t, () => loadAdapters(folder, { w: wrong }), 'BASE_MISMATCH', `${dtype}: another weight`);
    using same = base.cast(dtype === 'float32' ? 'float64' : 'float32');
    const { w: converted } = await loadAdapters(folder, { w: same });
    assertClose(t, mergedNumbers(converted), mergedNumbers(layer), tolerances.float32, `${dtype}: in another type`);
    disposeAll(converted);
    disposeSvd(given, rotated);
  }
  disposeAll(weight);
  disposeSvd(one, other);
});

t.test('saved vectors that do not fit are CORRUPT_FILE', async (t) => {
  using weight = gaussian(seeded(9), [8, 6], 'float64');
  using layer = await siva(weight, { count: 2, strategy: 'lowrank' });
  await saveAdapters(folder, { w: layer }, { vectors: true });
  const [model, config] = ['adapter_model.safetensors', 'adapter_config.json'].map((name) => join(folder, name)) as [
    string,
    string,
  ];
  const text = readFileSync(config, 'utf8');
  const { tensors, metadata } = await readSafetensors(model);
  const key = (name: string) => `base_model.model.w.sigmatune.${name}`;
  const attempt = () => loadAdapters(folder, { w: weight });
  writeFileSync(config, text.replaceAll('"count": 2', '"count": 3').replace('"rank": 2', '"rank": 3'));
  await rejectsSigma(t, attempt, 'CORRUPT_FILE', 'another count', "module 'w'");
  writeFileSync(config, text.replace('"strategy": "lowrank"', '"strategy": "factored"'));
  await rejectsSigma(t, attempt, 'CORRUPT_FILE', 'another strategy', "module 'w'", 'all 6');
  writeFileSync(config, text);
  for (const length of [5, 7]) {
    using sigma = real(new Array(length).fill(1), [length], 'float64');
    await writeSafetensors(model, new Map([...tensors, [key('sigma'), sigma]]), { metadata });
    await rejectsSigma(t, attempt, 'CORRUPT_FILE', `${length} singular values`, "module 'w'");
  }
  disposeAll(...tensors.values());
});

t.test('a random basis follows from its seed', async (t) => {
  using weight = gaussian(seeded(9), [8, 6], 'float64');
  using layer = await siva(weight, { count: 2, basis: 'random', seed: 5 });
  perturb(layer, 3);
  await saveAdapters(folder, { w: layer }, { vectors: true });
  await using file = await openSafetensors(join(folder, 'adapter_model.safetensors'));
  t.notOk(
    file.names.some((name) => name.endsWith('.u')),
    'no vectors are saved',
  );
  const { w: found } = await loadAdapters(folder, { w: weight });
  assertSameBits(t, mergedNumbers(found), mergedNumbers(layer), 'to the bit');
  disposeAll(found);
});
