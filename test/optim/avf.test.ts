/** VectorFit's Adaptive Vector Freezing: Equations 4 and 5. */
import { AdamW, type AdaptedLinear, AdaptiveVectorFreezing, type Parameter, svft, vectorFit } from 'sigmatune';
import t from 'tap';
import { layerShapes } from '../support/cases.js';
import {
  assertSameBits,
  at,
  disposeAll,
  expectNoLeak,
  item,
  put,
  real,
  rewrite,
  seeded,
  snapshot,
  throwsSigma,
  write,
} from '../support/helpers.js';
import { type Bench, bench, disposeLayer, parameter } from '../support/layer.js';
import { ReferenceFreezing } from '../support/reference-optim.js';

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

t.test('strengths and frozen vectors over a run, against the reference', async (t) => {
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
            if (trainable) rewrite(value, (before) => before + 0.1 * random.normal());
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

t.test('a case by hand', async (t) => {
  const parameters = makeParameters([2, 2, 2]);
  const [a, b, c] = [item(parameters, 0), item(parameters, 1), item(parameters, 2)];
  const move = (parameter: Parameter, by: number): void => {
    rewrite(parameter.value, (before, i) => (i === 0 ? before + by : before));
  };
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 2, freeze: 1, beta: 0.75 });
  t.same([...freezing.frozen], [], 'none at first');
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

t.test('distances are those of now', async (t) => {
  await expectNoLeak(t, 'distances', () => {
    const parameters = makeParameters([4, 1, 9], 'float32');
    const starts = parameters.map(({ value }) => snapshot(value));
    const freezing = new AdaptiveVectorFreezing(parameters, { start: 3, every: 1, count: 1, freeze: 0 });
    t.same([...freezing.distances.values()], [0, 0, 0], 'at construction');
    const random = seeded(4);
    for (let step = 1; step <= 5; step++) {
      for (const { value } of parameters) rewrite(value, (before) => before + 0.1 * random.normal());
      freezing.step(step);
      const { distances } = freezing;
      t.same([...distances.keys()], ['v0', 'v1', 'v2'], 'by name');
      for (const [i, { name, value }] of parameters.entries()) {
        const moved = snapshot(value).map((now, j) => Math.abs(now - at(starts[i] ?? [], j)));
        const wanted = moved.reduce((sum, each) => sum + each, 0) / moved.length;
        t.ok(Math.abs((distances.get(name) ?? Number.NaN) - wanted) < 1e-15, `step ${step}: ${name}`);
      }
    }
    const strengths = [...freezing.strengths.values()];
    t.ok(
      strengths.every((strength) => strength > 0),
      'a freezing step in between',
    );
    t.same([...freezing.strengths.values()], strengths, 'reading distances does not change strengths');
    disposeParameters(parameters);
  });
});

t.test('distances include biases and frozen vectors', async (t) => {
  using on = await bench(item(layerShapes, 0), 'float64');
  const layer = await vectorFit(on.weight, { bias: on.bias, factors: on.factors, name: 'q' });
  const freezing = new AdaptiveVectorFreezing(layer.parameters, { start: 1, every: 1, count: 1, freeze: 2 });
  rewrite(parameter(layer, 'sigma').value, (before) => before - 0.5);
  rewrite(parameter(layer, 'bias').value, (before) => before + 0.25);
  freezing.step(1);
  t.equal(freezing.frozen.length, 2);
  const { distances } = freezing;
  t.ok(Math.abs((distances.get('q.sigma') ?? 0) - 0.5) < 1e-15, 'σ');
  t.ok(Math.abs((distances.get('q.bias') ?? 0) - 0.25) < 1e-15, 'b');
  t.same(Object.keys(layer.telemetry().distances), [...distances.keys()], "the layer's names");
  for (const [name, distance] of Object.entries(layer.telemetry().distances)) {
    t.equal(distances.get(name), distance, `${name}: as the layer's telemetry says`);
  }
  disposeLayer(layer);
});

t.test('distances refuse what a step refuses', async (t) => {
  const parameters = makeParameters([2, 2]);
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 });
  const [first, second] = [item(parameters, 0), item(parameters, 1)];
  put(first.value, 1, Number.NaN);
  throwsSigma(t, () => freezing.distances, 'NON_FINITE', 'NaN', /^AdaptiveVectorFreezing.distances: /, 'v0.value');
  put(first.value, 1, 0);
  const { value } = second;
  Object.assign(second, { value: real([1, 2, 3], [3], 'float64') });
  throwsSigma(t, () => freezing.distances, 'SHAPE_MISMATCH', 'another size', 'v1.value', '2 numbers', '3');
  second.value.dispose();
  throwsSigma(t, () => freezing.distances, 'DISPOSED', 'a disposed one', 'v1.value');
  Object.assign(second, { value });
  t.equal(freezing.distances.get('v1'), 0, 'a getter leaves the object as it was');
  disposeParameters(parameters);
});

t.test('ties go to the lower index', async (t) => {
  const parameters = makeParameters([3, 3, 3, 3]);
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 2 });
  freezing.step(1);
  t.same([...freezing.frozen].sort(), ['v0', 'v1']);
  disposeParameters(parameters);
});

t.test('v0 is the value at construction', async (t) => {
  const parameters = makeParameters([2, 2]);
  put(item(parameters, 0).value, 0, 50);
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1, beta: 0 });
  put(item(parameters, 1).value, 0, (item(parameters, 1).value.dataSync()[0] ?? 0) + 1);
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
    // A vector without a gradient does not move, so the other vector is stronger.
    optimizer.step();
    optimizer.zeroGrad();
    freezing.step(step);
  }
  t.same([...freezing.frozen], ['v0']);
  const before = snapshot(a.value);
  a.grad = real([1, 1, 1], [3], 'float32');
  b.grad = real([1, 1, 1], [3], 'float32');
  optimizer.step();
  assertSameBits(t, a.value, before, 'the frozen vector is skipped');
  optimizer.zeroGrad();
  disposeParameters(parameters);
});

t.test('on a layer', async (t) => {
  await expectNoLeak(t, 'layer', async () => {
    using on = await bench(item(layerShapes, 0), 'float64');
    const layer = await vectorFit(on.weight, { bias: on.bias, factors: on.factors, name: 'q' });
    const freezing = new AdaptiveVectorFreezing(layer.parameters, { start: 1, every: 1, count: 2, freeze: 1 });
    rewrite(parameter(layer, 'sigma').value, (before, i) => (i === 0 ? before + 1 : before));
    freezing.step(1);
    t.same([...freezing.frozen], ['q.sigma']);
    const pass = layer.forward(on.x);
    disposeAll(pass.backward(on.dy), pass.y, pass);
    t.equal(parameter(layer, 'sigma').grad, null, 'no gradient is computed for the frozen vector');
    t.ok(parameter(layer, 'bias').grad, 'but for the other');
    disposeLayer(layer);
  });
});

t.test('invalid arguments are refused', async (t) => {
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

t.test('a parameter that is frozen at construction is not watched', async (t) => {
  const parameters = makeParameters([2, 2, 2]);
  const [a, b] = [item(parameters, 0), item(parameters, 1)];
  a.trainable = false;
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 });
  put(b.value, 0, 10);
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

t.test('two parameters with the same name, one of them frozen', async (t) => {
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

t.test('release', async (t) => {
  for (const release of [true, false, undefined]) {
    const parameters = makeParameters([3, 3, 3]);
    const settings = { start: 3, every: 4, count: 2, freeze: 2, ...(release !== undefined && { release }) };
    const freezing = new AdaptiveVectorFreezing(parameters, settings);
    const random = seeded(6);
    const counts: number[] = [];
    for (let step = 1; step <= 20; step++) {
      for (const { value } of parameters) put(value, 0, random.normal());
      freezing.step(step);
      counts.push(freezing.frozen.length);
      t.same(
        parameters.filter(({ trainable }) => !trainable).map(({ name }) => name),
        [...freezing.frozen].sort(),
        `${release}, step ${step}: frozen and not trainable are one`,
      );
    }
    // Steps 3 and 7 freeze, 11 = 3 + 4 · 2 frees.
    const wanted = counts.map((_, i) => (i + 1 < 3 || (release && i + 1 >= 11) ? 0 : 2));
    t.same(counts, wanted, `${release}: how many are frozen`);
    t.ok(
      [...freezing.strengths.values()].every((strength) => strength > 0),
      `${release}: strengths stay to be read`,
    );
    disposeParameters(parameters);
  }
  const parameters = makeParameters([2, 2, 2]);
  item(parameters, 1).trainable = false;
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 2, release: true });
  freezing.step(1);
  freezing.step(2);
  t.same(
    parameters.map(({ trainable }) => trainable),
    [true, false, true],
    'what was not trainable at construction is not released',
  );
  for (const bad of [1, 'yes', {}]) {
    const options = { start: 1, every: 1, count: 1, freeze: 1, release: bad as boolean };
    throwsSigma(t, () => new AdaptiveVectorFreezing(parameters, options), 'INVALID_ARGUMENT', `${bad}`, 'release');
  }
  disposeParameters(parameters);
});

t.test('the state of a run', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    const settings = { start: 2, every: 2, count: 3, freeze: 3 };
    const parameters = makeParameters([4, 1, 9, 6, 3], dtype);
    const starts = parameters.map(({ value }) => snapshot(value));
    const freezing = new AdaptiveVectorFreezing(parameters, settings);
    const random = seeded(3);
    for (let step = 1; step <= 4; step++) {
      for (const { value, trainable } of parameters) if (trainable) put(value, 0, 5 * random.normal());
      freezing.step(step);
    }
    const state = freezing.state();
    const saved = structuredClone(state);
    t.same(saved, state, `${dtype}: plain data`);

    // A later step does not change the snapshot.
    freezing.step(6);
    t.same(state, saved, `${dtype}: a snapshot`);
    // A parameter that is frozen at construction would not be watched.
    for (const entry of parameters) entry.trainable = true;
    const again = new AdaptiveVectorFreezing(parameters, settings);
    again.loadState(saved);
    t.same(again.state(), saved, `${dtype}: as it was saved`);

    const others = makeParameters([4, 1, 9, 6, 3], dtype);
    for (const [i, { value }] of others.entries()) write(value, snapshot(item(parameters, i).value));
    const resumed = new AdaptiveVectorFreezing(others, settings);
    resumed.loadState(saved);
    t.same(
      others.map(({ trainable }) => !trainable),
      others.map(({ name }) => again.frozen.includes(name)),
      `${dtype}: who was frozen is frozen`,
    );
    t.equal(again.frozen.length, 3, `${dtype}: three are`);
    const [first, second] = [new Map(resumed.strengths), new Map(again.strengths)];
    t.same([...first], [...second], `${dtype}: strengths`);
    t.same(resumed.frozen, again.frozen, `${dtype}: in the same order`);
    // Both continue alike, from the first run's v0, which is far from the current values.
    for (const [i, { value }] of parameters.entries()) {
      write(value, item(starts, i));
      write(item(others, i).value, item(starts, i));
    }
    again.step(6);
    resumed.step(6);
    t.same([...resumed.strengths], [...again.strengths], `${dtype}: v0 is the old one`);
    for (const [name, strength] of resumed.strengths)
      t.ok(Math.abs(strength - 0.99 * (first.get(name) ?? Number.NaN)) < 1e-12, `${dtype}: ${name} is back at its v0`);
    t.same(resumed.frozen, again.frozen, `${dtype}: the same freeze, in the same order`);
    disposeParameters(parameters);
    disposeParameters(others);
  }
});

t.test('loadState keeps the order of the frozen vectors', async (t) => {
  const settings = { start: 1, every: 1, count: 2, freeze: 3 };
  const parameters = makeParameters([2, 2, 2, 2]);
  const freezing = new AdaptiveVectorFreezing(parameters, settings);
  // v2 moves most, then v0; v1 and v3 move equally, so v1 goes first.
  for (const [i, by] of [2, 1, 8, 1].entries()) {
    rewrite(item(parameters, i).value, (before, j) => (j === 0 ? before + by : before));
  }
  freezing.step(1);
  t.equal(freezing.frozen.join(), 'v2,v0,v1', 'the strongest first');
  const fresh = makeParameters([2, 2, 2, 2]);
  const resumed = new AdaptiveVectorFreezing(fresh, settings);
  resumed.loadState(structuredClone(freezing.state()));
  t.equal(resumed.frozen.join(), freezing.frozen.join(), 'and again');
  disposeParameters(parameters);
  disposeParameters(fresh);
});

interface Run {
  readonly layers: readonly AdaptedLinear[];
  readonly optimizer: AdamW;
  readonly freezing: AdaptiveVectorFreezing;
}

async function startRun(on: Bench, values?: readonly Float64Array[]): Promise<Run> {
  const { weight, factors, bias } = on;
  const layers = [
    await vectorFit(weight, { factors, bias, name: 'a' }),
    await svft(weight, { factors, bias, name: 'b', pattern: 'banded', offDiagonals: 1 }),
  ];
  const parameters = layers.flatMap((layer) => layer.parameters);
  for (const [i, { value }] of parameters.entries()) if (values) write(value, item(values, i));
  const optimizer = new AdamW(parameters, { lr: 0.03 });
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 3, every: 2, count: 4, freeze: 2, release: true });
  return { layers, optimizer, freezing };
}

function runSteps({ layers, optimizer, freezing }: Run, on: Bench, from: number, to: number): void {
  for (let step = from; step <= to; step++) {
    const [first, second] = [item(layers, 0), item(layers, 1)];
    const one = first.forward(on.x);
    const two = second.forward(one.y);
    // The loss is ‖y − dy‖² / 2.
    const error = two.y.dataSync().map((value, i) => value - at(on.dy.dataSync(), i));
    const gradient = real(error, two.y.shape, on.dtype);
    const hidden = two.backward(gradient);
    disposeAll(one.backward(hidden, { inputGrad: false }), one.y, one, two.y, two, hidden, gradient);
    optimizer.lrScale = 1 / step;
    optimizer.step();
    optimizer.zeroGrad();
    freezing.step(step);
  }
}

t.test('a resumed run equals an uninterrupted run', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    await expectNoLeak(t, 'resumed', async () => {
      using on = await bench(item(layerShapes, 0), dtype);
      const whole = await startRun(on);
      runSteps(whole, on, 1, 15);
      const parameters = whole.layers.flatMap((layer) => layer.parameters);
      // Before the first freeze, at a freeze, between two freezes, after the last, after the release.
      for (const pause of [1, 3, 6, 9, 10, 13]) {
        const begun = await startRun(on);
        runSteps(begun, on, 1, pause);
        const saved = structuredClone({
          values: begun.layers.flatMap((layer) => layer.parameters).map(({ value }) => snapshot(value)),
          optimizer: begun.optimizer.state(),
          freezing: begun.freezing.state(),
        });
        const frozen = begun.freezing.frozen;
        for (const layer of begun.layers) disposeLayer(layer);

        const resumed = await startRun(on, saved.values);
        resumed.optimizer.loadState(saved.optimizer);
        resumed.freezing.loadState(saved.freezing);
        t.same(resumed.freezing.frozen, frozen, `${dtype}, saved at ${pause}: who is frozen, in order`);
        runSteps(resumed, on, pause + 1, 15);
        const label = `${dtype}, saved at ${pause}`;
        for (const [i, { name, value, trainable }] of resumed.layers.flatMap((layer) => layer.parameters).entries()) {
          assertSameBits(t, value, item(parameters, i).value, `${label}: ${name}`);
          t.equal(trainable, item(parameters, i).trainable, `${label}: ${name} is trainable or not`);
        }
        t.same([...resumed.freezing.strengths], [...whole.freezing.strengths], `${label}: strengths`);
        t.same(resumed.freezing.state(), whole.freezing.state(), `${label}: the state`);
        for (const layer of resumed.layers) disposeLayer(layer);
      }
      for (const layer of whole.layers) disposeLayer(layer);
    });
  }
});

t.test('invalid states are refused', async (t) => {
  const settings = { start: 1, every: 1, count: 3, freeze: 1 };
  const parameters = makeParameters([2, 3]);
  const freezing = new AdaptiveVectorFreezing(parameters, settings);
  put(item(parameters, 1).value, 0, 9);
  freezing.step(1);
  const good = freezing.state() as { parameters: readonly Record<string, unknown>[] };
  const [first, second] = [item(good.parameters, 0), item(good.parameters, 1)];
  const other = { name: 'v0', initial: new Float64Array(2), strength: 3, frozen: true };
  const before = structuredClone(good);
  const refused: [string, unknown, ...string[]][] = [
    ['nothing', undefined],
    ['null', null],
    ['a number', 5],
    ['an array', [first, second]],
    ['no parameters', {}, 'parameters'],
    ['parameters that are no array', { parameters: { 0: first, 1: second, length: 2 } }, 'parameters'],
    ['too few', { parameters: [first] }, 'parameters', '2'],
    ['too many', { parameters: [first, second, second] }, 'parameters', '2'],
    ['another order', { parameters: [second, first] }, 'parameters[0].name', 'v0', 'v1'],
    ['no object', { parameters: [other, 5] }, 'parameters[1]'],
    ['null among them', { parameters: [other, null] }, 'parameters[1]'],
    ['another name', { parameters: [other, { ...second, name: 'w' }] }, 'parameters[1].name', 'v1', 'w'],
    ['no name', { parameters: [other, { ...second, name: undefined }] }, 'parameters[1].name'],
    ['another type', { parameters: [other, { ...second, initial: new Float32Array(3) }] }, 'parameters[1].initial'],
    ['another length', { parameters: [other, { ...second, initial: new Float64Array(2) }] }, 'parameters[1].initial'],
    ['a list', { parameters: [other, { ...second, initial: [1, 2, 3] }] }, 'parameters[1].initial'],
    ['a strength below 0', { parameters: [other, { ...second, strength: -1 }] }, 'parameters[1].strength', '-1'],
    ['a strength that is none', { parameters: [other, { ...second, strength: Number.NaN }] }, 'strength', 'NaN'],
    ['no strength', { parameters: [other, { ...second, strength: undefined }] }, 'parameters[1].strength'],
    ['frozen, a number', { parameters: [other, { ...second, frozen: 1 }] }, 'parameters[1].frozen', '1'],
    ['an optimiser', { optimizer: 'AdamW', lr: 1, lrScale: 1, parameters: [null, null] }, 'parameters[0]'],
  ];
  for (const [label, bad, ...parts] of refused) {
    throwsSigma(t, () => freezing.loadState(bad), 'INVALID_ARGUMENT', label, /loadState/, 'state', ...parts);
    t.same(freezing.state(), before, `${label}: nothing has changed`);
    t.same(
      parameters.map(({ trainable }) => trainable),
      [true, false],
      `${label}: nor who is trainable`,
    );
  }
  // loadState copies.
  const loaded = structuredClone(before) as { parameters: { initial: Float64Array }[] };
  freezing.loadState(loaded);
  item(loaded.parameters, 0).initial.fill(77);
  const told = freezing.state() as { parameters: { initial: Float64Array }[] };
  t.same(told, before, 'a state that is written after it was loaded');
  item(told.parameters, 0).initial.fill(77);
  t.same(freezing.state(), before, 'or after it was given');
  disposeParameters(parameters);
});

t.test('a non-finite vector is named in the error, and nothing changes', async (t) => {
  const parameters = makeParameters([3, 3, 3]);
  const freezing = new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 5, freeze: 1 });
  freezing.step(1);
  const before = [...freezing.strengths];
  for (const broken of [Number.NaN, Number.POSITIVE_INFINITY]) {
    put(item(parameters, 1).value, 2, broken);
    throwsSigma(t, () => freezing.step(2), 'NON_FINITE', String(broken), 'v1.value', String(broken));
    t.same([...freezing.strengths], before, 'strengths are what they were');
  }
  disposeParameters(parameters);
});

t.test('what the caller freezes stays frozen', async (t) => {
  const parameters = makeParameters([3, 3, 3]);
  const options = { start: 1, every: 1, count: 2, freeze: 1, release: true };
  const freezing = new AdaptiveVectorFreezing(parameters, options);
  const [first, second, third] = [item(parameters, 0), item(parameters, 1), item(parameters, 2)];
  put(first.value, 0, 100);
  freezing.step(1);
  third.trainable = false;
  put(second.value, 0, 1e6);
  freezing.step(2);
  const trainable = () => parameters.map((parameter) => parameter.trainable);
  t.same(trainable(), [true, false, false], 'freezing moves on to the second');
  freezing.step(7);
  t.same(trainable(), [true, true, false], 'release frees what was frozen here, at the first call from its step on');
  disposeParameters(parameters);
});

t.test('loadState restores which vectors are watched', async (t) => {
  const parameters = makeParameters([3, 3, 3]);
  const options = { start: 1, every: 1, count: 9, freeze: 1 };
  const freezing = new AdaptiveVectorFreezing(parameters, options);
  put(item(parameters, 1).value, 0, 50);
  freezing.step(1);
  const state = freezing.state();
  // On the same parameters, one of which is frozen now.
  const resumed = new AdaptiveVectorFreezing(parameters, options);
  resumed.loadState(state);
  put(item(parameters, 0).value, 0, 1e5);
  resumed.step(2);
  freezing.step(2);
  t.same([...resumed.strengths], [...freezing.strengths], 'all three are watched');
  t.same(resumed.frozen, ['v0'], 'and the second is free again');
  const strict = new AdaptiveVectorFreezing(parameters, { ...options, freeze: 0 });
  throwsSigma(t, () => strict.loadState(state), 'INVALID_ARGUMENT', 'more frozen than freeze says', 'freeze');
  disposeParameters(parameters);
});
