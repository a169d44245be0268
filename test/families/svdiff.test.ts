/** SVDiff: y = x (U diag(max(0, σ + δ)) Vᵀ)ᵀ + b. */
import { svdiff } from 'sigmatune';
import t from 'tap';
import { dtypes, type LayerShape, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  expectNoLeak,
  fill,
  rejectsSigma,
  snapshot,
  write,
} from '../support/helpers.js';
import { bench, dense, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';

const tall: LayerShape = { name: 'tall', out: 11, in: 6, tokens: 5 };

/** Values of σ + δ: positive, negative and zero. */
const shifted = (sigma: ArrayLike<number>): number[] =>
  [0.5, -2, -1, 0, -0.25, 3].map((shift, i) => (i === 1 || i === 2 ? shift * at(sigma, i) : shift));

t.test('a shift changes σ, but never below zero', async (t) => {
  for (const dtype of dtypes) {
    await expectNoLeak(t, 'svdiff', async () => {
      using on = await bench(tall, dtype);
      const [u, vt] = [dense(on.factors.u), dense(on.factors.vt)];
      const sigma = snapshot(on.factors.s);
      const delta = shifted(sigma);
      const sums = delta.map((value, i) => at(sigma, i) + value);
      t.ok(at(sums, 1) < 0 && at(sums, 2) === 0, 'one falls below zero, one to it');
      const present = sums.map((sum) => Math.max(0, sum));
      const weight = reference.matmul(reference.matmul(u, reference.diagonal(present)), vt);
      const [x, dy] = [dense(on.x), dense(on.dy)];
      const k = reference.matmul(
        reference.transpose(reference.matmul(dy, u)),
        reference.matmul(x, reference.transpose(vt)),
      );
      const slopes = sums.map((sum, i) => (sum > 0 ? reference.entry(k, i, i) : 0));
      for (const strategy of ['auto', 'factored', 'merged'] as const) {
        const label = `${strategy}, ${dtype}`;
        const layer = await svdiff(on.weight, { factors: on.factors, strategy });
        const { value } = parameter(layer, 'delta');
        assertSameBits(t, value, new Array(6).fill(0), `${label}: begins at zero`);
        const start = layer.mergedWeight();
        assertSameBits(t, start, on.weight, `${label}: W' begins as W0, to the bit`);
        write(value, delta);
        const merged = layer.mergedWeight();
        assertClose(t, merged, weight.data, tolerances[dtype], `${label}: the merged weight`);
        const pass = layer.forward(on.x);
        // A pull-back uses the shift of its forward pass.
        fill(value, -100);
        const dx = pass.backward(on.dy);
        assertClose(t, pass.y, reference.linear(x, weight).data, tolerances[dtype], `${label}: y`);
        assertClose(t, dx, reference.matmul(dy, weight).data, tolerances[dtype], `${label}: dx`);
        assertClose(t, parameter(layer, 'delta').grad ?? [], slopes, tolerances[dtype], `${label}: the gradient`);
        const found = snapshot(parameter(layer, 'delta').grad ?? []);
        t.same([at(found, 1), at(found, 2)].map(Math.abs), [0, 0], `${label}: none where σ + δ is not above zero`);

        write(value, delta);
        const told = layer.telemetry();
        const drift = present.map((sum, i) => Math.abs(sum - at(sigma, i)));
        const numbers = [told.effectiveRank.after ?? 0, told.drift?.max ?? 0, told.change ?? 0];
        const close = { atol: dtype === 'float64' ? 1e-12 : 1e-5, rtol: 0 };
        const expected = [reference.effectiveRank(present), Math.max(...drift), Math.hypot(...drift)];
        assertClose(t, numbers, expected, close, `${label}: telemetry`);
        const spectrum = await layer.spectrum();
        assertClose(
          t,
          spectrum,
          [...present].sort((a, b) => b - a),
          close,
          `${label}: the spectrum`,
        );
        disposeAll(start, merged, pass.y, pass, dx, spectrum);
        disposeLayer(layer);
      }
    });
  }
});

t.test('the strategy lowrank is UNSUPPORTED', async (t) => {
  using on = await bench(tall, 'float64');
  await rejectsSigma(
    t,
    () => svdiff(on.weight, { factors: on.factors, strategy: 'lowrank' }),
    'UNSUPPORTED',
    'lowrank',
    'options.strategy',
    "'factored', 'merged'",
  );
});
