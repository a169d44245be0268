/** `sigmatune decompose`: the factors are those that adaptModel reads, and a run that was stopped goes on. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  adaptModel,
  decomposeModel,
  exportMerged,
  loadAdapters,
  openFactorCache,
  openSafetensors,
  saveAdapters,
  type Tensor,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { disposeScene, makeScene, sigmatune, start } from '../support/cli.js';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { perturb } from '../support/layer.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const path = (...names: string[]) => join(folder, ...names);
const answer = async (...args: string[]) => {
  const { code, out, err } = await sigmatune([...args, '--json', '--quiet'], { cwd: folder });
  t.same([code, err], [0, ''], args.join(' '));
  return JSON.parse(out);
};

t.test('the rows of decomposeModel, and factors that adaptModel finds', async (t) => {
  const first = await answer('decompose', 'model.safetensors', '--targets', 'q_proj,v_proj', '--cache', 'factors');
  const file = await openSafetensors(path('model.safetensors'));
  const targets = ['q_proj', 'v_proj'];
  const rows = await decomposeModel(file, { targets, cache: path('factors') });
  t.same(
    rows.map(({ cached }) => cached),
    [true, true],
    'the library finds what the program has kept',
  );
  t.same(first, { cache: 'factors', modules: rows.map((row) => ({ ...row, cached: false })) });
  const cache = await openFactorCache(path('factors'));
  const model = await adaptModel(file, { targets, family: 'vectorfit', cache });
  t.same([cache.hits, cache.misses], [2, 0]);
  disposeAll(model);
  await file.close();

  const args = ['decompose', 'model.safetensors', '--targets', 'q_proj,v_proj,up_proj', '--cache', 'factors'];
  const { code, out, err } = await sigmatune(args, { cwd: folder });
  t.equal(code, 0);
  t.match(out, /up_proj\.weight .* computed\n/);
  t.match(out, /q_proj\.weight .* found\n/);
  t.match(out, /3 modules, .* kB: 1 computed, 2 found in factors\n$/);
  t.match(err, /^ *\d+ % .*\n/, 'with progress');
  const again = await sigmatune(args, { cwd: folder });
  t.match(again.out, /3 modules, .* kB: 0 computed, 3 found in factors\n$/);
  t.match(again.err, /^ *100 % {2}model\S+\n$/, 'what is found is no work');
});

t.test('options: parts, layout, storage, a file of options', async (t) => {
  const args = [
    '--targets',
    'gate,up,k_proj',
    '--split',
    'up_proj=gate,up',
    '--layout',
    'in-out',
    '--storage',
    'float64',
  ];
  const { modules } = await answer('decompose', 'model.safetensors', ...args, '--cache', 'parts');
  t.same(
    modules.map(({ name, out, in: inFeatures }: { name: string; out: number; in: number }) => [name, out, inFeatures]),
    [
      ['model.layers.0.mlp.up_proj.gate', 12, 40],
      ['model.layers.0.mlp.up_proj.up', 12, 40],
      ['model.layers.0.self_attn.k_proj.weight', 24, 16],
    ],
  );
  t.ok(
    modules.every(({ residual }: { residual: number }) => residual < 1e-13),
    'in float64',
  );
});

t.test('merge, exports and erank read the factors', async (t) => {
  const half = gaussian(seeded(1), [30, 20], 'float32').cast('bfloat16') as Tensor;
  await writeSafetensors(path('half.safetensors'), [['fc.weight', half]]);
  await answer('decompose', 'half.safetensors', '--targets', 'all', '--cache', 'of-half');
  const file = await openSafetensors(path('half.safetensors'));
  const cache = await openFactorCache(path('of-half'));
  const model = await adaptModel(file, { targets: 'all', family: 'svft', options: { pattern: 'banded' }, cache });
  t.equal(cache.hits, 1, 'bfloat16 becomes float32 for the layers');
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(path('half-adapter'), model.layers);
  const wide = half.cast('float32');
  const loaded = await loadAdapters(path('half-adapter'), { 'fc.weight': wide });
  await exportMerged(path('wanted.safetensors'), loaded, { base: path('half.safetensors') });
  const entries = readdirSync(path('of-half'));
  const with_ = (...args: string[]) => answer(...args, '--cache', 'of-half');
  await with_('merge', 'half.safetensors', 'half-adapter', '-o', 'merged.safetensors');
  t.ok(readFileSync(path('merged.safetensors')).equals(readFileSync(path('wanted.safetensors'))));
  await with_('export-lora', 'half.safetensors', 'half-adapter', '-o', 'lora', '--rank', '2');
  const [cached, computed] = [await with_('erank', 'half.safetensors'), await answer('erank', 'half.safetensors')];
  t.ok(Math.abs(cached.modules[0].effectiveRank - computed.modules[0].effectiveRank) < 1e-4);
  await with_('erank', 'half.safetensors', '--adapter', 'half-adapter');
  t.same(readdirSync(path('of-half')), entries, 'no other factors were needed');
  await file.close();
  disposeAll(model, half, wide, ...Object.values(loaded));
});

t.test('Ctrl-C, and the same command again', async (t) => {
  const random = seeded(9);
  const weights = Array.from(
    { length: 12 },
    (_, i) => [`fc${i}.weight`, gaussian(random, [256, 256], 'float32')] as const,
  );
  await writeSafetensors(path('large.safetensors'), weights);
  disposeAll(...weights.map(([, tensor]) => tensor));
  const args = ['decompose', 'large.safetensors', '--targets', 'all', '--cache', 'large', '--threads', '1'];
  const child = start(args, { cwd: folder });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    if (err === '') child.kill('SIGINT');
    err += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  t.same([code, out], [130, '']);
  t.match(err, /\d+ modules? of 12 done: the same command goes on there\n/);
  const entries = readdirSync(path('large'));
  t.ok(entries.length > 0 && entries.length < 12, `${entries.length} are done`);
  t.ok(
    entries.every((name) => /^[0-9a-f]{64}\.safetensors$/.test(name)),
    'and nothing is half written',
  );
  const { modules } = await answer(...args);
  const cached = modules.filter((row: { cached: boolean }) => row.cached).length;
  t.equal(cached, entries.length, 'they are not computed again');
  t.equal(readdirSync(path('large')).length, 12);
  rmSync(path('large.safetensors'));
});
