/** LoRA-XS: y = x W0ᵀ + x (U_k R diag(σ_k) V_kᵀ)ᵀ + b. */
import { type LoraXsOptions, loraXs } from 'sigmatune';
import t from 'tap';
import { dtypes, type LayerShape, tolerances } from '../support/cases.js';
import { assertClose, assertSameBits, disposeAll, expectNoLeak, rejectsSigma, snapshot } from '../support/helpers.js';
import { bench, dense, disposeLayer, parameter, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

const square: LayerShape = { name: 'square', out: 24, in: 20, tokens: 5 };

t.test('R starts at zeros, or at seeded normal numbers', async (t) => {
  await expectNoLeak(t, 'starts', async () => {
    using on = await bench(square, 'float64');
    const starts = async (options: LoraXsOptions) => {
      const layer = await loraXs(on.weight, { factors: on.factors, ...options });
      const found = snapshot(parameter(layer, 'r').value);
      t.same(parameter(layer, 'r').value.shape, [layer.rank, layer.rank]);
      disposeLayer(layer);
      return found;
    };
    t.same(await starts({}), new Float64Array(16 ** 2), 'rank 16, zeros');
    const init = { deviation: 1e-5 };
    const numbers = await starts({ rank: 20, init, seed: 1 });
    t.ok(Math.abs(Math.hypot(...numbers) / Math.sqrt(400) / 1e-5 - 1) < 0.2, 'as large as asked for');
    t.same(await starts({ rank: 20, init, seed: 1 }), numbers, 'the same for one seed');
    t.notSame(await starts({ rank: 20, init, seed: 2 }), numbers, 'another rank gives other numbers');
    for (const bad of [5, 'normal', { deviation: -1 }, { deviation: Number.NaN }, {}, { std: 1 }]) {
      await rejectsSigma(
        t,
        () => loraXs(on.weight, { init: bad as never }),
        'INVALID_ARGUMENT',
        'init',
        'options.init',
      );
    }
    for (const rank of [0, 21, 1.5]) {
      await rejectsSigma(t, () => loraXs(on.weight, { rank }), 'INVALID_ARGUMENT', `rank ${rank}`, 'options.rank');
    }
  });
});

t.test("ΔW is U R diag(σ) Vᵀ, with σ on the input's side as in the authors' code", async (t) => {
  for (const dtype of dtypes) {
    using on = await bench(square, dtype);
    const layer = await loraXs(on.weight, { factors: on.factors, rank: 3 });
    const start = layer.mergedWeight();
    assertSameBits(t, start, on.weight, `${dtype}: W' begins as W0, to the bit`);
    perturb(layer);
    const { u, s, vt } = layer.factors;
    const input = reference.matmul(reference.diagonal(snapshot(s)), dense(vt));
    const update = reference.matmul(reference.matmul(dense(u), dense(parameter(layer, 'r').value)), input);
    const merged = layer.mergedWeight();
    assertClose(t, merged, reference.add(dense(on.weight), update).data, tolerances[dtype], `${dtype}: W'`);
    const { change = Number.NaN } = layer.telemetry();
    assertClose(t, [change], [reference.norm(update)], tolerances[dtype], `${dtype}: ‖ΔW‖`);
    disposeAll(start, merged);
    disposeLayer(layer);
  }
});

t.test('the planner counts the products of a dense core', async (t) => {
  using on = await bench(square, 'float64');
  const layer = await loraXs(on.weight, { factors: on.factors, rank: 10, strategy: 'lowrank' });
  const { gemms } = layer.explain(100);
  const [out, columns, k] = [square.out, square.in, 10];
  t.ok(Math.abs(gemms - (2 + (2 * k * (out + columns) + 3 * k * k) / (out * columns))) < 1e-12, `${gemms} GEMMs`);
  disposeLayer(layer);
});
