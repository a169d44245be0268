/** VectorFit's own options: which of σ and the bias are trained. */
import { type VectorFitOptions, vectorFit } from 'sigmatune';
import t from 'tap';
import { layerShapes, tolerances } from './cases.js';
import { assertClose, assertSameBits, at, disposeAll, expectNoLeak, item, rejectsSigma, snapshot } from './helpers.js';
import { bench, dense, disposeLayer, parameter } from './layer.js';
import * as reference from './reference.js';

const tall = item(layerShapes, 1);

t.test('what is trained', async (t) => {
  await expectNoLeak(t, 'train', async () => {
    using on = await bench(tall, 'float64');
    const variants: readonly [VectorFitOptions['train'], boolean, readonly string[]][] = [
      [undefined, true, ['sigma', 'bias']],
      [{}, true, ['sigma', 'bias']],
      [{ sigma: true, bias: true }, true, ['sigma', 'bias']],
      [{ bias: false }, true, ['sigma']],
      [{ sigma: false }, true, ['bias']],
      [undefined, false, ['sigma']],
      // A layer without a bias is skipped, so that one option serves a whole model.
      [{ sigma: true, bias: true }, false, ['sigma']],
    ];
    for (const [train, hasBias, names] of variants) {
      const label = `${JSON.stringify(train)}, ${hasBias ? 'a bias' : 'no bias'}`;
      const layer = await vectorFit(on.weight, {
        factors: on.factors,
        ...(train && { train }),
        ...(hasBias && { bias: on.bias }),
      });
      t.same(layer.parameters.map(({ name }) => name).sort(), [...names].sort(), label);
      const count = (names.includes('sigma') ? layer.rank : 0) + (names.includes('bias') ? tall.out : 0);
      t.equal(layer.parameterCount, count, `${label}: min(out, in) + out`);
      if (names.includes('sigma'))
        assertClose(
          t,
          parameter(layer, 'sigma').value,
          on.factors.s,
          tolerances.float64,
          `${label}: σ starts as it is`,
        );
      if (names.includes('bias'))
        assertSameBits(t, parameter(layer, 'bias').value, on.bias, `${label}: the bias starts as it is`);
      const y = layer.apply(on.x);
      const merged = layer.mergedBias();
      if (hasBias) assertSameBits(t, merged ?? [], on.bias, `${label}: an untrained bias is still added`);
      disposeAll(y, merged);
      disposeLayer(layer);
    }
  });
});

t.test('trained vectors are copies', async (t) => {
  using on = await bench(tall, 'float64');
  const [sigma, bias] = [snapshot(on.factors.s), snapshot(on.bias)];
  const layer = await vectorFit(on.weight, { factors: on.factors, bias: on.bias });
  for (const { value } of layer.parameters) value.dataSync().fill(0.5);
  assertSameBits(t, on.factors.s, sigma, 'the given σ is not written');
  assertSameBits(t, on.bias, bias, 'the given bias is not written');
  const y = layer.apply(on.x);
  on.factors.s.dataSync().fill(9);
  on.bias.dataSync().fill(9);
  const again = layer.apply(on.x);
  assertSameBits(t, again, y, 'nor read again');
  const merged = layer.mergedBias();
  t.ok(
    snapshot(merged ?? []).every((value) => value === 0.5),
    'the merged bias is the trained one',
  );
  merged?.dataSync().fill(1);
  t.equal(at(parameter(layer, 'bias').value.dataSync(), 0), 0.5, 'and a new tensor');
  disposeAll(y, again, merged);
  disposeLayer(layer);
});

t.test('negative σ are not clamped', async (t) => {
  using on = await bench(tall, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors });
  const sigma = parameter(layer, 'sigma').value.dataSync();
  sigma.forEach((value, i) => {
    sigma[i] = -value;
  });
  const merged = layer.mergedWeight();
  assertClose(
    t,
    merged,
    snapshot(on.weight).map((value) => -value),
    tolerances.float64,
    'no clamp on σ ≥ 0',
  );
  disposeAll(merged);
  disposeLayer(layer);
});

t.test('what vectorFit does not take', async (t) => {
  using on = await bench(tall, 'float32');
  const nothing = { sigma: false, bias: false };
  await rejectsSigma(
    t,
    () => vectorFit(on.weight, { bias: on.bias, train: nothing }),
    'INVALID_ARGUMENT',
    'nothing to train',
    'train',
  );
  await rejectsSigma(
    t,
    () => vectorFit(on.weight, { train: { sigma: false } }),
    'INVALID_ARGUMENT',
    'only a bias to train, but none given',
    'train',
  );
  await rejectsSigma(t, () => vectorFit(on.weight, { strategy: 'lowrank' }), 'UNSUPPORTED', 'low rank', 'lowrank');
  const yes = { train: { sigma: 'yes' } } as unknown as VectorFitOptions;
  await rejectsSigma(t, () => vectorFit(on.weight, yes), 'INVALID_ARGUMENT', 'not a boolean', 'sigma');
});

t.test('more directions than one task takes', async (t) => {
  using on = await bench({ name: 'many directions', out: 150, in: 140, tokens: 3 }, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors, strategy: 'factored' });
  const pass = layer.forward(on.x);
  const dx = pass.backward(on.dy);
  const operator = { u: dense(on.factors.u), vt: dense(on.factors.vt), sigma: snapshot(on.factors.s) };
  const expected = reference.backward(operator, dense(on.x), dense(on.dy));
  assertClose(t, parameter(layer, 'sigma').grad ?? [], expected.sigma, tolerances.float64, 'the gradient of σ');
  assertClose(t, dx, expected.dx.data, tolerances.float64, 'dx');
  disposeAll(pass.y, pass, dx);
  disposeLayer(layer);
});

t.test('a bias alone', async (t) => {
  // σ is no parameter here: the core is frozen for good.
  using on = await bench({ name: 'square', out: 12, in: 12, tokens: 7 }, 'float64');
  const { out, tokens } = on.shape;
  const layer = await vectorFit(on.weight, { bias: on.bias, factors: on.factors, train: { sigma: false } });
  for (const [count, strategy, gemms] of [
    [5, 'factored', 4],
    [6, 'factored', 4],
    [7, 'merged', 2 + 12 / 7],
    [120, 'merged', 2.1],
  ] as const) {
    const plan = layer.explain(count);
    t.same([plan.strategy, plan.savedBytes], [strategy, 0], `${count} tokens`);
    t.ok(Math.abs(plan.gemms - gemms) < 1e-12, `${count} tokens: ${plan.gemms} GEMMs for ${gemms}`);
  }
  const pass = layer.forward(on.x);
  const dx = pass.backward(on.dy);
  const [x, dy, weight] = [dense(on.x), dense(on.dy), dense(on.weight)];
  const bias = snapshot(on.bias);
  const y = reference.linear(x, weight).data.map((value, i) => value + at(bias, i % out));
  assertClose(t, pass.y, y, tolerances.float64, 'y');
  assertClose(t, dx, reference.matmul(dy, weight).data, tolerances.float64, 'dx');
  const sums = Float64Array.from({ length: out }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < tokens; i++) sum += reference.entry(dy, i, j);
    return sum;
  });
  assertClose(t, parameter(layer, 'bias').grad ?? [], sums, tolerances.float64, 'the gradient of the bias');
  disposeAll(pass.y, pass, dx);
  disposeLayer(layer);
});
