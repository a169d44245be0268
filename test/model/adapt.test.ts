/** adaptModel: layers of whole models, their weights and what is given back. */
import { inspect } from 'node:util';
import {
  AdamW,
  type AdaptedModel,
  adaptModel,
  type ModelOptions,
  memory,
  svft,
  Tensor,
  tensor,
  vectorFit,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  bytes,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  gaussian,
  item,
  rejectsSigma,
  seeded,
  testDevice,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { dense, perturb } from '../support/layer.js';
import { add, matmul, matrix, transpose } from '../support/reference.js';

type Weights = Record<string, Tensor<'float32'>>;

function weightsOf(shapes: Readonly<Record<string, readonly number[]>>, seed = 1): Weights {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, gaussian(seeded(seed + i), shape, 'float32')]),
  );
}

const layerOf = (model: AdaptedModel, name: string) => {
  const layer = model.layers.get(name);
  if (layer === undefined) throw new Error(`no layer ${name}`);
  return layer;
};

const shapes = {
  'h.0.q.weight': [8, 8],
  'h.0.q.bias': [8],
  'h.0.v.weight': [4, 8],
  'h.1.q.weight': [8, 8],
  'norm.weight': [8],
};
const options: ModelOptions = { targets: ['q', 'v'], family: 'vectorfit' };

t.test('the layers are those that one would make one by one', async (t) => {
  await expectNoLeak(t, 'layers', async () => {
    const weights = weightsOf(shapes);
    const seen: unknown[] = [];
    using model = await adaptModel(weights, { ...options, onProgress: (done) => seen.push(done) });
    t.same([...model.layers.keys()], ['h.0.q.weight', 'h.0.v.weight', 'h.1.q.weight']);
    t.same(
      model.parameters.map(({ name }) => name),
      ['h.0.q.sigma', 'h.0.q.bias', 'h.0.v.sigma', 'h.1.q.sigma'],
    );
    t.equal(model.parameterCount, 8 + 8 + 4 + 8);
    t.equal(seen.length, 3);
    t.match(seen[2], { modules: 3, of: 3, name: /^h\./, bytes: Number });
    using x = gaussian(seeded(9), [5, 8], 'float32');
    using own = await vectorFit(item(Object.values(weights), 0), { bias: weights['h.0.q.bias'] as Tensor });
    const [y, z] = [own.apply(x), layerOf(model, 'h.0.q.weight').apply(x)];
    assertSameBits(t, z, y, 'the same numbers');
    disposeAll(y, z, ...Object.values(weights));
  });
});

t.test('every module draws numbers of its own, from seed and name', async (t) => {
  const weights = weightsOf({ 'a.w': [12, 12], 'b.w': [12, 12] });
  const random: ModelOptions = {
    targets: 'all',
    family: 'svft',
    options: { pattern: 'random', offDiagonals: 1, init: 'kaiming', seed: 3 },
  };
  using one = await adaptModel(weights, random);
  using again = await adaptModel(weights, random);
  const starts = (model: AdaptedModel) =>
    [...model.layers.values()].map((layer) => Array.from(values(item(layer.parameters, 0).value)));
  t.notSame(starts(one)[0], starts(one)[1], 'two modules of one size');
  t.same(starts(one), starts(again), 'the same in every run');
  using alone = await svft(weights['a.w'] as Tensor, { ...random.options, name: 'a.w' } as object);
  t.same(Array.from(values(item(alone.parameters, 0).value)), starts(one)[0], 'and for a layer of that name');
  using other = await adaptModel(weights, { ...random, options: { ...random.options, seed: 4 } as object });
  t.notSame(starts(other)[0], starts(one)[0], 'another seed');
  disposeAll(...Object.values(weights));
});

t.test('weights [in, out], fused, stacked and of convolutions come back whole', async (t) => {
  await expectNoLeak(t, 'merged', async () => {
    const weights = weightsOf({
      plain: [6, 8],
      turned: [8, 6],
      qkv: [24, 8],
      c_attn: [8, 24],
      experts: [3, 6, 8],
      turnedExperts: [3, 8, 6],
      conv: [5, 4, 3, 3],
    });
    const given: ModelOptions = {
      targets: 'all',
      family: 'svft',
      options: { pattern: 'banded' },
      layout: { turned: 'in-out', c_attn: 'in-out', turnedExperts: 'in-out' },
      split: { qkv: { q: 8, k: 4, v: 12 }, c_attn: ['q', 'k', 'v'] },
    };
    using model = await adaptModel(weights, given);
    for (const [name, merged] of model.merged()) {
      const weight = weights[name] as Tensor;
      t.same(merged.shape, weight.shape, `${name}: its own shape`);
      assertClose(t, merged, values(weight), tolerances.float32, `${name}: nothing is trained`);
      merged.dispose();
    }
    for (const layer of model.layers.values()) perturb(layer);
    /** Where a module's entry (i, j) stands in its weight. */
    const places: Record<string, (i: number, j: number) => number> = {
      plain: (i, j) => i * 8 + j,
      turned: (i, j) => j * 6 + i,
      'qkv.k': (i, j) => (8 + i) * 8 + j,
      'c_attn.v': (i, j) => j * 24 + 16 + i,
      'experts.2': (i, j) => 2 * 48 + i * 8 + j,
      'turnedExperts.1': (i, j) => 48 + j * 6 + i,
      conv: (i, j) => i * 36 + j,
    };
    const whole = new Map([...model.merged()].map(([name, merged]) => [name, merged]));
    for (const [name, place] of Object.entries(places)) {
      const layer = layerOf(model, name);
      const own = layer.mergedWeight();
      const stored = values(whole.get(name.split('.')[0] as string) as Tensor);
      for (let i = 0; i < layer.outFeatures; i++) {
        for (let j = 0; j < layer.inFeatures; j++) {
          if (at(stored, place(i, j)) === at(values(own), i * layer.inFeatures + j)) continue;
          t.fail(`${name}: (${i}, ${j})`);
        }
      }
      own.dispose();
    }
    disposeAll(...whole.values(), ...Object.values(weights));
  });
});

t.test("a part's bias is its part of the fused one", async (t) => {
  await expectNoLeak(t, 'bias', async () => {
    const weights = weightsOf({
      'c_attn.weight': [8, 24],
      'c_attn.bias': [24],
      'experts.weight': [2, 6, 8],
      'experts.bias': [12],
    });
    using model = await adaptModel(weights, {
      targets: ['c_attn.v', 'experts'],
      family: 'vectorfit',
      layout: { c_attn: 'in-out' },
      split: { c_attn: ['q', 'k', 'v'] },
    });
    const bias = (name: string) => values(item(layerOf(model, name).parameters, 1).value);
    assertSameBits(t, bias('c_attn.v'), Array.from(values(weights['c_attn.bias'] as Tensor)).slice(16), 'v of q, k, v');
    assertSameBits(
      t,
      bias('experts.1'),
      Array.from(values(weights['experts.bias'] as Tensor)).slice(6),
      'the second expert',
    );
    using x = gaussian(seeded(5), [3, 8], 'float32');
    const y = layerOf(model, 'c_attn.v').apply(x);
    const stored = dense(weights['c_attn.weight'] as Tensor);
    const product = matmul(dense(x), stored);
    const wanted = add(
      matrix(
        3,
        8,
        Array.from({ length: 24 }, (_, i) => at(product.data, Math.floor(i / 8) * 24 + 16 + (i % 8))),
      ),
      matrix(
        3,
        8,
        Array.from({ length: 24 }, (_, i) => at(bias('c_attn.v'), i % 8)),
      ),
    );
    assertClose(t, y, wanted.data, tolerances.float32, 'x W + b, with W [in, out] as stored');
    y.dispose();
    disposeAll(...Object.values(weights));
  });
});

t.test('a part that is no target stays as it is', async (t) => {
  const weights = weightsOf({ c_attn: [8, 24] });
  const given: ModelOptions = {
    targets: ['q'],
    family: 'svdiff',
    layout: 'in-out',
    split: { c_attn: ['q', 'k', 'v'] },
  };
  using model = await adaptModel(weights, given);
  for (const layer of model.layers.values()) perturb(layer);
  const [[, merged] = []] = model.merged();
  const [before, after] = [values(weights['c_attn'] as Tensor), values(merged as Tensor)];
  let same = 0;
  for (let i = 0; i < 8; i++)
    for (let j = 8; j < 24; j++) same += at(before, 24 * i + j) === at(after, 24 * i + j) ? 1 : 0;
  t.equal(same, 8 * 16, 'k and v to the bit');
  merged?.dispose();
  weights['c_attn']?.dispose();
  throwsSigma(t, () => [...model.merged()], 'DISPOSED', 'the base weight is gone', 'AdaptedModel.merged', "'c_attn'");
});

t.test('layers on another device than the weights', async (t) => {
  await expectNoLeak(t, 'devices', async () => {
    using qkv = tensor(
      Float32Array.from({ length: 96 }, (_, i) => Math.sin(i * i)),
      [12, 8],
      { device: 'cpu' },
    );
    const split = { qkv: ['q', 'k', 'v'] };
    const given: ModelOptions = { targets: ['q'], family: 'svdiff', split, options: { device: testDevice } };
    using model = await adaptModel({ qkv }, given);
    const [[, merged] = []] = model.merged();
    t.same(Array.from(values(merged as Tensor)).slice(32), Array.from(values(qkv)).slice(32), 'k and v to the bit');
    merged?.dispose();
  });
});

t.test('tied weights are adapted once', { skip: cpuOnly }, async (t) => {
  const numbers = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i * i));
  const tied = Tensor.wrap(numbers, [12, 8]);
  const weights = {
    embed: tied,
    head: tied,
    again: Tensor.wrap(numbers.subarray(0), [12, 8]),
    other: tensor(numbers, [12, 8]),
  };
  using model = await adaptModel(weights, { targets: 'all', family: 'svdiff' });
  t.equal(layerOf(model, 'embed'), layerOf(model, 'head'), 'one tensor under two names');
  t.equal(layerOf(model, 'embed'), layerOf(model, 'again'), 'two tensors on one memory');
  t.not(layerOf(model, 'embed'), layerOf(model, 'other'), 'a copy is another weight');
  t.equal(model.parameterCount, 16);
  t.same(
    model.describe().map(({ name }) => name),
    ['embed', 'other'],
  );
  const merged = [...model.merged()].map(([name, weight]) => {
    weight.dispose();
    return name;
  });
  t.same(merged, ['embed', 'head', 'again', 'other'], 'each name gets its weight');
  using apart = await adaptModel(weights, {
    targets: 'all',
    family: 'svdiff',
    modules: { head: { family: 'vectorfit' } },
  });
  t.not(layerOf(apart, 'embed'), layerOf(apart, 'head'), 'with another family it is another layer');
  disposeAll(...Object.values(weights));
});

t.test('a training step', async (t) => {
  const weights = weightsOf(shapes);
  using model = await adaptModel(weights, { ...options, family: 'svft', options: { pattern: 'banded' } });
  const optimizer = new AdamW(model.parameters, { lr: 0.1 });
  using x = gaussian(seeded(9), [5, 8], 'float32');
  const layer = layerOf(model, 'h.1.q.weight');
  using pass = layer.forward(x);
  const dx = pass.backward(pass.y);
  optimizer.step();
  const merged = layer.mergedWeight();
  t.notSame(values(merged), values(weights['h.1.q.weight'] as Tensor));
  disposeAll(dx, merged, ...Object.values(weights));
});

t.test('a failure names the module and leaves nothing', async (t) => {
  await expectNoLeak(t, 'failures', async () => {
    const weights = weightsOf(shapes);
    const fails = (more: object, code: string, label: string, ...parts: string[]) =>
      rejectsSigma(t, () => adaptModel(weights, { ...options, ...more } as never), code as never, label, ...parts);
    const broken = tensor([[1, Number.NaN]]);
    const withBroken = { ...weights, 'h.9.q.weight': broken };
    await rejectsSigma(t, () => adaptModel(withBroken, options), 'NON_FINITE', 'NaN', "'h.9.q.weight'", 'weight');
    broken.dispose();
    await rejectsSigma(t, () => adaptModel(withBroken, options), 'DISPOSED', 'disposed', "weights['h.9.q.weight']");
    await rejectsSigma(
      t,
      () => adaptModel({ q: [[1]] } as never, options),
      'INVALID_ARGUMENT',
      'no tensor',
      "weights['q']",
    );
    await rejectsSigma(t, () => adaptModel(5 as never, options), 'INVALID_ARGUMENT', 'no record', 'weights');
    await fails({ options: { train: {}, rank: 2 } }, 'INVALID_ARGUMENT', 'unknown option', "'h.0.q.weight'", 'rank');
    await fails({ signal: AbortSignal.abort() }, 'ABORTED', 'aborted', 'adaptModel');
    await fails({ onProgress: 5 }, 'INVALID_ARGUMENT', 'progress', 'options.onProgress');
    const wrong = zeros([7]);
    await fails({ biases: { 'h.1.q': wrong } }, 'SHAPE_MISMATCH', 'bias', "'h.1.q.weight'", '[7]');
    await fails({ biases: { 'h.2.q': wrong } }, 'INVALID_ARGUMENT', 'bias of none', "options.biases['h.2.q']");
    await fails({ biases: { 'h.1.q.bias': 5 } }, 'INVALID_ARGUMENT', 'no bias', "options.biases['h.1.q.bias']");
    await fails({ biases: { 'h.1.q': 5 } }, 'INVALID_ARGUMENT', 'no bias', "options.biases['h.1.q']");
    const stop = new Error('stop');
    const thrown = adaptModel(weights, {
      ...options,
      onProgress: () => {
        throw stop;
      },
    });
    t.equal(await thrown.catch((error: unknown) => error), stop, "the caller's own error");
    disposeAll(wrong, ...Object.values(weights));
  });
});

t.test('an error of onProgress stops the other lane', async (t) => {
  await expectNoLeak(t, 'progress', async () => {
    const weights = weightsOf(Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`h.${i}.q`, [30, 30]])));
    let calls = 0;
    const onProgress = () => {
      calls += 1;
      throw new Error('stop');
    };
    await t.rejects(adaptModel(weights, { targets: ['q'], family: 'svft', onProgress }), { message: 'stop' });
    t.equal(calls, 1);
    disposeAll(...Object.values(weights));
  });
});

t.test('a matrix of integers is no target', async (t) => {
  const weights = { ...weightsOf({ q: [4, 4] }), ids: zeros([2, 2], { dtype: 'int32' }) };
  await rejectsSigma(t, () => adaptModel(weights, { ...options, targets: ['ids'] }), 'DTYPE_MISMATCH', 'ids', 'int32');
  using model = await adaptModel(weights, { ...options, targets: 'all' });
  t.same([...model.layers.keys()], ['q']);
  disposeAll(...Object.values(weights));
});

t.test('the bias of stacked experts', async (t) => {
  await expectNoLeak(t, 'experts', async () => {
    const weights = weightsOf({ 'experts.weight': [3, 4, 6], 'experts.bias': [3, 4] });
    using model = await adaptModel(weights, { targets: 'all', family: 'vectorfit' });
    t.equal(model.layers.size, 3);
    const bias = layerOf(model, 'experts.1').mergedBias() as Tensor;
    t.same(Array.from(values(bias)), Array.from(values(weights['experts.bias'] as Tensor)).slice(4, 8));
    disposeAll(bias, ...Object.values(weights));
  });
});

t.test('the memory of a disposed weight is freed', { skip: cpuOnly }, async (t) => {
  const weights = weightsOf({ w: [16, 8] });
  using model = await adaptModel(weights, { targets: 'all', family: 'svdiff' });
  const before = bytes();
  disposeAll(...Object.values(weights));
  t.equal(before - bytes(), 4 * 16 * 8);
  const merged = [...model.merged()].map(([, weight]) => weight);
  t.equal(merged.length, 1, 'W0 comes from the factors then');
  disposeAll(...merged);
});

t.test('a merge that fails leaves nothing', async (t) => {
  const weights = weightsOf({ qkv: [12, 4] });
  using model = await adaptModel(weights, { targets: 'all', family: 'svdiff', split: { qkv: ['q', 'k', 'v'] } });
  layerOf(model, 'qkv.v').dispose();
  const { tensors } = memory();
  throwsSigma(t, () => [...model.merged()], 'DISPOSED', 'one layer is gone', 'AdaptedModel.merged');
  t.equal(memory().tensors, tensors);
  throwsSigma(t, () => model.describe(), 'DISPOSED', 'nor described', 'AdaptedModel.describe');
  disposeAll(...Object.values(weights));
});

t.test('an abort half-way leaves nothing', async (t) => {
  await expectNoLeak(t, 'abort', async () => {
    const weights = weightsOf(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`h.${i}.q`, [120, 120]])));
    const controller = new AbortController();
    let done = 0;
    const onProgress = () => {
      done += 1;
      if (done === 3) controller.abort();
    };
    const running = adaptModel(weights, { targets: ['q'], family: 'svft', signal: controller.signal, onProgress });
    await rejectsSigma(t, () => running, 'ABORTED', 'aborted', 'adaptModel');
    t.ok(done < 12, `${done} modules were done`);
    disposeAll(...Object.values(weights));
  });
});

t.test('as an object', async (t) => {
  const weights = weightsOf(shapes);
  const before = bytes();
  const { tensors } = memory();
  const model = await adaptModel(weights, options);
  t.equal(inspect(model), 'AdaptedModel of 3 modules (vectorfit), 28 parameters');
  throwsSigma(t, () => JSON.stringify(model), 'UNSUPPORTED', 'JSON', 'AdaptedModel.toJSON');
  t.throws(() => structuredClone(model));
  model[Symbol.dispose]();
  model.dispose();
  t.equal(bytes(), before);
  t.equal(memory().tensors, tensors);
  throwsSigma(t, () => [...model.merged()], 'DISPOSED', 'disposed', 'this layer');
  disposeAll(...Object.values(weights));
});

t.test('a transposed weight computes with its transpose', async (t) => {
  const weights = weightsOf({ w: [8, 6] });
  using model = await adaptModel(weights, { targets: 'all', family: 'svft', layout: 'in-out', options: { rank: 3 } });
  using x = gaussian(seeded(4), [5, 8], 'float32');
  const y = layerOf(model, 'w').apply(x);
  assertClose(
    t,
    y,
    matmul(dense(x), transpose(transpose(dense(weights['w'] as Tensor)))).data,
    tolerances.float32,
    'x W',
  );
  disposeAll(y, ...Object.values(weights));
});
