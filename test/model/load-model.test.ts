import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import * as sigmatune from 'sigmatune';
import t from 'tap';

const { Tensor, adaptModel, loadAdapters, loadModel, saveAdapters } = sigmatune;
const numbers = (seed: number, size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(seed + i * i));
const tensorOf = (seed: number, shape: number[]) =>
  Tensor.wrap(
    numbers(
      seed,
      shape.reduce((product, n) => product * n, 1),
    ),
    shape,
  );

/** A fused weight [in, out], stacked experts and a convolution. */
const shapes = { 'c_attn.weight': [6, 18], 'c_attn.bias': [18], experts: [2, 5, 4], 'conv.weight': [4, 2, 2, 2] };
const weights = new Map(Object.entries(shapes).map(([name, shape], i) => [name, tensorOf(i + 1, shape)]));

const trained = async () => {
  const model = await adaptModel(weights, {
    targets: ['c_attn.q', 'c_attn.v', 'experts', 'conv'],
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 1 },
    layout: { c_attn: 'in-out' },
    split: { c_attn: { q: 6, k: 4, v: 8 } },
  });
  for (const { value } of model.parameters) value.assign(numbers(9, value.size));
  return model;
};
const mergedOf = (model: sigmatune.AdaptedModel) =>
  [...model.merged()].map(
    ([name, weight]) => [name, [...weight.shape], [...(weight.dataSync() as Float32Array)]] as const,
  );

t.test(
  'loadModel gives the model back from the tensors of the checkpoint: a Map, an object, an open file',
  async (t) => {
    const folder = t.testdir();
    const model = await trained();
    const expected = mergedOf(model);
    await saveAdapters(join(folder, 'adapter'), model.layers, { vectors: true });
    await sigmatune.writeSafetensors(join(folder, 'base.safetensors'), weights);
    const file = await sigmatune.openSafetensors(join(folder, 'base.safetensors'));
    for (const base of [weights, Object.fromEntries(weights), file]) {
      const loaded = await loadModel(join(folder, 'adapter'), base);
      t.same([...loaded.layers.keys()], [...model.layers.keys()]);
      t.equal(loaded.parameterCount, model.parameterCount);
      const found = mergedOf(loaded);
      for (const [i, [name, shape, values]] of expected.entries()) {
        t.same([found[i]?.[0], found[i]?.[1]], [name, shape]);
        t.ok(values.every((value, j) => Math.abs(value - (found[i]?.[2][j] as number)) < 1e-5));
      }
      await saveAdapters(join(folder, 'again'), loaded.layers);
      (await loadModel(join(folder, 'again'), base)).dispose();
      await sigmatune.exportMerged(join(folder, 'merged.safetensors'), loaded, {
        base: join(folder, 'base.safetensors'),
      });
      loaded.dispose();
    }
    await file.close();
    t.notOk(weights.get('experts')?.disposed, 'the caller keeps the weights');
  },
);

t.test('another base is refused, and a place outside of its weight is a corrupt file', async (t) => {
  const folder = t.testdir();
  await saveAdapters(folder, (await trained()).layers);
  const without = new Map([...weights].filter(([name]) => name !== 'experts'));
  await t.rejects(loadModel(folder, without), { code: 'BASE_MISMATCH', op: 'loadModel' });
  const other = new Map([...weights, ['c_attn.weight', tensorOf(8, [6, 18])]]) as typeof weights;
  await t.rejects(loadModel(folder, other), { code: 'BASE_MISMATCH', op: 'loadModel' });
  const reshaped = new Map([...weights, ['c_attn.weight', tensorOf(1, [18, 6])]]) as typeof weights;
  await t.rejects(loadModel(folder, reshaped), { code: 'BASE_MISMATCH', op: 'loadModel' });
  const path = join(folder, 'adapter_config.json');
  const text = await readFile(path, 'utf8');
  for (const [key, value] of [
    ['first', 1000],
    ['stride', 1],
    ['feature', 1000],
    ['shape', [6]],
    ['tensor', 3],
  ]) {
    const config = JSON.parse(text);
    config.modules[0].place[key as string] = value;
    await writeFile(path, JSON.stringify(config));
    await t.rejects(loadModel(folder, weights), { code: 'CORRUPT_FILE' }, `${key}`);
  }
});

t.test('a folder without places loads as before, with split', async (t) => {
  const folder = t.testdir();
  await saveAdapters(folder, (await trained()).layers);
  const path = join(folder, 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8'));
  for (const module of config.modules) Reflect.deleteProperty(module, 'place');
  await writeFile(path, JSON.stringify(config));
  await t.rejects(loadModel(folder, weights), { code: 'BASE_MISMATCH', message: /split/ });
  (await loadModel(folder, weights, { split: { c_attn: { q: 6, k: 4, v: 8 } } })).dispose();
});

t.test('a Map counts by its own entries: of another realm, a subclass, with other methods', async (t) => {
  const options = { targets: ['a'], family: 'vectorfit' } as const;
  const weight = tensorOf(1, [4, 4]);
  class Odd extends Map<string, typeof weight> {
    override forEach(): never {
      throw new Error('called');
    }
    override entries(): never {
      throw new Error('called');
    }
  }
  const foreign = runInNewContext('new Map()');
  foreign.set('a', weight);
  const folder = t.testdir();
  for (const map of [new Odd().set('a', weight), foreign]) {
    const model = await adaptModel(map, options);
    await saveAdapters(folder, model.layers);
    const layers = await loadAdapters(folder, map, { factors: new Map(), biases: new Map() });
    t.same(Object.keys(layers), ['a']);
  }
  t.equal(sigmatune.planModel(new Map([['a', [4, 4]]]), options).length, 1);
  const unnamed = new Map([[1, weight]]) as never;
  await t.rejects(adaptModel(unnamed, options), {
    code: 'INVALID_ARGUMENT',
    message: /weights: expected names that are strings/,
  });
  await t.rejects(loadAdapters(folder, [] as never), { code: 'INVALID_ARGUMENT', message: /an object or a Map/ });
});

t.test("the function's spelling of a family gets the name as a hint", (t) => {
  const run = () => sigmatune.planModel({ a: [4, 4] }, { targets: 'all', family: 'vectorFit' as never });
  t.throws(run, { message: /did you mean 'vectorfit'\?/ });
  t.end();
});

t.test('Mistral and Qwen2 have the modules of LLaMA', (t) => {
  const layer = (name: string) => `model.layers.0.${name}.weight`;
  // Mistral-7B: hidden 4096, 32 heads, 8 key-value heads, MLP 14336. Qwen2-0.5B: 896, 14 heads, 2, MLP 4864.
  for (const [architecture, d, kv, mlp] of [
    ['mistral', 4096, 1024, 14336],
    ['qwen2', 896, 128, 4864],
  ] as const) {
    const model = {
      [layer('self_attn.q_proj')]: [d, d],
      [layer('self_attn.k_proj')]: [kv, d],
      [layer('self_attn.v_proj')]: [kv, d],
      [layer('self_attn.o_proj')]: [d, d],
      [layer('mlp.gate_proj')]: [mlp, d],
      [layer('mlp.up_proj')]: [mlp, d],
      [layer('mlp.down_proj')]: [d, mlp],
    };
    const count = (set: sigmatune.TargetSet) =>
      sigmatune
        .planModel(model, { ...sigmatune.targetsOf(architecture, set), family: 'vectorfit' })
        .reduce((sum, { parameters }) => sum + parameters, 0);
    t.equal(count('QV'), d + kv);
    t.equal(count('all'), 5 * d + 2 * kv);
  }
  t.end();
});

t.test('a module may have any name', async (t) => {
  const folder = t.testdir();
  const named = new Map(
    ['__proto__', 'a.__proto__.weight', '層.weiß.weight'].map((name, i) => [name, tensorOf(i, [4, 3])]),
  );
  const model = await adaptModel(named, { targets: 'all', family: 'vectorfit' });
  for (const { value } of model.parameters) value.assign(numbers(9, value.size));
  const expected = mergedOf(model);
  await saveAdapters(join(folder, 'adapter'), model.layers);
  for (const options of [{}, { cache: join(folder, 'cache') }]) {
    const loaded = await loadModel(join(folder, 'adapter'), named, options);
    const found = mergedOf(loaded);
    t.same(
      found.map(([name]) => name),
      expected.map(([name]) => name),
    );
    for (const [i, [name, , values]] of expected.entries()) {
      t.ok(
        values.every((value, j) => Math.abs(value - (found[i]?.[2][j] as number)) < 1e-5),
        name,
      );
    }
    loaded.dispose();
  }
  model.dispose();
});
