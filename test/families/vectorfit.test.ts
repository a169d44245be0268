/** VectorFit's own options: which of σ and the bias are trained. */
import { AdamW, type AdaptedLinear, parameterCount, type VectorFitOptions, vectorFit } from 'sigmatune';
import t from 'tap';
import { dtypes, layerShapes, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  item,
  real,
  rejectsSigma,
  rewrite,
  seeded,
  snapshot,
  write,
} from '../support/helpers.js';
import { bench, clearGradients, dense, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';

const tall = item(layerShapes, 1);

t.test('`train` selects the parameters', async (t) => {
  await expectNoLeak(t, 'train', async () => {
    using on = await bench(tall, 'float64');
    const variants: readonly [VectorFitOptions['train'], boolean, readonly string[]][] = [
      [undefined, true, ['sigma', 'bias']],
      [{}, true, ['sigma', 'bias']],
      [{ sigma: true, bias: true }, true, ['sigma', 'bias']],
      [{ bias: false }, true, ['sigma']],
      [{ sigma: false }, true, ['bias']],
      [undefined, false, ['sigma']],
      // A layer without a bias ignores `bias: true`, so that one option fits a whole model.
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
  for (const { value } of layer.parameters) fill(value, 0.5);
  assertSameBits(t, on.factors.s, sigma, 'the given σ is not written');
  assertSameBits(t, on.bias, bias, 'the given bias is not written');
  const y = layer.apply(on.x);
  fill(on.factors.s, 9);
  fill(on.bias, 9);
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
  rewrite(parameter(layer, 'sigma').value, (value) => -value);
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

t.test('vectorFit refuses invalid options', async (t) => {
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

t.test('more directions than one task of the kernel', async (t) => {
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

t.test('training the bias alone', async (t) => {
  // σ is not a parameter here, so the core is fixed.
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

t.test('createBias', async (t) => {
  await expectNoLeak(t, 'createBias', async () => {
    using on = await bench(tall, 'float64');
    for (const strategy of ['auto', 'factored', 'merged'] as const) {
      const options = { factors: on.factors, strategy, createBias: true, name: 'q' } as const;
      const layer = await vectorFit(on.weight, options);
      t.same(
        layer.parameters.map(({ name, value }) => [name, value.shape]),
        [
          ['q.sigma', [tall.in]],
          ['q.bias', [tall.out]],
        ],
        `${strategy}: it trains`,
      );
      t.equal(layer.parameterCount, tall.in + tall.out, `${strategy}: and counts`);
      const bias = parameter(layer, 'bias');
      assertSameBits(t, bias.value, new Float64Array(tall.out), `${strategy}: zeros at first`);
      const y = layer.apply(on.x);
      const plain = reference.linear(dense(on.x), dense(on.weight)).data;
      assertClose(t, y, plain, tolerances.float64, `${strategy}: so y is the base`);
      const numbers = seeded(4).normals(tall.out);
      write(bias.value, numbers);
      const pass = layer.forward(on.x);
      assertClose(
        t,
        pass.y,
        plain.map((value, i) => value + at(numbers, i % tall.out)),
        tolerances.float64,
        `${strategy}: it is added`,
      );
      const dx = pass.backward(on.dy);
      assertClose(t, bias.grad ?? [], columnSums(dense(on.dy)), tolerances.float64, `${strategy}: its gradient`);
      const merged = layer.mergedBias();
      assertSameBits(t, merged ?? [], numbers, `${strategy}: merged`);
      disposeAll(y, pass.y, pass, dx, merged);
      disposeLayer(layer);
    }

    // An existing bias trains instead.
    const given = await vectorFit(on.weight, { factors: on.factors, bias: on.bias, createBias: true });
    assertSameBits(t, parameter(given, 'bias').value, on.bias, 'a layer that has a bias keeps it');
    disposeLayer(given);
    const alone = await vectorFit(on.weight, { factors: on.factors, createBias: true, train: { sigma: false } });
    t.same(
      alone.parameters.map(({ name }) => name),
      ['bias'],
      'it may be all that trains',
    );
    disposeLayer(alone);
    const without = await vectorFit(on.weight, { factors: on.factors, createBias: false });
    t.equal(without.mergedBias(), undefined, 'not by default');
    disposeLayer(without);
    for (const more of [{}, { bias: on.bias }]) {
      await rejectsSigma(
        t,
        () => vectorFit(on.weight, { ...more, createBias: true, train: { bias: false } }),
        'INVALID_ARGUMENT',
        'a bias that would not train',
        'createBias',
        'train.bias',
      );
    }
    for (const name of ['createBias', 'nonnegative'] as const) {
      for (const bad of [1, 'yes', {}, Number.NaN]) {
        const options = { [name]: bad } as unknown as VectorFitOptions;
        await rejectsSigma(t, () => vectorFit(on.weight, options), 'INVALID_ARGUMENT', `${name}: ${bad}`, name);
      }
    }
  });
});

function columnSums(a: reference.Matrix): Float64Array {
  const sums = new Float64Array(a.columns);
  for (let i = 0; i < a.rows; i++) for (let j = 0; j < a.columns; j++) sums[j] = at(sums, j) + reference.entry(a, i, j);
  return sums;
}

/** Positive and negative values, 0 and −0. */
const mixed = [2, -1, 0, 0.5, -0, -3];

t.test('nonnegative clamps σ', async (t) => {
  for (const dtype of dtypes) {
    await expectNoLeak(t, 'nonnegative', async () => {
      using on = await bench(tall, dtype);
      const [u, vt] = [dense(on.factors.u), dense(on.factors.vt)];
      const [x, dy] = [dense(on.x), dense(on.dy)];
      const rectified = reference.diagonal(mixed.map((value) => (value > 0 ? value : 0)));
      const weight = reference.matmul(reference.matmul(u, rectified), vt);
      // K = diag(Uᵀ dYᵀ X V) is the gradient of an unclamped σ.
      const k = reference.matmul(
        reference.transpose(reference.matmul(dy, u)),
        reference.matmul(x, reference.transpose(vt)),
      );
      const slopes = mixed.map((value, i) => (value > 0 ? reference.entry(k, i, i) : 0));
      for (const strategy of ['auto', 'factored', 'merged'] as const) {
        const label = `${strategy}, ${dtype}`;
        const layer = await vectorFit(on.weight, { factors: on.factors, strategy, nonnegative: true });
        const sigma = parameter(layer, 'sigma');
        assertSameBits(t, sigma.value, on.factors.s, `${label}: begins as the weight`);
        write(sigma.value, mixed);
        const y = layer.apply(on.x);
        assertClose(t, y, reference.linear(x, weight).data, tolerances[dtype], `${label}: apply`);
        const merged = layer.mergedWeight();
        assertClose(t, merged, weight.data, tolerances[dtype], `${label}: the merged weight`);

        const [one, two] = [layer.forward(on.x), layer.forward(on.x)];
        // A pull-back uses the σ of its forward pass.
        fill(sigma.value, -1);
        const dx = one.backward(on.dy);
        assertClose(t, one.y, reference.linear(x, weight).data, tolerances[dtype], `${label}: forward`);
        assertClose(t, dx, reference.matmul(dy, weight).data, tolerances[dtype], `${label}: dx`);
        assertClose(t, sigma.grad ?? [], slopes, tolerances[dtype], `${label}: the gradient`);
        const found = snapshot(sigma.grad ?? []);
        for (const [i, value] of mixed.entries())
          if (!(value > 0)) t.equal(Math.abs(at(found, i)), 0, `${label}: none at σ = ${value}`);
        fill(sigma.value, 1);
        disposeAll(two.backward(on.dy));
        assertClose(
          t,
          sigma.grad ?? [],
          slopes.map((value) => 2 * value),
          tolerances[dtype],
          `${label}: twice`,
        );

        // A gradient that a framework assigned stays unchanged if the slope is 0.
        clearGradients(layer);
        const assigned = real([1, 2, 3, 4, 5, 6], [6], dtype);
        sigma.grad = assigned;
        write(sigma.value, mixed);
        const third = layer.forward(on.x);
        disposeAll(third.backward(on.dy));
        const sum = slopes.map((value, i) => value + i + 1);
        assertClose(t, sigma.grad ?? [], sum, tolerances[dtype], `${label}: added to an assigned gradient`);
        assertSameBits(t, assigned, [1, 2, 3, 4, 5, 6], `${label}: which is not written`);
        assigned.dispose();
        assertSameBits(t, sigma.value, mixed, `${label}: σ itself is not clamped`);

        const spectrum = await layer.spectrum();
        const close = dtype === 'float64' ? 1e-12 : 1e-5;
        assertClose(t, spectrum, [2, 0.5, 0, 0, 0, 0], { atol: close, rtol: 0 }, `${label}: the spectrum`);
        const told = layer.telemetry();
        const start = snapshot(on.factors.s);
        const drift = start.map((value, i) => Math.abs(Math.max(0, at(mixed, i)) - value));
        const numbers = [told.effectiveRank.after ?? 0, told.drift?.max ?? 0, told.change ?? 0];
        const expected = [reference.effectiveRank([2, 0.5]), Math.max(...drift), Math.hypot(...drift)];
        assertClose(t, numbers, expected, { atol: close, rtol: 0 }, `${label}: telemetry`);
        disposeAll(y, merged, one.y, one, dx, two.y, two, third.y, third, spectrum);
        disposeLayer(layer);
      }
    });
  }
});

t.test('nonnegative: a σ below zero gets no gradient', async (t) => {
  using on = await bench(tall, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors, nonnegative: true });
  const sigma = parameter(layer, 'sigma');
  write(sigma.value, mixed);
  const optimizer = new AdamW(layer.parameters, { lr: 0.05, weightDecay: 0 });
  for (let step = 0; step < 3; step++) {
    const pass = layer.forward(on.x);
    disposeAll(pass.backward(on.dy), pass.y, pass);
    optimizer.step();
    optimizer.zeroGrad();
  }
  const after = snapshot(sigma.value);
  for (const [i, value] of mixed.entries()) {
    if (value > 0) t.not(at(after, i), value, `${value} trains`);
    else t.equal(at(after, i), value, `${value} has no gradient to train by`);
  }
  disposeLayer(layer);
});

t.test("the paper's variants on a small transformer", async (t) => {
  // Section 3.2: Σ_a = σ of q, k, v, o; Σ = σ of all six; Σ_a+b = Σ_a and every bias; Σ+b all of both.
  const [d, ff, blocks] = [8, 20, 2];
  const attention = ['q', 'k', 'v', 'o'].map((name) => ({ name, out: d, in: d }));
  const feedForward = [
    { name: 'f1', out: ff, in: d },
    { name: 'f2', out: d, in: ff },
  ];
  const all = [...attention, ...feedForward];
  type Module = { name: string; out: number; in: number };
  const variants: readonly [string, readonly (readonly [readonly Module[], VectorFitOptions['train']])[], number][] = [
    ['Σ_a', [[attention, { bias: false }]], 4 * 8],
    ['Σ', [[all, { bias: false }]], 6 * 8],
    [
      'Σ_a+b',
      [
        [attention, {}],
        [feedForward, { sigma: false }],
      ],
      4 * (8 + 8) + 20 + 8,
    ],
    ['Σ+b', [[all, {}]], 4 * (8 + 8) + (8 + 20) + (8 + 8)],
  ];
  const random = seeded(1);
  for (const [label, parts, hand] of variants) {
    const layers: AdaptedLinear[] = [];
    let counted = 0;
    for (const [modules, train] of parts) {
      counted += parameterCount(
        { name: 'vectorfit', ...train },
        modules.map((module) => ({ out: module.out, in: module.in, count: blocks })),
      );
      for (let block = 0; block < blocks; block++) {
        for (const { name, out, in: inFeatures } of modules) {
          const [weight, bias] = [gaussian(random, [out, inFeatures], 'float32'), gaussian(random, [out], 'float32')];
          layers.push(await vectorFit(weight, { bias, name: `${block}.${name}`, ...(train && { train }) }));
          disposeAll(weight, bias);
        }
      }
    }
    const names = layers.flatMap(({ parameters }) => parameters.map(({ name }) => name));
    t.equal(new Set(names).size, names.length, `${label}: one name for each vector`);
    const trained = layers.reduce((sum, layer) => sum + layer.parameterCount, 0);
    t.same([trained, counted], [blocks * hand, blocks * hand], `${label}: as many numbers as by hand`);
    for (const layer of layers) disposeLayer(layer);
  }
});
