/** adaptModel and planModel on an open file: each weight is read when its turn comes, and released. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedModel,
  adaptModel,
  exportMerged,
  type ModelOptions,
  openSafetensors,
  type Progress,
  planModel,
  readSafetensors,
  type Tensor,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  bytes,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  gaussian,
  item,
  put,
  rejectsSigma,
  seeded,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { perturb } from '../support/layer.js';
import { fileWith } from '../support/safetensors.js';

type Weights = Record<string, Tensor>;

const shapes = {
  'h.0.q.weight': [8, 8],
  'h.0.q.bias': [8],
  'h.0.v.weight': [4, 8],
  c_attn: [8, 24],
  experts: [3, 6, 8],
  conv: [5, 4, 3, 3],
  norm: [8],
};
const structure: Pick<ModelOptions, 'layout' | 'split'> = {
  layout: { c_attn: 'in-out' },
  split: { c_attn: ['q', 'k', 'v'] },
};

function weightsOf(given: Readonly<Record<string, readonly number[]>> = shapes, seed = 1): Weights {
  return Object.fromEntries(
    Object.entries(given).map(([name, shape], i) => [name, gaussian(seeded(seed + i), shape, 'float32')]),
  );
}

/** The weights as an open file. */
async function fileOf(t: Test, weights: Weights) {
  const path = join(t.testdir({}), 'model.safetensors');
  await writeSafetensors(path, Object.entries(weights));
  return openSafetensors(path);
}

function assertSameLayers(t: Test, found: AdaptedModel, wanted: AdaptedModel): void {
  t.same([...found.layers.keys()].sort(), [...wanted.layers.keys()].sort());
  for (const [name, layer] of wanted.layers) {
    const own = found.layers.get(name);
    if (own === undefined) return;
    using x = gaussian(seeded(9), [3, layer.inFeatures], layer.factors.u.dtype as 'float32');
    const [y, z] = [own.apply(x), layer.apply(x)];
    assertSameBits(t, y, z, `${name}: the same numbers`);
    disposeAll(y, z);
  }
}

t.test('the layers are those of the same tensors', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'families', async () => {
    const weights = weightsOf();
    await using file = await fileOf(t, weights);
    for (const family of ['svft', 'siva', 'vectorfit', 'svdiff', 'loraxs'] as const) {
      const options: ModelOptions = { targets: 'all', family, ...structure };
      using wanted = await adaptModel(weights, options);
      using model = await adaptModel(file, options);
      assertSameLayers(t, model, wanted);
      t.same(
        planModel(file, options).map(({ name }) => name),
        [...model.layers.keys()],
      );
      const rows = new Map(planModel(file, options).map((row) => [row.name, row]));
      for (const row of model.describe()) {
        const planned = rows.get(row.name);
        if (!Number.isNaN(planned?.parameters)) t.equal(planned?.bytes, row.bytes, `${family} ${row.name}: bytes`);
      }
    }
    disposeAll(...Object.values(weights));
  });
});

t.test('a weight is released when its layers exist', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'release', async () => {
    const before = bytes();
    const weights = weightsOf();
    const file = await fileOf(t, weights);
    disposeAll(...Object.values(weights));
    t.equal(bytes(), before);
    using model = await adaptModel(file, { targets: 'all', family: 'vectorfit', ...structure });
    await file.close();
    const rows = model.describe();
    const bias = 4 * 8; // the pretrained bias, which is the base's
    t.equal(
      bytes() - before,
      rows.reduce((sum, row) => sum + row.bytes, 0),
      `only the layers are left, the bias of ${bias} bytes among them`,
    );
    const again = weightsOf();
    for (const [name, merged] of model.merged()) {
      t.same(merged.shape, again[name]?.shape);
      assertClose(t, merged, values(again[name] as Tensor), tolerances.float32, `${name}: W0, to rounding`);
      merged.dispose();
    }
    disposeAll(...Object.values(again));
  });
});

t.test('what is not adapted of a fused weight comes back to the bit', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'fused', async () => {
    const weights = weightsOf({ c_attn: [8, 24], experts: [3, 6, 8] });
    const file = await fileOf(t, weights);
    const targets = ['c_attn.q', 'experts.1'];
    using model = await adaptModel(file, { targets, family: 'svdiff', ...structure });
    await file.close();
    for (const layer of model.layers.values()) perturb(layer);
    const merged = new Map(model.merged());
    const [attention, experts] = [merged.get('c_attn'), merged.get('experts')] as [Tensor, Tensor];
    const kept = (tensor: Tensor, stays: (i: number) => boolean) =>
      Array.from(values(tensor)).filter((_, i) => stays(i));
    const notQ = (i: number) => i % 24 >= 8;
    const notOne = (i: number) => Math.floor(i / 48) !== 1;
    t.same(kept(attention, notQ), kept(weights['c_attn'] as Tensor, notQ), 'k and v');
    t.same(kept(experts, notOne), kept(weights['experts'] as Tensor, notOne), 'two of three experts');
    t.notSame(Array.from(values(attention)), Array.from(values(weights['c_attn'] as Tensor)));
    disposeAll(...merged.values(), ...Object.values(weights));
  });
});

t.test('layers that compute with W0 keep it', { skip: cpuOnly }, async (t) => {
  const weights = weightsOf({ w: [12, 10] });
  const file = await fileOf(t, weights);
  using kept = await adaptModel(file, { targets: 'all', family: 'svft', options: { rank: 3 } });
  using dropped = await adaptModel(file, { targets: 'all', family: 'svft', options: { rank: 3, residual: 'drop' } });
  await file.close();
  const merged = item([...kept.merged()], 0)[1];
  assertSameBits(t, merged, weights['w'] as Tensor, 'nothing is trained');
  merged.dispose();
  const layer = item([...dropped.layers.values()], 0);
  layer.enabled = false;
  using x = gaussian(seeded(2), [2, 10], 'float32');
  throwsSigma(t, () => layer.apply(x), 'DISPOSED', 'W0 is gone, and the factors are cut', 'weight');
  disposeAll(...Object.values(weights));
});

t.test('weights of half the width', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'types', async () => {
    const [half, wide] = [gaussian(seeded(3), [6, 5], 'float32'), gaussian(seeded(4), [6, 5], 'float64')];
    const [brain, bias] = [half.cast('bfloat16'), gaussian(seeded(5), [6], 'float32')];
    const narrowBias = bias.cast('bfloat16');
    const place = t.testdir({});
    const [path, asHalves] = [join(place, 'bf16.safetensors'), join(place, 'f16.safetensors')];
    const stored: [string, Tensor][] = [
      ['a.weight', brain],
      ['a.bias', narrowBias],
      ['b.weight', wide],
    ];
    await writeSafetensors(path, stored);
    const options: ModelOptions = { targets: 'all', family: 'vectorfit' };
    await using file = await openSafetensors(path);
    using model = await adaptModel(file, options);
    const widened = { 'a.weight': brain.cast('float32'), 'a.bias': narrowBias.cast('float32'), 'b.weight': wide };
    using wanted = await adaptModel(widened, options);
    assertSameLayers(t, model, wanted);
    t.same(
      [...model.parameters].map(({ value: { dtype } }) => dtype).sort(),
      ['float32', 'float32', 'float64'],
      'BF16 becomes float32, F64 stays',
    );
    const target = join(place, 'merged.safetensors');
    await exportMerged(target, model, { base: path });
    await using merged = await openSafetensors(target);
    t.same(
      merged.names.map((name) => merged.info(name).dtype),
      file.names.map((name) => file.info(name).dtype),
      'the merged weights have the types of the file',
    );
    const bits = await merged.read('a.weight');
    const off = Array.from(bits.dataSync()).filter((value, i) => value !== brain.dataSync()[i]).length;
    t.ok(off <= 3, `W0 is back, but for the rounding of ${off} numbers`);

    writeFileSync(asHalves, fileWith([['a.weight', 'F16', [2, 2], new Uint16Array([0x3c00, 0, 0, 0x4000])]]));
    await using halves = await openSafetensors(asHalves);
    using ofHalves = await adaptModel(halves, { ...options, family: 'svft' });
    t.same(Array.from(values(item([...ofHalves.layers.values()], 0).factors.s)), [2, 1], 'F16');
    disposeAll(bits, half, brain, wide, bias, narrowBias, widened['a.weight'], widened['a.bias']);
  });
});

t.test('a sharded checkpoint, and types without tensors', { skip: cpuOnly }, async (t) => {
  const place = t.testdir({});
  const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i));
  writeFileSync(
    join(place, '1.safetensors'),
    fileWith([
      ['q', 'F32', [3, 2], numbers(6)],
      ['ids', 'I64', [2, 2], new Uint8Array(32)],
    ]),
  );
  writeFileSync(
    join(place, '2.safetensors'),
    fileWith([
      ['v', 'F32', [2, 2], numbers(4)],
      ['v.bias', 'I32', [2], new Uint8Array(8)],
      ['none', 'F32', [0, 2], new Uint8Array(0)],
    ]),
  );
  const map = { q: '1', ids: '1', v: '2', 'v.bias': '2', none: '2' };
  const index = {
    weight_map: Object.fromEntries(Object.entries(map).map(([name, at]) => [name, `${at}.safetensors`])),
  };
  writeFileSync(join(place, 'model.safetensors.index.json'), JSON.stringify(index));
  await using file = await openSafetensors(place);
  const options: ModelOptions = { targets: 'all', family: 'svdiff' };
  using model = await adaptModel(file, { ...options, exclude: ['v'] });
  t.same([...model.layers.keys()], ['q'], 'all matrices of types that tensors have');
  t.same(
    planModel(file, options).map(({ name }) => name),
    ['q', 'v'],
  );
  const refuse = (more: object, code: string, ...parts: string[]) =>
    rejectsSigma(t, () => adaptModel(file, { ...options, ...more }), code as never, JSON.stringify(more), ...parts);
  await refuse({ targets: ['ids'] }, 'DTYPE_MISMATCH', 'options.targets[0]', 'I64');
  await refuse({ targets: ['none'] }, 'DTYPE_MISMATCH', 'options.targets[0]', '[0, 2]');
  await refuse({ targets: ['v'] }, 'DTYPE_MISMATCH', "the bias of 'v'", 'int32');
  await refuse({ targets: ['k'] }, 'INVALID_ARGUMENT', 'options.targets[0]');
});

t.test('at most two weights are in memory at a time', { skip: cpuOnly }, async (t) => {
  const weights = weightsOf(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`h.${i}.q`, [64, 64]])));
  const file = await fileOf(t, weights);
  disposeAll(...Object.values(weights));
  const before = bytes();
  let [done, most] = [0, 0];
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => {
    seen.push(progress);
    done += progress.bytes;
    most = Math.max(most, bytes() - before - done);
  };
  using model = await adaptModel(file, { targets: 'all', family: 'svdiff', onProgress });
  await file.close();
  const weight = 4 * 64 * 64;
  t.ok(most > 0 && most <= 10 * weight, `${most / weight} weights' worth next to the layers, of 30`);
  t.equal(model.layers.size, 30);
  t.same(
    seen.map(({ modules, of, weightBytes, ofWeightBytes, cached }) => [
      modules,
      of,
      weightBytes,
      ofWeightBytes,
      cached,
    ]),
    Array.from({ length: 30 }, (_, i) => [i + 1, 30, (i + 1) * weight, 30 * weight, false]),
  );
});

t.test('what stops a run leaves nothing', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'stops', async () => {
    const weights = weightsOf(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`h.${i}.q`, [60, 60]])));
    const file = await fileOf(t, weights);
    const options: ModelOptions = { targets: 'all', family: 'svft' };
    const stopped = async (stop: () => unknown, more: Partial<ModelOptions> = {}) => {
      let done = 0;
      const onProgress = () => {
        done += 1;
        if (done === 3) return stop();
      };
      const error = await adaptModel(file, { ...options, ...more, onProgress }).catch((reason: unknown) => reason);
      t.ok(done < 12, `${done} modules were done`);
      return error;
    };
    const controller = new AbortController();
    const { signal } = controller;
    t.match(await stopped(() => controller.abort(), { signal }), { code: 'ABORTED', op: 'adaptModel' });
    const own = new Error('stop');
    const thrown = () => {
      throw own;
    };
    t.equal(await stopped(thrown), own, "the caller's own error");
    t.match(await stopped(() => void file.close()), { code: 'DISPOSED', op: 'adaptModel', message: /'h\.\d+\.q'/ });
    throwsSigma(t, () => planModel(file, options), 'DISPOSED', 'a closed file', 'planModel');
    await rejectsSigma(t, () => adaptModel(file, options), 'DISPOSED', 'a closed file', 'adaptModel');

    put(weights['h.7.q'] as Tensor, 5, Number.NaN);
    await using broken = await fileOf(t, weights);
    await rejectsSigma(t, () => adaptModel(broken, options), 'NON_FINITE', 'NaN', "'h.7.q'");
    disposeAll(...Object.values(weights));
  });
});

t.test('an object that only looks like a file', async (t) => {
  const like = { names: ['w'], info: () => ({ dtype: 'F32', shape: [2, 2], bytes: 16 }) };
  const options: ModelOptions = { targets: 'all', family: 'svft' };
  await rejectsSigma(t, () => adaptModel(like as never, options), 'INVALID_ARGUMENT', 'no file', "weights['names']");
  throwsSigma(t, () => planModel(like as never, options), 'INVALID_ARGUMENT', 'no file', 'planModel');
});

t.test('readSafetensors gives a record for the same call', async (t) => {
  const weights = weightsOf({ w: [5, 4] });
  const file = await fileOf(t, weights);
  using model = await adaptModel(file, { targets: 'all', family: 'svdiff' });
  await file.close();
  t.equal(model.layers.size, 1);
  const { tensors } = await readSafetensors(join(t.testdirName, 'model.safetensors'));
  using other = await adaptModel(Object.fromEntries(tensors), { targets: 'all', family: 'svdiff' });
  t.equal(other.layers.size, 1);
  disposeAll(...tensors.values(), ...Object.values(weights), tensor([1]));
});
