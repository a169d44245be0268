/** LoRAs of weights that several layers share: the best B A of the whole weight, in the shapes that PEFT has. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedModel,
  adaptModel,
  exportGgufLora,
  exportLora,
  type ModelOptions,
  readSafetensors,
  type Tensor,
} from 'sigmatune';
import t from 'tap';
import { dtypes } from '../support/cases.js';
import {
  disposeAll,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  put,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { parameter, perturb } from '../support/layer.js';
import { type Matrix, matmul, matrix, norm, singularValues, subtract, transpose } from '../support/reference.js';

const folder = t.testdir({});

interface Case {
  readonly name: string;
  readonly shape: readonly number[];
  readonly options: Partial<ModelOptions>;
  /** Experts; each has a matrix of its own. */
  readonly experts?: number;
}

const split = { qkv: { q: 9, k: 3, v: 5 } };
const cases: Case[] = [
  { name: 'three parts', shape: [17, 8], options: { split } },
  { name: 'three parts of few directions', shape: [17, 8], options: { split, family: 'siva', options: { count: 1 } } },
  { name: 'parts of other families', shape: [17, 8], options: { split, modules: { 'qkv.k': { family: 'svdiff' } } } },
  { name: 'a part that stays', shape: [17, 8], options: { split, exclude: ['qkv.k'] } },
  { name: 'one part', shape: [17, 8], options: { split, targets: ['qkv.v'] } },
  { name: 'stored as [in, out]', shape: [6, 17], options: { split, layout: 'in-out' } },
  { name: 'wider than its parts together', shape: [17, 40], options: { split } },
  { name: 'a dropped tail', shape: [17, 8], options: { split, options: { rank: 2, residual: 'drop' } } },
  { name: 'a convolution', shape: [5, 3, 2, 3], options: {} },
  { name: 'a convolution of one point', shape: [5, 3, 1, 1], options: {} },
  { name: 'a convolution in parts', shape: [17, 3, 2, 2], options: { split } },
  { name: 'experts', shape: [3, 6, 4], options: {}, experts: 3 },
  { name: 'experts stored as [in, out]', shape: [3, 4, 6], options: { layout: 'in-out' }, experts: 3 },
  { name: 'some experts', shape: [3, 6, 4], options: { exclude: ['qkv.1'] }, experts: 3 },
  { name: 'experts in parts', shape: [2, 17, 8], options: { split, exclude: ['qkv.1.k', 'qkv.0.v'] }, experts: 2 },
];

/** ΔW of each expert, [out, in]. */
function changes(model: AdaptedModel, weight: Tensor, { shape, options, experts = 1 }: Case): Matrix[] {
  const [[, merged]] = [...model.merged()] as [[string, Tensor]];
  const [before, after] = [snapshot(weight), snapshot(merged)];
  merged.dispose();
  const size = before.length / experts;
  const rows = item(shape, experts > 1 ? 1 : 0);
  return Array.from({ length: experts }, (_, e) => {
    const part = (numbers: ArrayLike<number>) =>
      Array.from({ length: size }, (_, i) => numbers[e * size + i] as number);
    const one = (numbers: ArrayLike<number>) => matrix(rows, size / rows, Float64Array.from(part(numbers)));
    const change = subtract(one(after), one(before));
    return options.layout === 'in-out' ? transpose(change) : change;
  });
}

const read = async () => (await readSafetensors(join(folder, 'adapter_model.safetensors'))).tensors;

/** B A of each expert, from the file's tensors. */
function products(tensors: ReadonlyMap<string, Tensor>, { experts = 1 }: Case, rank: number): Matrix[] {
  const [[a], [b]] = ['lora_A', 'lora_B'].map((role) =>
    [...tensors].filter(([name]) => name.endsWith(`.${role}.weight`)).map(([, tensor]) => tensor),
  ) as [[Tensor], [Tensor]];
  const [as, bs] = [snapshot(a), snapshot(b)];
  const [inputs, out] = [as.length / rank / experts, bs.length / rank / experts];
  return Array.from({ length: experts }, (_, e) => {
    const left = Float64Array.from({ length: out * rank }, (_, p) => bs[p * experts + e] as number);
    const right = Float64Array.from({ length: rank * inputs }, (_, p) => as[e * rank * inputs + p] as number);
    return matmul(matrix(out, rank, left), matrix(rank, inputs, right));
  });
}

const tail = (sigma: Float64Array, rank: number) => Math.hypot(...sigma.subarray(Math.min(rank, sigma.length)));

for (const each of cases) {
  t.test(`${each.name}: the best B A of each rank`, async (t) => {
    for (const dtype of dtypes) {
      const findings = new Findings();
      await expectNoLeak(findings, `${each.name}, ${dtype}`, async () => {
        using weight = gaussian(seeded(4), each.shape, dtype);
        using model = await adaptModel(
          { 'h.0.qkv.weight': weight },
          { targets: 'all', family: 'svft', options: { pattern: 'banded', offDiagonals: 1 }, ...each.options },
        );
        for (const layer of model.layers.values()) perturb(layer);
        const wanted = changes(model, weight, each);
        for (const rank of [1, 3, 20]) {
          const { error } = await exportLora(folder, model, { rank });
          findings.same(Object.keys(error), ['h.0.qkv.weight'], 'one error');
          const tensors = await read();
          const size = Math.hypot(...wanted.map(norm));
          const close = (dtype === 'float64' ? 1e-11 : 2e-5) * (1 + size);
          const found = products(tensors, each, rank);
          const measured = Math.hypot(...wanted.map((change, e) => norm(subtract(change, item(found, e)))));
          const best = Math.hypot(...wanted.map((change) => tail(singularValues(change), rank)));
          const told = error['h.0.qkv.weight'] ?? Number.NaN;
          findings.ok(Math.abs(measured - told) <= close, `rank ${rank}: the error is ${measured}, told as ${told}`);
          findings.ok(Math.abs(best - told) <= close, `rank ${rank}: the best is ${best}, told ${told}`);
          if (rank === 1) findings.ok(told > 0.01 * size, `rank 1 is an approximation: ${told} of ${size}`);
          disposeAll(...tensors.values());
        }
      });
      t.same(findings.failures.slice(0, 10), [], dtype);
    }
  });
}

/** Names and shapes in the file, and the config. */
async function exportOf(weights: Record<string, Tensor>, options: ModelOptions) {
  using model = await adaptModel(weights, options);
  await exportLora(folder, model, { rank: 2 });
  const tensors = await read();
  const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name.slice(17), [...shape]]));
  disposeAll(...tensors.values());
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
  return { shapes, config };
}

const svft = { targets: 'all', family: 'svft' } as const;

t.test('names and shapes are those of PEFT', async (t) => {
  const random = seeded(2);
  using fused = gaussian(random, [12, 4], 'float32');
  using conv = gaussian(random, [5, 3, 2, 4], 'float32');
  using up = gaussian(random, [3, 10, 4], 'float32');
  using down = gaussian(random, [3, 4, 5], 'float32');
  const { shapes, config } = await exportOf(
    { 'a.qkv.weight': fused, 'a.conv.weight': conv, 'a.experts.gate_up_proj': up, 'a.experts.down_proj': down },
    { ...svft, split: { qkv: ['q', 'k', 'v'] } },
  );
  t.same(shapes, {
    'a.conv.lora_A.weight': [2, 3, 2, 4],
    'a.conv.lora_B.weight': [5, 2, 1, 1],
    'a.experts.base_layer.lora_A.weight': [6, 4],
    'a.experts.base_layer.lora_B.weight': [10, 6],
    'a.experts.lora_A.weight': [6, 5],
    'a.experts.lora_B.weight': [4, 6],
    'a.qkv.lora_A.weight': [2, 4],
    'a.qkv.lora_B.weight': [12, 2],
  });
  t.same(config.target_modules, ['a.qkv', 'a.conv']);
  t.same(config.target_parameters, ['a.experts.gate_up_proj', 'a.experts.down_proj']);
  t.equal(config.fan_in_fan_out, false);
  const alone = await exportOf({ 'a.input_linear.weight': up }, { ...svft, layout: 'in-out' });
  t.same(Object.keys(alone.shapes).sort(), ['a.input_linear.lora_A.weight', 'a.input_linear.lora_B.weight']);
  t.same(alone.config.target_parameters, ['a.input_linear.weight']);
  t.same(alone.config.target_modules, []);
  t.equal(alone.config.fan_in_fan_out, false, 'which PEFT refuses for parameters');
});

t.test('what PEFT or llama.cpp cannot load', async (t) => {
  const random = seeded(3);
  using plain = gaussian(random, [6, 4], 'float32');
  using stack = gaussian(random, [2, 6, 4], 'float32');
  using conv = gaussian(random, [6, 4, 1, 1], 'float32');
  const own = t.testdir({});
  const refused: [string, Record<string, Tensor>, Partial<ModelOptions>, ...string[]][] = [
    [
      'two stacks of unknown order',
      { 'a.w1': stack, 'a.w2': stack },
      {},
      "layers['a.w1']",
      "layers['a.w2']",
      'exportMerged',
    ],
    ['a stack of no module', { w1: stack }, {}, "layers['w1']", 'experts.down_proj'],
    [
      'a stack next to a Conv1D',
      { 'a.w1': stack, 'b.weight': plain },
      { layout: { b: 'in-out' } },
      "layers['a.w1']",
      "layers['b.weight']",
    ],
  ];
  for (const [label, weights, options, ...says] of refused) {
    using model = await adaptModel(weights, { ...svft, ...options });
    await rejectsSigma(t, () => exportLora(own, model, { rank: 1 }), 'UNSUPPORTED', label, ...says);
  }
  const heads = { query: 2, keyValue: 2 };
  for (const [label, weight, says] of [
    ['a stack', stack, 'a stack of experts'],
    ['a convolution', conv, 'a convolution'],
  ] as const) {
    using model = await adaptModel({ 'model.layers.0.mlp.up_proj.weight': weight }, svft);
    const attempt = () => exportGgufLora(join(own, 'x.gguf'), model, { rank: 1, architecture: 'llama', heads });
    await rejectsSigma(t, attempt, 'UNSUPPORTED', label, "layers['model.layers.0.mlp.up_proj.weight']", says);
  }
  t.same(readdirSync(own), [], 'nothing is written');
});

t.test('a model is exported as its layers are, and its parts are named in errors', async (t) => {
  const random = seeded(5);
  using weight = gaussian(random, [6, 4], 'float32');
  const name = 'model.layers.0.mlp.up_proj.weight';
  using model = await adaptModel({ [name]: weight }, svft);
  for (const layer of model.layers.values()) perturb(layer);
  const bytes = (path: string) => readFileSync(join(folder, path));
  const [one, other] = [model, model.layers].map(async (layers, i) => {
    const own = `export-${i}`;
    const heads = { query: 2, keyValue: 2 };
    const error = await exportLora(join(folder, own), layers, { rank: 2 });
    await exportGgufLora(join(folder, `${own}.gguf`), layers, { rank: 2, architecture: 'llama', heads });
    return [error, bytes(join(own, 'adapter_model.safetensors')), bytes(`${own}.gguf`)] as const;
  }) as [Promise<readonly [object, Buffer, Buffer]>, Promise<readonly [object, Buffer, Buffer]>];
  t.same(await one, await other);

  using bias = gaussian(random, [6], 'float32');
  using fused = await adaptModel(
    { 'a.qk.weight': weight, 'a.qk.bias': bias },
    { ...svft, family: 'vectorfit', split: { qk: ['q', 'k'] } },
  );
  const k = fused.layers.get('a.qk.k');
  if (k === undefined) throw new Error('no k');
  put(parameter(k, 'bias').value, 0, 3);
  await rejectsSigma(
    t,
    () => exportLora(folder, fused, { rank: 1 }),
    'UNSUPPORTED',
    'a bias',
    "layers['a.qk.k'], bias",
  );
  await exportLora(folder, fused, { rank: 1, dropBias: true });
  put(parameter(k, 'sigma').value, 0, Number.NaN);
  const attempt = () => exportLora(folder, fused, { rank: 1, dropBias: true });
  await rejectsSigma(t, attempt, 'NON_FINITE', 'NaN', "layers['a.qk.k']");
  const stop = AbortSignal.abort();
  await rejectsSigma(
    t,
    () => exportLora(folder, fused, { rank: 1, dropBias: true, signal: stop }),
    'ABORTED',
    'aborted',
  );
  fused.dispose();
  await rejectsSigma(
    t,
    () => exportLora(folder, fused, { rank: 1 }),
    'DISPOSED',
    'a disposed model',
    "layers['a.qk.q']",
  );
});
