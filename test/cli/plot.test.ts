/** `sigmatune plot`: the files that it writes, and that they show the numbers of the layers. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import {
  adaptModel,
  effectiveRank,
  numericalRank,
  saveAdapters,
  siva,
  type Tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { layerPlots, type PlottedLayer, standalone } from '../support/bench.js';
import { disposeScene, makeScene, sigmatune } from '../support/cli.js';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { perturb } from '../support/layer.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const plot = async (t: Test, ...args: string[]) => {
  const { code, out, err } = await sigmatune(['plot', ...args, '--quiet'], { cwd: folder });
  t.same([code, err], [0, ''], args.join(' '));
  return out;
};
const read = (...names: string[]) => readFileSync(join(folder, ...names), 'utf8');
const figures = ['spectrum', 'change', 'drift', 'strengths'];

/** Well-formed XML, and every coordinate is a number. */
function checkSvg(t: Test, svg: string, label: string): void {
  t.ok(new Resvg(svg).width > 0, `${label} is drawn`);
  t.notMatch(svg, /NaN|Infinity|undefined/, `${label} has numbers`);
}

t.test('a file for each figure', async (t) => {
  const out = await plot(t, 'model.safetensors', 'adapter', '-o', 'plots');
  t.same(readdirSync(join(folder, 'plots')).sort(), figures.map((name) => `${name}.svg`).sort());
  t.equal(out.trimEnd().split('\n').length, 4);
  for (const name of figures) {
    t.match(out, new RegExp(`^plots/${name}\\.svg: `, 'm'));
    const svg = read('plots', `${name}.svg`);
    checkSvg(t, svg, name);
    for (const layer of ['q_proj', 'v_proj']) t.match(svg, `self_attn.${layer}</text>`, `${name} has ${layer}`);
    t.match(svg, 'width="960"');
    t.match(svg, /prefers-color-scheme:dark/);
  }
});

t.test('one file with all figures, which replaces an old one', async (t) => {
  writeFileSync(join(folder, 'all.svg'), 'old');
  const out = await plot(t, 'model.safetensors', 'adapter', '-o', 'all.svg', '--width', '360');
  t.equal(out, 'all.svg: 2 layers\n');
  const svg = read('all.svg');
  checkSvg(t, svg, 'all.svg');
  t.match(svg, 'width="360"');
  for (const title of ['W0 and W&#39;', 'of ΔW', 'Drift', 'Strengths']) t.match(svg, title);
  t.notOk(readdirSync(folder).some((name) => name.includes('.tmp')));
});

t.test('the numbers are those of the layers', async (t) => {
  const { layers } = JSON.parse(await plot(t, 'model.safetensors', 'adapter', '-o', 'json.svg', '--json'));
  const svg = read('json.svg');
  t.equal(layers.length, 2);
  for (const [i, [name, layer]] of [...scene.model.layers].entries()) {
    const [after, change] = [await layer.spectrum(), await layer.spectrum({ of: 'change' })];
    const { before } = layer.coreDiagonal();
    const tolerance = Math.max(layer.outFeatures, layer.inFeatures) * 2 ** -23;
    const told = layers[i];
    t.equal(told.name, name);
    for (const [key, sigma] of Object.entries({ before, after, change })) {
      t.ok(Math.abs(told.effectiveRank[key] / effectiveRank(sigma) - 1) < 1e-5, `${name}, effective rank: ${key}`);
      t.equal(told.numericalRank[key], numericalRank(sigma, { tolerance }), `${name}, numerical rank: ${key}`);
    }
    t.match(svg, `effective rank ${told.effectiveRank.before.toFixed(2)} → ${told.effectiveRank.after.toFixed(2)}`);
    t.match(svg, `rank ${told.numericalRank.change}, effective rank ${told.effectiveRank.change.toFixed(2)}`);
    const { distances } = layer.telemetry();
    t.same(Object.keys(told.distances), Object.keys(distances), 'strengths by parameter');
    for (const [parameter, value] of Object.entries(distances)) {
      t.ok(Math.abs(told.distances[parameter] / value - 1) < 1e-5, parameter);
      t.match(svg, `<title>${parameter}: ${value.toPrecision(4)}</title>`);
    }
    disposeAll(after, change);
  }
});

t.test('a bias, a random basis, a layer of one number, names that are markup', async (t) => {
  const random = seeded(7);
  const names = ['</title><script>alert(1)</script>', 'random', 'one'] as const;
  const weights: Record<string, Tensor> = {
    [names[0]]: gaussian(random, [6, 5], 'float32'),
    random: gaussian(random, [7, 7], 'float32'),
    one: gaussian(random, [1, 1], 'float64'),
  };
  const bias = gaussian(random, [6], 'float32');
  const entries = [...Object.entries(weights), [`${names[0]}.bias`, bias] as const];
  await writeSafetensors(join(folder, 'odd.safetensors'), entries);
  const layers = {
    [names[0]]: await vectorFit(weights[names[0]] as Tensor, { bias, name: names[0] }),
    random: await siva(weights['random'] as Tensor, { count: 2, basis: 'random', name: 'random' }),
    one: await vectorFit(weights['one'] as Tensor, { name: 'one' }),
  };
  for (const layer of Object.values(layers)) perturb(layer);
  await saveAdapters(join(folder, 'odd'), layers);
  await plot(t, 'odd.safetensors', 'odd', '-o', 'odd.svg');
  const svg = read('odd.svg');
  checkSvg(t, svg, 'odd.svg');
  t.notMatch(svg, /<script/, 'a name is no markup');
  t.match(svg, /the directions are not those of W0/);
  t.match(svg, /\.bias: \d/, 'the bias has a strength');
  disposeAll(bias, ...Object.values(weights), ...Object.values(layers));
});

/** A layer with these singular values. */
const plotted = (name: string, q: number): PlottedLayer => {
  const before = Float64Array.from({ length: q }, (_, i) => 1 / (1 + i));
  const drift = before.map((_, i) => (i === 1234 ? -3 : 0));
  return { name, before, after: before, change: before, drift, ranks: '', changeRank: '', distances: { m: 1 } };
};

/** The coordinates of all curves. */
const curves = (svg: string, kind: string) =>
  [...svg.matchAll(new RegExp(`<path d="M([^"]*)" class="${kind}"`, 'g'))].map(([, d = '']) =>
    d.split('L').map((pair) => pair.split(' ').map(Number) as [number, number]),
  );

t.test('many layers in rows, and many singular values', async (t) => {
  const layers = Array.from({ length: 50 }, (_, i) => plotted(`layer${i}`, 4096));
  for (const [width, columns] of [
    [360, 1],
    [960, 3],
    [1400, 4],
  ] as const) {
    const found = layerPlots(layers, width);
    t.same(
      found.map(({ name }) => name),
      figures,
    );
    const [spectrum, , drift] = found.map(standalone) as [string, string, string];
    checkSvg(t, spectrum, `${width} wide`);
    const lefts = new Set([...spectrum.matchAll(/<text x="([\d.]+)" y="[\d.]+">layer\d+</g)].map(([, x]) => x));
    t.equal(lefts.size, columns, `${width} wide: ${columns} next to each other`);
    const [first = []] = curves(drift, 'curve k2');
    t.ok(first.length < 4096 / 2, 'no more points than can be seen');
    const ys = first.map(([, y]) => y);
    const rest = ys[0] as number;
    t.ok(Math.max(...ys) > rest + 50, 'the one number that moved is seen');
    for (const [x] of curves(spectrum, 'curve k0').flat()) if (!(x >= 0 && x <= width)) t.fail(`x ${x}`);
  }
});

t.test('curves are the numbers', async (t) => {
  const layer = { ...plotted('a', 5), change: Float64Array.of(4, 3, 2, 1, 0) };
  const [, change] = layerPlots([layer], 600).map(standalone) as [string, string];
  const [points = []] = curves(change, 'curve k1');
  const steps = points.slice(1).map(([x, y], i) => [x - (points[i]?.[0] ?? 0), y - (points[i]?.[1] ?? 0)] as const);
  t.equal(points.length, 5);
  for (const [dx, dy] of steps) {
    t.ok(Math.abs(dx - (steps[0]?.[0] ?? 0)) < 0.2 && dx > 0, 'positions are even');
    t.ok(Math.abs(dy - (steps[0]?.[1] ?? 0)) < 0.2 && dy > 0, 'smaller numbers are lower');
  }
});

t.test('a fused weight and a second decomposition of the base', async (t) => {
  const random = seeded(9);
  const weights = { 'qkv.weight': gaussian(random, [24, 8], 'float32') };
  await writeSafetensors(join(folder, 'fused.safetensors'), Object.entries(weights));
  const model = await adaptModel(weights, {
    targets: 'all',
    family: 'svft',
    options: {},
    split: { qkv: { q: 8, k: 8, v: 8 } },
  });
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(join(folder, 'fused'), model.layers);
  const split = 'qkv=q:8,k:8,v:8';
  const { layers } = JSON.parse(
    await plot(t, 'fused.safetensors', 'fused', '-o', 'fused.svg', '--split', split, '--json'),
  );
  t.equal(layers.length, 3, 'a panel for each part');
  disposeAll(model, ...Object.values(weights));
});
