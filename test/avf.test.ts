/** VectorFit's Adaptive Vector Freezing: Equations 4 and 5. */
import { AdamW, AdaptiveVectorFreezing, type Parameter, vectorFit } from 'sigmatune';
import t from 'tap';
import { layerShapes } from './cases.js';
import { assertSameBits, at, disposeAll, expectNoLeak, item, real, seeded, snapshot, throwsSigma } from './helpers.js';
import { bench, disposeLayer, parameter } from './layer.js';
import { ReferenceFreezing } from './reference-optim.js';

function makeParameters(lengths: readonly number[], dtype: 'float32' | 'float64' = 'float64'): Parameter[] {
  const random = seeded(1);
  return lengths.map((length, i) => ({
    name: `v${i}`,
    value: real(random.normals(length), [length], dtype),
    grad: null,
    trainable: true,
  }));
}

function disposeParameters(parameters: readonly Parameter[]): void {
  for (const { value, grad } of parameters) disposeAll(value, grad);
}

t.test('the trace', async (t) => {
  await expectNoLeak(t, 'trace', () => {
    for (const beta of [undefined, 0.5, 0]) {
      for (const freeze of [0, 1, 2, 5]) {
        const parameters = makeParameters([4, 1, 9, 6, 3]);
        const settings = { start: 5, every: 3, count: 4, freeze, ...(beta !== undefined && { beta }) };
        const freezing = new AdaptiveVectorFreezing(parameters, settings);
        const model = new ReferenceFreezing(
          parameters.map(({ value }) => snapshot(value)),
          settings,
        );
        const random = seeded(2);
        for (let step = 1; step <= 20; step++) {
          for (const { value, trainable } of parameters) {
            const data = value.dataSync();
            if (trainable) for (let i = 0; i < data.length; i++) data[i] = at(data, i) + 0.1 * random.normal();
          }
          freezing.step(step);
          model.step(
            step,
            parameters.map(({ value }) => snapshot(value)),
          );
          const label = `β ${beta}, freeze ${freeze}, step ${step}`;
          t.same(
            [...freezing.frozen].sort(),
            model.frozen.map((i) => `v${i}`),
            `${label}: who is frozen`,
          );
          t.same(
            parameters.map(({ trainable }) => trainable),
            parameters.map((_, i) => !model.frozen.includes(i)),
            `${label}: trainable`,
          );
          const strengths = parameters.map(({ name }) => freezing.strengths.get(name) ?? Number.NaN);
          const close = strengths.every((strength, i) => Math.abs(strength - at(model.strengths, i)) <= 1e-14);
          t.ok(close, `${label}: strengths ${strengths} for ${model.strengths}`);
        }
        t.equal(freezing.frozen.length, freeze, 'after the last step the frozen stay frozen');
        disposeParameters(parameters);
      }
    }
  });
});

t.test('by hand', async (t) => {
  const parameters = makeParameters([2, 2, 2]);
  const [a, b, c] = [item(parameters, 0), item(parameters, 1), item(parameters, 2)];
  const move = (parameter: Parameter, by: number): void => {
    const data = parameter.value.dataSync();
    data[0] = at(data, 0) + by;
  };
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 2, freeze: 1, beta: 0.75 });
  t.same([...freezing.frozen], [], 'nobody at first');
  move(a, 1);
  move(b, -3);
  freezing.step(1);
  // S = 1/2, 3/2, 0; S' = 0.25 S.
  t.same([...freezing.frozen], ['v1'], 'the strongest');
  t.ok(Math.abs((freezing.strengths.get('v1') ?? 0) - 0.375) < 1e-15, "S' = 0.25 · 3/2");
  t.same([a.trainable, b.trainable, c.trainable], [true, false, true]);
  move(a, 40);
  freezing.step(2);
  t.same([...freezing.frozen], ['v0'], 'a frozen vector is ranked too, and released when another is stronger');
  t.same([a.trainable, b.trainable, c.trainable], [false, true, true]);
  move(c, 500);
  freezing.step(3);
  t.same([...freezing.frozen], ['v0'], 'nothing changes after the last step');
  disposeParameters(parameters);
});

t.test('ties go to the lower index', async (t) => {
  const parameters = makeParameters([3, 3, 3, 3]);
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 2 });
  freezing.step(1);
  t.same([...freezing.frozen].sort(), ['v0', 'v1']);
  disposeParameters(parameters);
});

t.test('v0 is what stands at construction', async (t) => {
  const parameters = makeParameters([2, 2]);
  item(parameters, 0).value.dataSync()[0] = 50;
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1, beta: 0 });
  item(parameters, 1).value.dataSync()[0] = (item(parameters, 1).value.dataSync()[0] ?? 0) + 1;
  freezing.step(1);
  t.same([...freezing.frozen], ['v1'], 'an earlier move does not count');
  t.equal(freezing.strengths.get('v0'), 0);
  disposeParameters(parameters);
});

t.test('with an optimiser', async (t) => {
  const parameters = makeParameters([3, 3], 'float32');
  const [a, b] = [item(parameters, 0), item(parameters, 1)];
  const optimizer = new AdamW(parameters, { lr: 0.1 });
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 2, every: 2, count: 1, freeze: 1 });
  for (let step = 1; step <= 2; step++) {
    a.grad = real([1, 1, 1], [3], 'float32');
    // A vector without a gradient does not move, so the other is the stronger.
    optimizer.step();
    optimizer.zeroGrad();
    freezing.step(step);
  }
  t.same([...freezing.frozen], ['v0']);
  const before = snapshot(a.value);
  a.grad = real([1, 1, 1], [3], 'float32');
  b.grad = real([1, 1, 1], [3], 'float32');
  optimizer.step();
  assertSameBits(t, a.value, before, 'the frozen vector is skipped wholly');
  optimizer.zeroGrad();
  disposeParameters(parameters);
});

t.test('on a layer', async (t) => {
  await expectNoLeak(t, 'layer', async () => {
    using on = await bench(item(layerShapes, 0), 'float64');
    const layer = await vectorFit(on.weight, { bias: on.bias, factors: on.factors, name: 'q' });
    const freezing = new AdaptiveVectorFreezing(layer.parameters, { start: 1, every: 1, count: 2, freeze: 1 });
    const sigma = parameter(layer, 'sigma').value.dataSync();
    sigma[0] = at(sigma, 0) + 1;
    freezing.step(1);
    t.same([...freezing.frozen], ['q.sigma']);
    const pass = layer.forward(on.x);
    disposeAll(pass.backward(on.dy), pass.y, pass);
    t.equal(parameter(layer, 'sigma').grad, null, 'no gradient is computed for the frozen vector');
    t.ok(parameter(layer, 'bias').grad, 'but for the other');
    disposeLayer(layer);
  });
});

t.test('what it does not take', async (t) => {
  const parameters = makeParameters([2, 2]);
  const good = { start: 1, every: 1, count: 1, freeze: 1 };
  const twice = parameters.map((parameter) => ({ ...parameter, name: 'same' }));
  throwsSigma(t, () => new AdaptiveVectorFreezing(twice, good), 'INVALID_ARGUMENT', 'two of one name', 'same');
  for (const [name, value] of [
    ['start', -1],
    ['start', 1.5],
    ['every', 0],
    ['every', Number.NaN],
    ['count', -2],
    ['freeze', -1],
    ['beta', 1.5],
    ['beta', -0.1],
  ] as const) {
    throwsSigma(
      t,
      () => new AdaptiveVectorFreezing(parameters, { ...good, [name]: value }),
      'INVALID_ARGUMENT',
      `${name} ${value}`,
      name,
      String(value),
    );
  }
  const freezing = new AdaptiveVectorFreezing(parameters, good);
  for (const step of [-1, 0.5, Number.NaN])
    throwsSigma(t, () => freezing.step(step), 'INVALID_ARGUMENT', `step ${step}`, 't');
  disposeParameters(parameters);
});

t.test('a parameter that is frozen from the start is left alone', async (t) => {
  const parameters = makeParameters([2, 2, 2]);
  const [a, b] = [item(parameters, 0), item(parameters, 1)];
  a.trainable = false;
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 });
  b.value.dataSync()[0] = 10;
  freezing.step(1);
  t.same([...freezing.strengths.keys()], ['v1', 'v2'], 'it has no strength');
  t.same([...freezing.frozen], ['v1']);
  t.equal(a.trainable, false, 'and is not released');
  throwsSigma(
    t,
    () => new AdaptiveVectorFreezing([a, item(parameters, 2)], { start: 1, every: 1, count: 1, freeze: 2 }),
    'INVALID_ARGUMENT',
    'more to freeze than there are',
    'freeze',
    '2',
  );
  disposeParameters(parameters);
});

t.test('two parameters of one name, one of them frozen', async (t) => {
  for (const frozen of [0, 1]) {
    const parameters = makeParameters([2, 2, 2]).map((parameter, i) => ({
      ...parameter,
      name: i === 2 ? 'other' : 'same',
      trainable: i !== frozen,
    }));
    throwsSigma(
      t,
      () => new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 }),
      'INVALID_ARGUMENT',
      `number ${frozen} frozen`,
      'same',
    );
    disposeParameters(parameters);
  }
});
