/** `sigmatune erank`: ranks of weights and of what an adapter has changed, compared with an SVD of the matrices themselves. */
import { join } from 'node:path';
import { effectiveRank, loraXs, saveAdapters, svd, svft, type Tensor, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { disposeScene, makeScene, sigmatune } from '../support/cli.js';
import { disposeAll, disposeSvd, gaussian, real, seeded, snapshot, withSpectrum } from '../support/helpers.js';
import { perturb } from '../support/layer.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const answer = async (...args: string[]) => {
  const { code, out, err } = await sigmatune(['erank', ...args, '--json', '--quiet'], { cwd: folder });
  t.same([code, err], [0, ''], args.join(' '));
  return JSON.parse(out);
};
const close = (found: number, wanted: number, tolerance: number) => Math.abs(found - wanted) <= tolerance * wanted;

t.test('known spectra, in every layout and type', async (t) => {
  const random = seeded(2);
  const spectrum = [8, 4, 2, 1, 1e-9, 1e-9];
  const long = real(withSpectrum(random, 9, 6, spectrum), [9, 6], 'float64');
  const wide = real(withSpectrum(random, 6, 11, spectrum), [6, 11], 'float32');
  const stack = gaussian(random, [2, 4, 3], 'float32');
  await writeSafetensors(join(folder, 'known.safetensors'), Object.entries({ long, wide, stack }));
  const wanted = effectiveRank(spectrum);
  for (const layout of ['out-in', 'in-out']) {
    const { modules } = await answer('known.safetensors', '--layout', layout);
    t.same(
      modules.map(({ name }: { name: string }) => name),
      ['long', 'stack.0', 'stack.1', 'wide'],
      layout,
    );
    const [first, , , last] = modules;
    t.same([first.out, first.in], layout === 'out-in' ? [9, 6] : [6, 9]);
    t.ok(close(first.effectiveRank, wanted, 1e-12), 'float64');
    t.ok(close(last.effectiveRank, wanted, 1e-5), 'float32');
    t.same([first.numericalRank, last.numericalRank], [6, 4], '1e-9 is a number in float64 and rounding in float32');
    t.ok(close(first.largest, 8, 1e-12) && close(first.smallest, 1e-9, 1e-5));
  }
  disposeAll(long, wide, stack);
});

t.test('only the targets, as a table with progress', async (t) => {
  const args = ['erank', 'model.safetensors', '--targets', 'q_proj,k_proj', '--threads', '1'];
  const { code, out, err } = await sigmatune(args, { cwd: folder });
  t.equal(code, 0);
  t.equal(out.trimEnd().split('\n').length, 3);
  t.match(out, /^module +out × in +effective rank +of r +numerical rank +σ max +σ min\n/);
  t.match(err, /100 % {2}model\.layers\.0\.self_attn\.q_proj\.weight\n$/);
});

t.test("an adapter: W0, W' and ΔW", async (t) => {
  const { layers } = await answer('model.safetensors', '--adapter', 'adapter');
  t.equal(layers.length, 2);
  for (const [i, [name, layer]] of [...scene.model.layers].entries()) {
    const base = scene.weights[name] as Tensor;
    const merged = layer.mergedWeight();
    const [w, m] = [snapshot(base), snapshot(merged)];
    const change = real(
      w.map((value, k) => (m[k] as number) - value),
      [layer.outFeatures, layer.inFeatures],
      'float64',
    );
    const found = await svd(change);
    const [before, after] = [await svd(base as Tensor<'float32'>), await svd(merged as Tensor<'float32'>)];
    t.equal(layers[i].name, name);
    t.ok(close(layers[i].before, effectiveRank(before.s), 1e-5), 'W0');
    t.ok(close(layers[i].after, effectiveRank(after.s), 1e-5), "W'");
    t.ok(close(layers[i].update, effectiveRank(found.s), 1e-4), 'ΔW');
    t.ok(close(layers[i].change, Math.hypot(...snapshot(change)), 1e-4), '‖ΔW‖');
    disposeSvd(found, before, after);
    disposeAll(merged, change);
  }
});

t.test('layers whose update is not of their core alone, and one that is not trained', async (t) => {
  const random = seeded(4);
  const weights: Record<string, Tensor> = Object.fromEntries(
    ['dropped', 'dense', 'fresh'].map((name) => [name, gaussian(random, [12, 10], 'float32')]),
  );
  await writeSafetensors(join(folder, 'three.safetensors'), Object.entries(weights));
  const layers = {
    dropped: await svft(weights['dropped'] as Tensor, { pattern: 'plain', rank: 4, residual: 'drop' }),
    dense: await loraXs(weights['dense'] as Tensor, { rank: 3 }),
    fresh: await svft(weights['fresh'] as Tensor, { pattern: 'plain' }),
  };
  for (const layer of [layers.dropped, layers.dense]) perturb(layer);
  await saveAdapters(join(folder, 'three'), layers);
  const { layers: rows } = await answer('three.safetensors', '--adapter', 'three');
  const found = Object.fromEntries(rows.map((row: { name: string }) => [row.name, row]));
  for (const [name, layer] of Object.entries(layers)) {
    const [w, merged] = [snapshot(weights[name] as Tensor), layer.mergedWeight()];
    const m = snapshot(merged);
    const norm = Math.hypot(...w.map((value, k) => (m[k] as number) - value));
    t.ok(Math.abs(found[name].change - norm) <= 1e-4 * norm + 1e-6, name);
    disposeAll(merged, layer);
  }
  t.ok(found['dense'].update <= 3 + 1e-3, 'ΔW of a dense 3 × 3 core has rank 3');
  t.same([found['fresh'].update, found['fresh'].change], [0, 0]);
  disposeAll(...Object.values(weights));
});
