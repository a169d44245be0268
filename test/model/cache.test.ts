/** The options cache and storage of adaptModel, and decomposeModel. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedLinear,
  type AdaptedModel,
  adaptModel,
  type DecomposeModelOptions,
  decompose,
  decomposeModel,
  exportMerged,
  loadAdapters,
  type ModelOptions,
  openFactorCache,
  openSafetensors,
  type Progress,
  planModel,
  saveAdapters,
  type Tensor,
  writeSafetensors,
  zeros,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  item,
  refuses,
  rejectsSigma,
  seeded,
  testDevice,
  values,
} from '../support/helpers.js';
import { perturb } from '../support/layer.js';
import { plainEnvironment, runScript, scriptPath } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

type Weights = Record<string, Tensor>;

const weightsOf = (shapes: Readonly<Record<string, readonly number[]>>): Weights =>
  Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, gaussian(seeded(i + 1), shape, 'float32')]),
  );

const shapes = { 'h.0.q': [8, 8], 'h.0.v': [4, 8], c_attn: [8, 24], experts: [2, 6, 8] };
const structure: Pick<ModelOptions, 'targets' | 'layout' | 'split'> = {
  targets: 'all',
  layout: { c_attn: 'in-out' },
  split: { c_attn: ['q', 'k', 'v'] },
};
const modules = 2 + 3 + 2;

function assertSameLayers(t: Test, found: AdaptedModel, wanted: AdaptedModel): void {
  t.same([...found.layers.keys()], [...wanted.layers.keys()]);
  for (const [name, layer] of wanted.layers) {
    using x = gaussian(seeded(9), [3, layer.inFeatures], layer.factors.u.dtype as 'float32');
    const [y, z] = [found.layers.get(name)?.apply(x) as Tensor, layer.apply(x)];
    assertSameBits(t, y, z, `${name}: the same numbers`);
    disposeAll(y, z);
  }
}

t.test('a second model reads the factors of the first', async (t) => {
  await expectNoLeak(t, 'models', async () => {
    const weights = weightsOf(shapes);
    const cache = join(t.testdir({}), 'factors');
    for (const [i, family] of (['svft', 'siva', 'vectorfit', 'loraxs'] as const).entries()) {
      const options: ModelOptions = { ...structure, family };
      using wanted = await adaptModel(weights, options);
      const seen: Progress[] = [];
      using model = await adaptModel(weights, { ...options, cache, onProgress: (done) => seen.push(done) });
      assertSameLayers(t, model, wanted);
      t.same(
        seen.map(({ cached }) => cached),
        Array(modules).fill(i > 0),
        family,
      );
    }
    const open = await openFactorCache(cache);
    using again = await adaptModel(weights, { ...structure, family: 'svdiff', cache: open });
    t.equal(again.layers.size, modules);
    t.same([open.hits, open.misses, (await open.usage()).entries], [modules, 0, modules], 'an open cache');
    disposeAll(...Object.values(weights));
  });
});

t.test('decomposeModel fills the cache, and keeps nothing', async (t) => {
  await expectNoLeak(t, 'decompositions', async () => {
    const place = t.testdir({});
    const [path, cache] = [join(place, 'model.safetensors'), join(place, 'factors')];
    const weights = weightsOf(shapes);
    await writeSafetensors(path, Object.entries(weights));
    await using file = await openSafetensors(path);
    const seen: Progress[] = [];
    const options: DecomposeModelOptions = {
      ...structure,
      cache,
      device: testDevice,
      onProgress: (done) => seen.push(done),
    };
    const rows = await decomposeModel(file, options);
    const plan = planModel(file, { ...structure, family: 'svdiff' });
    t.same(
      rows.map(({ name, out, in: inputs, cached }) => [name, out, inputs, cached]),
      plan.map(({ name, out, in: inputs }) => [name, out, inputs, false]),
    );
    const row = rows.find(({ name }) => name === 'h.0.v');
    using factors = await decompose(weights['h.0.v'] as Tensor<'float32'>);
    t.same(
      [row?.residual, row?.orthogonality, row?.bytes],
      [factors.error.residual, factors.error.orthogonality, factors.bytes],
    );
    t.match(item(seen, modules - 1), {
      modules,
      of: modules,
      cached: false,
      weightBytes: 4 * 384,
      ofWeightBytes: 4 * 384,
    });
    const again = await decomposeModel(weights, { ...structure, cache });
    t.ok(
      again.every(({ cached }) => cached),
      'the same of tensors',
    );
    t.equal(again.length, modules);
    const open = await openFactorCache(cache);
    using model = await adaptModel(file, {
      ...structure,
      family: 'svft',
      cache: open,
      options: { device: testDevice },
    });
    t.same([model.layers.size, open.hits, open.misses], [modules, modules, 0], 'adaptModel computes none');
    disposeAll(...Object.values(weights));
  });
});

t.test(
  'decomposeModel lists weights with two names once, by the first, and tells no progress after a failure',
  async (t) => {
    await expectNoLeak(t, 'decompositions', async () => {
      const weights = weightsOf({ 'h.0.q': [200, 150], 'h.1.q': [6, 5], 'h.2.q': [5, 6] });
      const [first, second, third] = Object.values(weights) as [Tensor, Tensor, Tensor];
      const cache = join(t.testdir({}), 'factors');
      const tied = { 'h.0.q': second, 'h.1.q': third, 'h.2.q': second, 'h.3.q': first };
      const rows = await decomposeModel(tied, { targets: 'all', cache });
      t.same(
        rows.map(({ name, out }) => [name, out]),
        [
          ['h.0.q', 6],
          ['h.1.q', 5],
          ['h.3.q', 200],
        ],
      );
      fill(second, Number.NaN);
      fill(first, 2);
      let told = 0;
      // The second fails while the first, which is larger, is decomposed.
      const options: DecomposeModelOptions = { targets: 'all', cache, onProgress: () => told++ };
      const failure = { code: 'NON_FINITE', message: /h\.1\.q/ };
      await t.rejects(decomposeModel({ 'h.0.q': first, 'h.1.q': second }, options), failure);
      t.equal(told, 0);
      disposeAll(first, second, third);
    });
  },
);

t.test('what was decomposed before an abort stays in the cache', async (t) => {
  await expectNoLeak(t, 'abort', async () => {
    const weights = weightsOf(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`h.${i}.q`, [60, 50]])));
    const cache = join(t.testdir({}), 'factors');
    let done = 0;
    const abort = async () => {
      const controller = new AbortController();
      done = 0;
      const onProgress = () => {
        done += 1;
        if (done === 3) controller.abort();
      };
      const options: DecomposeModelOptions = { targets: 'all', cache, signal: controller.signal, onProgress };
      await rejectsSigma(t, () => decomposeModel(weights, options), 'ABORTED', 'aborted', 'decomposeModel');
    };
    await abort();
    const rows = await decomposeModel(weights, { targets: 'all', cache });
    const read = rows.filter(({ cached }) => cached).length;
    t.ok(read >= done && read < 12, `${read} of 12 were read, ${done} were done`);
    await abort();
    t.ok(done < 12, 'where all of them are in the cache too');
    disposeAll(...Object.values(weights));
  });
});

t.test('storage is the type of the layers', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'storage', async () => {
    const weights: Weights = { ...weightsOf({ ...shapes, 'h.0.q.bias': [8] }) };
    const place = t.testdir({});
    const options: ModelOptions = { ...structure, family: 'vectorfit', storage: 'float64' };
    const wide: Weights = Object.fromEntries(
      Object.entries(weights).map(([name, weight]) => [name, weight.cast('float64')]),
    );
    using wanted = await adaptModel(wide, { ...structure, family: 'vectorfit' });
    for (const cache of [undefined, join(place, 'factors'), join(place, 'factors')]) {
      using model = await adaptModel(weights, cache === undefined ? options : { ...options, cache });
      assertSameLayers(t, model, wanted);
      t.ok(
        model.parameters.every(({ value: { dtype } }) => dtype === 'float64'),
        'the parameters too',
      );
      t.same(
        model.describe(),
        planModel(Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape])), options),
        'as planned',
      );
    }
    using some = await adaptModel(weights, { ...options, targets: ['c_attn.q', 'experts.1'], family: 'svdiff' });
    for (const layer of some.layers.values()) perturb(layer);
    for (const [name, merged] of some.merged()) {
      const [found, before] = [values(merged), values(weights[name] as Tensor)];
      const stays = (i: number) => (name === 'experts' ? i < 48 : i % 24 >= 8);
      const changed = Array.from(before).filter((value, i) => stays(i) && value !== found[i]);
      t.same([merged.dtype, changed.length], ['float64', 0], `${name}: parts that stay`);
      merged.dispose();
    }
    const path = join(place, 'merged.safetensors');
    await exportMerged(path, some);
    await using file = await openSafetensors(path);
    t.same(file.info('experts'), { dtype: 'F64', shape: [2, 6, 8], bytes: 8 * 96 });
    disposeAll(...Object.values(weights), ...Object.values(wide));
  });
});

t.test('narrower storage has the factors of all bits', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'narrow', async () => {
    using wide = gaussian(seeded(3), [12, 9], 'float64');
    using factors = await decompose(wide, { storage: 'float32' });
    const cache = join(t.testdir({}), 'factors');
    for (const more of [{}, { cache }]) {
      using model = await adaptModel({ w: wide }, { targets: 'all', family: 'svft', storage: 'float32', ...more });
      const own = item([...model.layers.values()], 0).factors;
      for (const name of ['u', 's', 'vt'] as const) assertSameBits(t, own[name], factors[name], name);
      const [[, merged] = []] = model.merged();
      assertClose(t, merged as Tensor, values(wide), tolerances.float32, 'W0');
      disposeAll(merged);
    }
    using exact = gaussian(seeded(4), [6, 5], 'float32');
    using half = exact.cast('bfloat16');
    const options: ModelOptions = { targets: 'all', family: 'svft', storage: 'float32' };
    using model = await adaptModel({ half }, options);
    using same = half.cast('float32');
    using wanted = await adaptModel({ half: same }, options);
    assertSameLayers(t, model, wanted);
  });
});

t.test('bfloat16 layers of float32 weights', async (t) => {
  await expectNoLeak(t, 'bfloat16', async () => {
    const weights = weightsOf({ w: [12, 9] });
    using model = await adaptModel(weights, { targets: 'all', family: 'svft', storage: 'bfloat16' });
    const layer = item([...model.layers.values()], 0);
    t.same([layer.factors.u.dtype, layer.factors.s.dtype], ['bfloat16', 'float32']);
    disposeAll(...Object.values(weights));
  });
});

t.test("bfloat16 layers through W' come back from a folder", async (t) => {
  await expectNoLeak(t, 'merged', async () => {
    const weights = weightsOf({ a: [12, 9], b: [9, 12] });
    const options = { strategy: 'merged', pattern: 'banded' } as const;
    using model = await adaptModel(weights, { targets: 'all', family: 'svft', storage: 'bfloat16', options });
    for (const layer of model.layers.values()) perturb(layer);
    const folder = t.testdir({});
    await saveAdapters(folder, model.layers);
    const narrow = Object.fromEntries(Object.entries(weights).map(([name, each]) => [name, each.cast('bfloat16')]));
    const factors = Object.fromEntries([...model.layers].map(([name, layer]) => [name, layer.factors]));
    const loaded = await loadAdapters(folder, narrow, { factors });
    for (const [name, layer] of model.layers) {
      using x = gaussian(seeded(9), [3, layer.inFeatures], 'bfloat16');
      const again = loaded[name] as AdaptedLinear;
      t.same(
        [layer, again].map((each) => each.explain(3).strategy),
        ['merged', 'merged'],
        name,
      );
      using y = layer.apply(x);
      using z = again.apply(x);
      assertSameBits(t, z, y, name);
    }
    disposeAll(...Object.values(loaded), ...Object.values(narrow), ...Object.values(weights));
  });
});

t.test('what cannot be', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'refusals', async () => {
    const weights = weightsOf({ w: [4, 4] });
    const place = t.testdir({});
    const [file, cache] = [join(place, 'file'), join(place, 'factors')];
    writeFileSync(file, '');
    const options = { targets: 'all', family: 'svft', cache };
    const given = (more: object) => [weights, { ...options, ...more }];
    await refuses(t, adaptModel, [
      ['no type', given({ storage: 'F32' }), 'INVALID_ARGUMENT', 'options.storage', 'F32'],
      ['no folder', given({ cache: 5 }), 'INVALID_ARGUMENT', 'options.cache', '5'],
      ['a file', given({ cache: file }), 'INVALID_ARGUMENT', 'options.cache', 'EEXIST'],
      ['a wrong target', given({ targets: ['v'] }), 'INVALID_ARGUMENT', 'options.targets[0]'],
      ['a wrong option of the family', given({ options: { ranks: 3 } }), 'INVALID_ARGUMENT', "'w'", 'rank'],
    ]);
    const call = (more: object) => [weights, { targets: 'all', cache, ...more }];
    await refuses(t, decomposeModel, [
      ['a device', call({ device: 'gpu' }), 'INVALID_ARGUMENT', 'device', 'gpu'],
      ['no cache', call({ cache: undefined }), 'INVALID_ARGUMENT', 'options.cache'],
      ['a family', call({ family: 'svft' }), 'INVALID_ARGUMENT', 'family'],
      ['progress', call({ onProgress: 5 }), 'INVALID_ARGUMENT', 'options.onProgress'],
      ['aborted', call({ signal: AbortSignal.abort() }), 'ABORTED', 'decomposeModel'],
      ['int4', call({ storage: 'int4' }), 'INVALID_ARGUMENT', 'options.storage'],
      ['no weights', [5, { targets: 'all', cache }], 'INVALID_ARGUMENT', 'weights'],
    ]);
    const nothing = zeros([4, 4]);
    const rows = await decomposeModel({ nothing }, { targets: 'all', cache });
    t.match(rows, [{ name: 'nothing', residual: 0 }], 'a weight of zeros');
    disposeAll(nothing, ...Object.values(weights));
  });
});

t.test('a run that was killed goes on where it was', { skip: cpuOnly }, async (t) => {
  const place = t.testdir({});
  const [path, cache] = [join(place, 'model.safetensors'), join(place, 'factors')];
  const weights = weightsOf(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`h.${i}.q`, [200, 180]])));
  await writeSafetensors(path, Object.entries(weights));
  const child = spawn(process.execPath, [scriptPath('adapt-file.mjs'), path, cache], {
    env: plainEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
    if (out.split('\n').length > 4) child.kill('SIGKILL');
  });
  await once(child, 'close');
  t.equal(child.signalCode, 'SIGKILL');
  const linesOf = (text: string, word: string) =>
    text
      .split('\n')
      .filter((line) => line.endsWith(` ${word}`))
      .sort();
  const first = linesOf(out, 'computed');
  t.ok(first.length >= 4 && first.length < 12, `killed after ${first.length} of 12 modules`);
  const second = await runScript('adapt-file.mjs', path, cache);
  t.same([second.code, second.err], [0, '']);
  const [computed, read] = [
    linesOf(second.out, 'computed').length,
    linesOf(second.out, 'read').map((line) => line.split(' ')[0]),
  ];
  t.equal(computed + read.length, 12);
  t.ok(
    first.every((line) => read.includes(line.split(' ')[0])),
    'what was done is read',
  );
  // Two more may have been stored without a line.
  t.ok(read.length <= first.length + 2, `${read.length} were read, ${computed} computed`);
  t.match(second.out, /\n2160 parameters\n$/);
  const third = await runScript('adapt-file.mjs', path, cache);
  t.equal(linesOf(third.out, 'read').length, 12, 'a third run computes none');
  disposeAll(...Object.values(weights));
});
