/** `merge`, `export-lora` and `export-gguf` write the same bytes as the library with the layers themselves. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  adaptModel,
  exportGgufLora,
  exportLora,
  exportMerged,
  openSafetensors,
  readSafetensors,
  saveAdapters,
  type Tensor,
  writeSafetensors,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { disposeScene, makeScene, type Run, sigmatune, start } from '../support/cli.js';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { perturb } from '../support/layer.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const { layers } = scene.model;
const path = (...names: string[]) => join(folder, ...names);
const run = async (...args: string[]): Promise<Run> => {
  const found = await sigmatune([...args, '--quiet'], { cwd: folder });
  t.same([found.code, found.err], [0, ''], args.join(' '));
  return found;
};
const sameFile = (t: Test, found: string, wanted: string) =>
  t.ok(readFileSync(path(found)).equals(readFileSync(path(wanted))), `${found} is ${wanted}`);

t.test('merge', async (t) => {
  const { out } = await run('merge', 'model.safetensors', 'adapter', '-o', 'merged.safetensors');
  await exportMerged(path('wanted.safetensors'), scene.model, { base: path('model.safetensors') });
  sameFile(t, 'merged.safetensors', 'wanted.safetensors');
  t.match(out, /^merged\.safetensors: 2 layers merged, \d+\.\d kB\n$/);
  const json = JSON.parse((await run('merge', '.', 'adapter', '--out=again.safetensors', '--json')).out);
  t.match(json, { out: 'again.safetensors', layers: [...layers.keys()] });
  t.equal(json.bytes, readFileSync(path('again.safetensors')).length);
  sameFile(t, 'again.safetensors', 'wanted.safetensors');
});

t.test('merge replaces its own base', async (t) => {
  cpSync(path('model.safetensors'), path('own.safetensors'));
  await run('merge', 'own.safetensors', 'adapter', '-o', 'own.safetensors');
  sameFile(t, 'own.safetensors', 'wanted.safetensors');
});

t.test('merge of another base is refused, and the output is not touched', async (t) => {
  const { code, out, err } = await sigmatune(['merge', 'own.safetensors', 'adapter', '-o', 'merged.safetensors'], {
    cwd: folder,
  });
  t.same([code, out], [1, '']);
  t.match(err, /the one that the adapter was trained on \(SHA-256 [0-9a-f]+…\), got another/);
  sameFile(t, 'merged.safetensors', 'wanted.safetensors');
});

t.test('a base in bfloat16, of which the layers were made in float32', async (t) => {
  const half = scene.weights['model.layers.0.mlp.up_proj.weight']?.cast('bfloat16') as Tensor;
  const wide = half.cast('float32');
  await writeSafetensors(path('half.safetensors'), [['up_proj.weight', half]]);
  const model = await adaptModel({ 'up_proj.weight': wide }, { targets: 'all', family: 'svdiff' });
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(path('of-half'), model.layers);
  await exportMerged(path('wanted-half.safetensors'), model, { base: path('half.safetensors') });
  await run('merge', 'half.safetensors', 'of-half', '-o', 'merged-half.safetensors');
  sameFile(t, 'merged-half.safetensors', 'wanted-half.safetensors');
  const file = await openSafetensors(path('merged-half.safetensors'));
  t.equal(file.info('up_proj.weight').dtype, 'BF16');
  await file.close();
  disposeAll(model, half, wide);
});

t.test('parts of a fused weight that is stored [in, out], experts, and trained biases', async (t) => {
  const random = seeded(7);
  const weights: Record<string, Tensor> = {
    'h.0.c_attn.weight': gaussian(random, [12, 24], 'float32'),
    'h.0.c_attn.bias': gaussian(random, [24], 'float32'),
    'h.0.experts': gaussian(random, [3, 10, 6], 'float32'),
    'h.0.fc.weight': gaussian(random, [9, 5], 'float32'),
    'h.0.fc.bias': gaussian(random, [9], 'float32'),
    'h.0.new.weight': gaussian(random, [4, 5], 'float32'),
  };
  await writeSafetensors(path('fused.safetensors'), Object.entries(weights));
  const model = await adaptModel(weights, {
    targets: ['q', 'v', 'experts.1', 'fc', 'new'],
    family: 'vectorfit',
    modules: { experts: { family: 'svft', options: { pattern: 'plain' } }, new: { options: { createBias: true } } },
    layout: { c_attn: 'in-out' },
    split: { c_attn: { q: 6, k: 6, v: 12 } },
  });
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(path('of-fused'), model.layers);
  await exportMerged(path('wanted-fused.safetensors'), model, { base: path('fused.safetensors') });
  const merge = ['merge', 'fused.safetensors', 'of-fused', '-o', 'merged-fused.safetensors'];
  await run(...merge, '--split', 'c_attn=q:6,k:6,v:12');
  sameFile(t, 'merged-fused.safetensors', 'wanted-fused.safetensors');

  // The adapter has the places of its parts, so no --split is needed.
  await run('merge', 'fused.safetensors', 'of-fused', '-o', 'merged-by-place.safetensors');
  sameFile(t, 'merged-by-place.safetensors', 'wanted-fused.safetensors');
  // Experts and convolutions have forms of their own in PEFT; parts of a fused weight become one LoRA.
  const options = { rank: 2, dropBias: true };
  const lora = ['export-lora', 'fused.safetensors', 'of-fused', '-o', 'lora-fused', '--rank', '2', '--drop-bias'];
  const whole = ['merge', 'fused.safetensors', 'of-fused', '-o', 'no', '--split', 'c_attn=q:6,k:6,v:12'];
  const plain = await adaptModel(weights, {
    targets: ['q', 'v', 'new'],
    family: 'vectorfit',
    modules: { new: { options: { createBias: true } } },
    layout: { c_attn: 'in-out' },
    split: { c_attn: { q: 6, k: 6, v: 12 } },
  });
  for (const layer of plain.layers.values()) perturb(layer);
  await saveAdapters(path('of-fused'), plain.layers);
  const { error } = await exportLora(path('wanted-fused'), plain, options);
  const { modules } = JSON.parse((await run(...lora, '--split', 'c_attn=q:6,k:6,v:12', '--json')).out);
  t.same(
    modules.map((row: { name: string }) => row.name),
    ['h.0.c_attn.weight', 'h.0.new.weight'],
  );
  for (const row of modules) {
    t.ok(Math.abs(row.error - (error[row.name] as number)) <= 1e-5 * row.change && row.error <= row.change, row.name);
  }
  disposeAll(plain);
  await saveAdapters(path('of-fused'), model.layers);

  // The bias that the adapter was trained on belongs to the base.
  const bias = gaussian(random, [9], 'float32');
  await writeSafetensors(path('other.safetensors'), Object.entries({ ...weights, 'h.0.fc.bias': bias }));
  const other = await sigmatune(whole.with(1, 'other.safetensors'), { cwd: folder });
  t.equal(other.code, 1);
  t.match(other.err, /biases\['h\.0\.fc\.weight'\]/);
  disposeAll(model, bias, ...Object.values(weights));
});

t.test('export-lora', async (t) => {
  const args = ['export-lora', 'model.safetensors', 'adapter', '-o', 'lora', '--rank', '3', '--base-model', 'my/base'];
  const { modules } = JSON.parse((await run(...args, '--json')).out);
  const { error } = await exportLora(path('wanted-lora'), layers, { rank: 3, baseModel: 'my/base' });
  for (const name of ['adapter_config.json', 'adapter_model.safetensors']) {
    sameFile(t, join('lora', name), join('wanted-lora', name));
  }
  t.same(
    modules,
    [...layers].map(([name, layer]) => ({ name, change: layer.telemetry().change, error: error[name] })),
  );
  const { out } = await run(...args);
  t.match(out, /^lora: a LoRA of rank 3 for 2 modules\n\nmodule +‖ΔW‖ +‖ΔW − BA‖ +lost\n/);
});

t.test('export-lora: a trained bias is refused, or left out', async (t) => {
  const weights = { 'fc.weight': gaussian(seeded(3), [5, 4], 'float32') };
  await writeSafetensors(path('fc.safetensors'), Object.entries(weights));
  const model = await adaptModel(weights, { targets: 'all', family: 'vectorfit', options: { createBias: true } });
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(path('of-fc'), model.layers);
  const args = ['export-lora', 'fc.safetensors', 'of-fc', '-o', 'lora-fc', '--rank', '2'];
  const refused = await sigmatune(args, { cwd: folder });
  t.equal(refused.code, 1);
  t.match(refused.err, /bias: expected one that was not trained.*--drop-bias leaves it out/);
  await run(...args, '--drop-bias');
  disposeAll(model, ...Object.values(weights));
});

t.test('export-gguf, with the heads of config.json or given', async (t) => {
  const args = ['export-gguf', 'model.safetensors', 'adapter', '--rank', '3'];
  const { heads } = JSON.parse((await run(...args, '-o', 'a.gguf', '--json')).out);
  t.same(heads, { query: 4, keyValue: 2 });
  await exportGgufLora(path('wanted.gguf'), layers, { rank: 3, architecture: 'llama', heads });
  sameFile(t, 'a.gguf', 'wanted.gguf');
  await run(...args, '-o', 'b.gguf', '--heads', '4,2');
  sameFile(t, 'b.gguf', 'wanted.gguf');
  mkdirSync(path('bare'));
  cpSync(path('model.safetensors'), path('bare', 'model.safetensors'));
  const bare = await sigmatune(['export-gguf', 'bare', ...args.slice(2), '-o', 'c.gguf'], { cwd: folder });
  t.equal(bare.code, 2);
  t.match(bare.err, /--heads Q,KV is missing, and there is no 'bare\/config\.json'/);
});

t.test('Ctrl-C leaves the old output and nothing half written', async (t) => {
  // Weights large enough that a signal comes while they are worked on.
  const random = seeded(9);
  const weights = Object.fromEntries(
    Array.from({ length: 6 }, (_, i) => [`fc${i}.weight`, gaussian(random, [320, 320], 'float32')] as const),
  );
  await writeSafetensors(path('large.safetensors'), Object.entries(weights));
  const model = await adaptModel(weights, { targets: 'all', family: 'svdiff' });
  await saveAdapters(path('of-large'), model.layers);
  disposeAll(model, ...Object.values(weights));
  await writeSafetensors(path('out.safetensors'), [['old', gaussian(random, [1], 'float32')]]);
  const before = readdirSync(folder, { recursive: true }).sort();
  const codes = new Set<number | null>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const child = start(['merge', 'large.safetensors', 'of-large', '-o', 'out.safetensors'], { cwd: folder });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    // The first line of progress says that the work has begun.
    child.stderr.on('data', (chunk) => {
      if (err === '') child.kill(signal);
      err += chunk;
    });
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    codes.add(code);
    t.equal(code, signal === 'SIGINT' ? 130 : 143, err);
    t.equal(out, '');
    t.notMatch(err, /^ +at /m);
    t.same(readdirSync(folder, { recursive: true }).sort(), before, 'no temporary file');
    const { tensors } = await readSafetensors(path('out.safetensors'));
    t.same([...tensors.keys()], ['old']);
    disposeAll(...tensors.values());
  }
  rmSync(path('large.safetensors'));
});
