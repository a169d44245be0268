/** int8 matrices in files: codes as I8, and their scales next to them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  adaptModel,
  decompose,
  loadAdapters,
  openFactorCache,
  planModel,
  readSafetensors,
  saveAdapters,
  type Tensor,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { assertSameBits, cpuOnly, disposeAll, gaussian, rejectsSigma, seeded } from '../support/helpers.js';
import { disposeLayer, perturb } from '../support/layer.js';

const same = (a: Tensor, b: Tensor) => Buffer.from(a.dataSync().buffer).equals(Buffer.from(b.dataSync().buffer));

t.test('int8 in files', { skip: cpuOnly }, async (t) => {
  t.test('safetensors', async (t) => {
    const path = join(t.testdir({}), 'int8.safetensors');
    using wide = gaussian(seeded(1), [3, 70], 'float32');
    using kept = wide.cast('int8');
    await writeSafetensors(path, [['u', kept]]);
    const { tensors } = await readSafetensors(path);
    t.same([...tensors.keys()].sort(), ['u', 'u.scales']);
    const read = tensors.get('u') as Tensor<'int8'>;
    t.same([read.dtype, read.shape, read.dataSync()], ['int8', [3, 70], kept.dataSync()]);
    t.same(read.scales, kept.scales);
    // One at a time, through a scratch file.
    async function* each() {
      yield ['u', kept] as const;
    }
    const other = `${path}.2`;
    await writeSafetensors(other, each());
    t.same(readFileSync(other), readFileSync(path));
    disposeAll(...tensors.values());
    await rejectsSigma(
      t,
      () =>
        writeSafetensors(path, [
          ['u', kept],
          ['u.scales', wide],
        ]),
      'INVALID_ARGUMENT',
      'the name of the scales',
      'u.scales',
    );
    const whole = readFileSync(path);
    const scales = Buffer.from((kept.scales as Float32Array).buffer, (kept.scales as Float32Array).byteOffset, 4);
    const at = whole.indexOf(scales);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** -130, -1]) {
      const broken = Buffer.from(whole);
      broken.writeFloatLE(bad, at);
      writeFileSync(path, broken);
      await rejectsSigma(t, () => readSafetensors(path), 'CORRUPT_FILE', `a scale of ${bad}`, 'u.scales', '2^-126');
    }
    // Codes alone are no numbers.
    writeFileSync(path, Buffer.from(whole.toString('latin1').replace('u.scales', 'u.scaled'), 'latin1'));
    await rejectsSigma(t, () => readSafetensors(path), 'UNSUPPORTED', 'without scales', 'u.scales');
  });

  t.test('the cache of factors', async (t) => {
    const cache = await openFactorCache(join(t.testdir({}), 'factors'));
    using weight = gaussian(seeded(2), [40, 70], 'float32');
    using made = await cache.decompose(weight, { storage: 'int8' });
    using found = await cache.decompose(weight, { storage: 'int8' });
    t.same([cache.hits, cache.misses], [1, 1]);
    for (const name of ['u', 's', 'vt'] as const) t.ok(same(found[name], made[name]), name);
    t.same(found.error, made.error);
    t.equal(found.storage, 'int8');
    using others = await cache.decompose(weight);
    t.equal(others.storage, 'float32', 'another storage is another entry');
  });

  t.test('adapters', async (t) => {
    const folder = join(t.testdir({}), 'adapters');
    using weight = gaussian(seeded(3), [40, 70], 'float32');
    using factors = await decompose(weight, { storage: 'int8' });
    const layer = await vectorFit(weight, { factors, name: 'q' });
    perturb(layer);
    const x = gaussian(seeded(4), [5, 70], 'float32');
    const y = layer.apply(x);
    for (const vectors of [false, true]) {
      await saveAdapters(folder, { q: layer }, { vectors });
      const given = vectors ? {} : { factors: { q: factors } };
      const loaded = await loadAdapters(folder, { q: weight }, given as never);
      const again = (loaded['q'] as typeof layer).apply(x);
      assertSameBits(t, again, y, vectors ? 'with the vectors of the file' : 'with the factors given');
      again.dispose();
      disposeLayer(loaded['q'] as typeof layer);
    }
    disposeAll(x, y);
    disposeLayer(layer);
  });

  t.test('whole models: bytes as planned', async (t) => {
    const weights = {
      'a.q': gaussian(seeded(5), [130, 70], 'float32'),
      'a.v': gaussian(seeded(6), [70, 130], 'bfloat16'),
    };
    for (const layout of ['out-in', 'in-out'] as const) {
      for (const [family, options] of [
        ['svft', {}],
        ['vectorfit', {}],
        ['svdiff', {}],
        ['loraxs', { rank: 5 }],
        ['siva', { count: 5 }],
      ] as const) {
        const given = { targets: 'all', family, options, layout, storage: 'int8' } as const;
        const shapes = Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]));
        const planned = planModel(shapes as never, given as never);
        const model = await adaptModel(weights as never, given as never);
        const bytes = (rows: readonly { bytes: number }[]) => rows.map((row) => row.bytes);
        t.same(bytes(model.describe()), bytes(planned), `${family}, ${layout}`);
        t.equal([...model.layers.values()][0]?.factors.u.dtype, 'int8' as never);
        model.dispose();
      }
    }
    disposeAll(...Object.values(weights));
    using zero = tensor([[1, 2]]);
    t.equal(planModel({ zero: zero.shape as never }, { targets: 'all', family: 'svft', storage: 'int8' }).length, 1);
  });
});
