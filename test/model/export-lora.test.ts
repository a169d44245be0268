/** LoRA folders: the best B A of each rank, with its exact error, and what a LoRA cannot hold. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AdaptedLinear,
  adaptModel,
  exportLora,
  inspectAdapters,
  loraXs,
  readSafetensors,
  siva,
  svft,
  type Tensor,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { dtypes, type FamilyCase, families, type LayerShape } from '../support/cases.js';
import {
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  gaussian,
  item,
  put,
  type Refusal,
  real,
  refuses,
  rejectsSigma,
  seeded,
} from '../support/helpers.js';
import { bench, dense, mergedOf, parameter, perturb } from '../support/layer.js';
import { type Matrix, matmul, norm, singularValues, subtract, transpose } from '../support/reference.js';

const folder = t.testdir({});
const shapes: LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 5 },
  { name: 'tall', out: 20, in: 7, tokens: 7 },
  { name: 'wide', out: 5, in: 19, tokens: 3 },
  { name: 'one by one', out: 1, in: 1, tokens: 1 },
];

interface Exported {
  readonly config: Record<string, unknown>;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

async function readBack(): Promise<Exported> {
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
  return { config, tensors: (await readSafetensors(join(folder, 'adapter_model.safetensors'))).tensors };
}

function matricesOf({ tensors }: Exported, module: string): { a: Matrix; b: Matrix } {
  const named = (role: string) => {
    const found = tensors.get(`base_model.model.${module}.${role}.weight`);
    if (found === undefined) throw new Error(`no ${role} of ${module} among ${[...tensors.keys()]}`);
    return dense(found);
  };
  return { a: named('lora_A'), b: named('lora_B') };
}

const tail = (sigma: Float64Array, rank: number) => Math.hypot(...sigma.subarray(Math.min(rank, sigma.length)));

/** Not for this shape. */
const skips = (family: FamilyCase, { out, in: inputs }: LayerShape, layout: string) =>
  out !== inputs && (family.square === true || (layout === 'in-out' && /topk|top-k/.test(family.name)));

for (const layout of ['out-in', 'in-out'] as const) {
  t.test(`every family, shape and type has the best B A of each rank, ${layout}`, { timeout: 240_000 }, async (t) => {
    for (const shape of shapes) {
      for (const dtype of dtypes) {
        const findings = new Findings();
        await expectNoLeak(findings, `${shape.name}, ${dtype}`, async () => {
          using on = await bench(shape, dtype);
          const plain = dense(on.weight);
          const turned = transpose(plain);
          const stored = layout === 'out-in' ? on.weight : real(turned.data, [shape.in, shape.out], dtype);
          const layers: Record<string, AdaptedLinear> = {};
          for (const family of families.filter((each) => !skips(each, shape, layout))) {
            for (const strategy of family.strategies) {
              try {
                const made = await family.make(stored, { strategy, bias: on.bias, layout });
                perturb(made);
                layers[`${family.name.replaceAll('.', '')} ${strategy}.weight`] = made;
              } catch {
                // Not for this shape.
              }
            }
          }
          const names = Object.keys(layers);
          findings.ok(names.length > 30, `${names.length} layers`);
          for (const rank of [1, 3, 25]) {
            const { error } = await exportLora(folder, layers, { rank, dropBias: true });
            const saved = await readBack();
            findings.same(Object.keys(error), names, 'errors by name');
            findings.equal(saved.config['fan_in_fan_out'], layout === 'in-out', 'fan_in_fan_out');
            for (const name of names) {
              const layer = layers[name] as AdaptedLinear;
              const change = subtract(mergedOf(layer), plain);
              const { a, b } = matricesOf(saved, name.slice(0, -'.weight'.length));
              const label = `${name}, rank ${rank}, ${shape.name}, ${dtype}`;
              findings.same([a.rows, a.columns, b.rows, b.columns], [rank, shape.in, shape.out, rank], label);
              const close = (dtype === 'float64' ? 1e-12 : 2e-5) * (1 + norm(change));
              const measured = norm(subtract(change, matmul(b, a)));
              const best = tail(singularValues(change), rank);
              const told = error[name] as number;
              findings.ok(Math.abs(measured - told) <= close, `${label}: the error is ${measured}, told as ${told}`);
              findings.ok(Math.abs(best - told) <= close, `${label}: the best is ${best}, told ${told}`);
            }
            disposeAll(...saved.tensors.values());
          }
          disposeAll(...Object.values(layers));
          if (stored !== on.weight) stored.dispose();
        });
        t.same(findings.failures.slice(0, 10), [], `${shape.name}, ${dtype}`);
      }
    }
  });
}

t.test('the config is that of a PEFT LoRA with scale 1', async (t) => {
  using weight = gaussian(seeded(1), [6, 4], 'float32');
  using layer = await svft(weight);
  await exportLora(folder, new Map([['a.b', layer]]), { rank: 2, baseModel: 'some/model' });
  const { config, tensors } = await readBack();
  t.match(config, {
    peft_type: 'LORA',
    base_model_name_or_path: 'some/model',
    r: 2,
    lora_alpha: 2,
    bias: 'none',
    target_modules: ['a.b'],
    fan_in_fan_out: false,
  });
  t.same([...tensors.keys()].sort(), ['base_model.model.a.b.lora_A.weight', 'base_model.model.a.b.lora_B.weight']);
  t.ok([...tensors.values()].every((each) => each.dtype === 'float32'));
  disposeAll(...tensors.values());
  await rejectsSigma(
    t,
    () => inspectAdapters(folder),
    'UNSUPPORTED',
    'our own adapters are others',
    'LORA',
    'SIGMATUNE',
  );
});

t.test('an untrained layer gives zeros, without an error', async (t) => {
  using weight = gaussian(seeded(2), [8, 5], 'float64');
  using layer = await svft(weight, { pattern: 'banded', offDiagonals: 2 });
  const { error } = await exportLora(folder, { q: layer }, { rank: 4 });
  t.same(error, { q: 0 });
  const saved = await readBack();
  t.equal(norm(matricesOf(saved, 'q').b), 0);
  disposeAll(...saved.tensors.values());
});

t.test('vectors that are not orthonormal: ΔW itself is decomposed', async (t) => {
  using weight = gaussian(seeded(3), [9, 7], 'float64');
  using layer = await svft(weight, {
    parity: 'svft-ref',
    rank: 3,
    residual: 'orthonormal',
    pattern: 'banded',
    seed: 5,
  });
  perturb(layer);
  const change = subtract(mergedOf(layer), dense(weight));
  const { error } = await exportLora(folder, { q: layer }, { rank: 2 });
  const saved = await readBack();
  const { a, b } = matricesOf(saved, 'q');
  t.ok(Math.abs(norm(subtract(change, matmul(b, a))) - (error['q'] as number)) < 1e-12);
  t.ok(Math.abs(tail(singularValues(change), 2) - (error['q'] as number)) < 1e-12);
  disposeAll(...saved.tensors.values());
});

t.test('a dropped tail needs the base weight, other layers do not', async (t) => {
  const weight = gaussian(seeded(4), [9, 7], 'float64');
  using dropped = await svft(weight, { rank: 3, residual: 'drop' });
  using whole = await vectorFit(weight);
  perturb(whole);
  using kept = await siva(weight, { count: 2, strategy: 'lowrank' });
  perturb(kept);
  using before = weight.cast('float64');
  weight.dispose();
  await rejectsSigma(
    t,
    () => exportLora(folder, { 'the layer': dropped }, { rank: 2 }),
    'DISPOSED',
    'a dropped tail',
    "layers['the layer']",
    'weight',
  );
  const { error } = await exportLora(folder, { whole, kept }, { rank: 7 });
  t.same(error, { whole: 0, kept: 0 });
  const saved = await readBack();
  const { a, b } = matricesOf(saved, 'whole');
  t.ok(norm(subtract(subtract(mergedOf(whole), dense(before)), matmul(b, a))) < 1e-12);
  disposeAll(...saved.tensors.values());
});

t.test('a layer that is switched off is exported as it is when on', async (t) => {
  using weight = gaussian(seeded(5), [6, 6], 'float64');
  for (const residual of ['keep', 'drop'] as const) {
    using layer = await svft(weight, { rank: 4, residual });
    perturb(layer);
    const change = subtract(mergedOf(layer), dense(weight));
    layer.enabled = false;
    await exportLora(folder, { layer }, { rank: 6 });
    const saved = await readBack();
    const { a, b } = matricesOf(saved, 'layer');
    t.ok(norm(subtract(change, matmul(b, a))) < 1e-12, residual);
    disposeAll(...saved.tensors.values());
  }
});

t.test('the layers of a model', async (t) => {
  const random = seeded(6);
  using q = gaussian(random, [8, 8], 'float32');
  using k = gaussian(random, [4, 8], 'float32');
  using model = await adaptModel(
    { 'h.0.q.weight': q, 'h.0.k.weight': k },
    { targets: 'all', family: 'svft', options: { pattern: 'random', offDiagonals: 2 } },
  );
  for (const layer of model.layers.values()) perturb(layer);
  const { error } = await exportLora(folder, model.layers, { rank: 3 });
  t.same(Object.keys(error), [...model.layers.keys()]);
  const saved = await readBack();
  t.same(saved.config['target_modules'], ['h.0.q', 'h.0.k']);
  disposeAll(...saved.tensors.values());
});

t.test('a trained bias is refused, or left out on request', async (t) => {
  const random = seeded(7);
  using weight = gaussian(random, [6, 4], 'float32');
  using bias = gaussian(random, [6], 'float32');
  using layer = await vectorFit(weight, { bias });
  using created = await vectorFit(weight, { createBias: true });
  await exportLora(folder, { layer, created }, { rank: 2 });
  t.pass('a bias as at the start is that of the base model');
  for (const [name, trained] of Object.entries({ layer, created })) {
    put(parameter(trained, 'bias').value, 3, 0.5);
    const attempt = () => exportLora(folder, { layer, created }, { rank: 2 });
    await rejectsSigma(t, attempt, 'UNSUPPORTED', name, `layers['${name}'], bias`, 'merged', 'dropBias');
    fill(parameter(trained, 'bias').value, 0);
    if (name === 'layer') parameter(trained, 'bias').value.assign(bias.dataSync());
  }
  put(parameter(layer, 'bias').value, 0, Number.NaN);
  await rejectsSigma(t, () => exportLora(folder, { layer }, { rank: 2 }), 'UNSUPPORTED', 'NaN', 'bias');
  const { error } = await exportLora(folder, { layer }, { rank: 2, dropBias: true });
  t.same(error, { layer: 0 });
});

t.test('errors name the argument, and leave the folder as it was', async (t) => {
  using weight = gaussian(seeded(8), [6, 4], 'float32');
  using layer = await svft(weight);
  using broken = await loraXs(weight, { rank: 2 });
  put(item(broken.parameters, 0).value, 1, Number.POSITIVE_INFINITY);
  const gone = await svft(weight);
  gone.dispose();
  const own = join(folder, 'errors');
  mkdirSync(own);
  writeFileSync(join(own, 'adapter_config.json'), 'old');
  writeFileSync(join(folder, 'file'), '');
  const layers = { layer };
  const cases: Refusal[] = [
    ['no folder', ['', layers, { rank: 1 }], 'INVALID_ARGUMENT', 'folder'],
    ['a file for a folder', [join(folder, 'file'), layers, { rank: 1 }], 'INVALID_ARGUMENT', 'folder'],
    ['no layers', [own, {}, { rank: 1 }], 'INVALID_ARGUMENT', 'layers'],
    ['null', [own, null, { rank: 1 }], 'INVALID_ARGUMENT', 'layers'],
    ['a weight', [own, { q: weight }, { rank: 1 }], 'INVALID_ARGUMENT', "layers['q']"],
    ['one module twice', [own, { q: layer, 'q.weight': layer }, { rank: 1 }], 'INVALID_ARGUMENT', 'q.weight'],
    ['no name', [own, { '.weight': layer }, { rank: 1 }], 'INVALID_ARGUMENT', 'layers'],
    ['no options', [own, layers], 'INVALID_ARGUMENT', 'options.rank'],
    ['rank 0', [own, layers, { rank: 0 }], 'INVALID_ARGUMENT', 'options.rank'],
    ['rank 1.5', [own, layers, { rank: 1.5 }], 'INVALID_ARGUMENT', 'options.rank'],
    ['a misspelt option', [own, layers, { rank: 1, dropBiases: true }], 'INVALID_ARGUMENT', 'dropBias'],
    ['dropBias', [own, layers, { rank: 1, dropBias: 1 }], 'INVALID_ARGUMENT', 'options.dropBias'],
    ['baseModel', [own, layers, { rank: 1, baseModel: 1 }], 'INVALID_ARGUMENT', 'options.baseModel'],
    ['a disposed layer', [own, { gone }, { rank: 1 }], 'DISPOSED', "layers['gone']"],
    ['an infinite parameter', [own, { broken }, { rank: 1 }], 'NON_FINITE', "layers['broken']"],
    ['an aborted signal', [own, layers, { rank: 1, signal: AbortSignal.abort() }], 'ABORTED', 'signal'],
    ['no signal', [own, layers, { rank: 1, signal: 1 }], 'INVALID_ARGUMENT', 'signal'],
  ];
  await refuses(t, exportLora, cases);
  t.same(readdirSync(own), ['adapter_config.json']);
  t.equal(readFileSync(join(own, 'adapter_config.json'), 'utf8'), 'old');
});

t.test('a diagonal core: the largest |δ| stay, and the error is exact', async (t) => {
  using weight = gaussian(seeded(9), [6, 6], 'float64');
  using layer = await svft(weight, { gate: false, init: { m: [0.5, -3, 0, 2, 0, 1] } });
  const { error } = await exportLora(folder, { layer }, { rank: 3 });
  t.equal(error['layer'], 0.5);
});
