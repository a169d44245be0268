/** Checks what the pages say about the papers' lemmas and theorems, and runs the recipes of docs/siva.md. */
import { readFileSync } from 'node:fs';
import {
  AdamW,
  type AdaptedLinear,
  type AdaptedModel,
  adaptModel,
  effectiveRank,
  effectiveRankGradient,
  matmul,
  siva,
  svd,
  svft,
  type Tensor,
  targetsOf,
} from 'sigmatune';
import t from 'tap';
import {
  assertClose,
  at,
  cpuOnly,
  disposeAll,
  disposeSvd,
  gaussian,
  seeded,
  snapshot,
  write,
} from '../support/helpers.js';
import { dense, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';

const page = readFileSync(new URL('../../docs/siva.md', import.meta.url), 'utf8');

/** The only JavaScript block of the page that contains `part`. */
function codeWith(part: string): string {
  const blocks = [...page.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = '']) => code);
  const found = blocks.filter((code) => code.includes(part));
  if (found.length !== 1) throw new Error(`${found.length} blocks have ${part}`);
  return found[0] as string;
}

const AsyncFunction = (async () => {}).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<Record<string, never>>;

const squares = (a: reference.Matrix): number => reference.norm(a) ** 2;

/** The part of `change` that a full M cannot add to a weight, as a share of ‖change‖². */
async function unreachable(weight: Tensor<'float64'>, change: Tensor<'float64'>): Promise<number> {
  const factors = await svd(weight);
  const [u, vt] = [dense(factors.u), dense(factors.vt)];
  const m = reference.matmul(reference.matmul(reference.transpose(u), dense(change)), reference.transpose(vt));
  const full = { pattern: 'banded', offDiagonals: m.rows - 1 } as const;
  const layer = await svft(weight, { factors, ...full, gate: false, init: { m: m.data } });
  const merged = layer.mergedWeight();
  const left = reference.subtract(reference.add(dense(weight), dense(change)), dense(merged));
  disposeAll(merged);
  disposeSvd(factors);
  disposeLayer(layer);
  return squares(left) / squares(dense(change));
}

t.test('SVFT, lemma (b): a full core reaches every matrix if the weight is square, half of an 8 × 4 one', async (t) => {
  const random = seeded(1);
  for (const [out, inFeatures] of [
    [6, 6],
    [8, 4],
    [4, 8],
  ] as const) {
    const shares: number[] = [];
    for (let draw = 0; draw < 200; draw++) {
      const weight = gaussian(random, [out, inFeatures], 'float64');
      const change = gaussian(random, [out, inFeatures], 'float64');
      shares.push(await unreachable(weight, change));
      disposeAll(weight, change);
    }
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const expected = 1 - Math.min(out, inFeatures) / Math.max(out, inFeatures);
    t.ok(Math.abs(mean - expected) < 0.03, `${out} × ${inFeatures}: ${mean} of ‖ΔW‖² stays, expected ${expected}`);
    if (expected > 0) t.ok(Math.min(...shares) > 0.1 && Math.max(...shares) < 0.9, 'single draws vary widely');
  }
});

t.test('SiVA, Theorem 4: the fit is exact for square and wide weights, not for tall ones', async (t) => {
  const random = seeded(2);
  for (const [out, inFeatures, exact] of [
    [6, 6, true],
    [6, 9, true],
    [9, 6, false],
  ] as const) {
    const weight = gaussian(random, [out, inFeatures], 'float64');
    const x = gaussian(random, [1, inFeatures], 'float64');
    const target = gaussian(random, [1, out], 'float64');
    const factors = await svd(weight);
    const layer = await siva(weight, { factors, count: Math.min(out, inFeatures) });
    const p = reference.matmul(dense(x), reference.transpose(dense(factors.vt)));
    const q = reference.matmul(dense(target), dense(factors.u));
    write(
      parameter(layer, 's').value,
      snapshot(factors.s).map((sigma, i) => at(q.data, i) / at(p.data, i) - sigma),
    );
    const y = layer.apply(x);
    const outside = squares(dense(target)) - squares(q); // what is outside the column space
    const left = squares(reference.subtract(dense(y), dense(target)));
    t.ok(Math.abs(left - outside) < 1e-10, `${out} × ${inFeatures}: what is outside the column space is left`);
    t.equal(outside < 1e-10, exact, `${out} × ${inFeatures}: ${exact ? 'nothing' : 'something'} is outside`);
    disposeAll(weight, x, target, y);
    disposeSvd(factors);
    disposeLayer(layer);
  }
});

t.test('SiVA, Theorem 2: a dominant value is the best to change as long as it is below the sum of the others', (t) => {
  const others = 999;
  for (const dominant of [10, 900, 990, 1010, 5000]) {
    const slope = effectiveRankGradient([dominant, ...Array.from({ length: others }, () => 1)]);
    const share = dominant / (dominant + others);
    const ratio = Math.abs(at(slope, 0)) / Math.abs(at(slope, 1));
    assertClose(t, [ratio], [(1 - share) / share], { atol: 0, rtol: 1e-9 }, `${dominant}: (1 − p) / p`);
    t.equal(ratio > 1, dominant < others, `${dominant} among ${others} ones`);
  }
  t.end();
});

t.test("docs/siva.md: the example's lowest values, from zero, lower the effective rank", (t) => {
  const shown = /```text\n([\s\S]*?)\n```/.exec(page)?.[1]?.split('\n') ?? [];
  const lowest = shown.filter((line) => /^(perc|12 lowest:)/.test(line));
  t.equal(lowest.length, 4);
  for (const line of lowest) {
    const [before = Number.NaN, start, after = Number.NaN] = (line.match(/\d+\.\d(?= →|$)/g) ?? []).map(Number);
    t.equal(start, before, `${line}: starts at the weight`);
    t.ok(after < before, `${line}: ends below`);
    t.ok(page.includes(`${after}`), 'and the text has the number');
  }
  t.end();
});

t.test('docs/siva.md: the gradient of the effective rank, subtracted, raises it', { skip: cpuOnly }, async (t) => {
  const random = seeded(3);
  const weight = gaussian(random, [12, 12], 'float64');
  const factors = await svd(weight);
  const layer = await siva(weight, { factors, count: 5 });
  const s = parameter(layer, 's');
  const optimizer = new AdamW(layer.parameters, { lr: 1e-3, weightDecay: 0 });
  const zero = gaussian(random, [1, 12], 'float64', 0);
  const x = gaussian(random, [1, 12], 'float64');
  const pass = layer.forward(x);
  disposeAll(pass.backward(zero)); // no loss: only the effective rank remains
  await new AsyncFunction('factors', 'layer', 'effectiveRankGradient', codeWith('slope'))(
    factors,
    layer,
    effectiveRankGradient,
  );
  optimizer.step();
  const sigma = snapshot(factors.s);
  const after = sigma.map((value, i) => value + (i < 7 ? 0 : at(s.value.dataSync() as Float64Array, i - 7)));
  t.ok(effectiveRank(after) > effectiveRank(sigma), 'one step of AdamW');
  disposeAll(weight, zero, x, pass.y);
  disposeSvd(factors);
  disposeLayer(layer);
});

t.test('docs/siva.md: query and value of a fused Conv1D weight', { skip: cpuOnly }, async (t) => {
  const [inputs, out] = [5, 4];
  const random = seeded(4);
  const fused = gaussian(random, [inputs, 3 * out], 'float32');
  const fusedBias = gaussian(random, [3 * out], 'float32');
  const x = gaussian(random, [2, inputs], 'float32');
  const weights = { 'h.0.attn.c_attn.weight': fused, 'h.0.attn.c_attn.bias': fusedBias };
  const code = `${codeWith('c_attn')}\nreturn model;`;
  const run = new AsyncFunction('weights', 'adaptModel', 'targetsOf', code);
  const model = (await run(weights, adaptModel, targetsOf)) as unknown as AdaptedModel;
  const whole = matmul(x, fused); // Conv1D computes x W + b
  for (const [name, first] of [
    ['q', 0],
    ['v', 2 * out],
  ] as const) {
    const layer = model.layers.get(`h.0.attn.c_attn.${name}`) as AdaptedLinear;
    const y = layer.apply(x);
    const expected = Array.from(y.dataSync(), (_, i) => {
      const column = first + (i % out);
      return at(whole.dataSync(), Math.floor(i / out) * 3 * out + column) + at(fusedBias.dataSync(), column);
    });
    assertClose(t, y, expected, { atol: 1e-5, rtol: 0 }, name);
    disposeAll(y);
  }
  disposeAll(model, fused, fusedBias, x, whole);
});
