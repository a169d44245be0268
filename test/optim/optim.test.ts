import { AdamW, AdaptiveVectorFreezing, clipGradNorm, type Optimizer, type Parameter, type Real, Sgd } from 'sigmatune';
import t from 'tap';
import { dtypes } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  type Check,
  expectNoLeak,
  gaussian,
  item,
  seeded,
  snapshot,
  type Tolerance,
  throwsSigma,
} from '../support/helpers.js';
import { assign, disposeParameters, makeParameter, type OwnParameter } from '../support/parameters.js';
import * as reference from '../support/reference-optim.js';

/** Rounding of 300 steps in float32; in float64 PyTorch's trace is met to 1e-12. */
const traceTolerance: Readonly<Record<Real, Tolerance>> = {
  float32: { atol: 2e-6, rtol: 2e-6 },
  float64: { atol: 1e-13, rtol: 1e-12 },
};

interface Stepper {
  readonly value: Float64Array;
  step(gradient: ArrayLike<number>, lrScale?: number): void;
}

/** Two vectors over a long run. The second is frozen from step 100 to 180; the learning rate follows a schedule. */
function trace(
  t: Check,
  dtype: Real,
  label: string,
  make: (parameters: readonly Parameter[]) => Optimizer,
  model: (start: ArrayLike<number>) => Stepper,
): void {
  const random = seeded(3);
  const parameters = [makeParameter('a', random.normals(7), dtype), makeParameter('b', random.normals(33), dtype)];
  const models = parameters.map(({ value }) => model(snapshot(value)));
  const optimizer = make(parameters);
  let same = true;
  for (let step = 1; step <= 300; step++) {
    const second = item(parameters, 1);
    second.trainable = step < 100 || step > 180;
    const lrScale = 1 / Math.sqrt(step);
    optimizer.lrScale = lrScale;
    parameters.forEach((parameter, i) => {
      const gradient = random.normals(parameter.value.size, 1 + i);
      assign(parameter, gradient);
      if (parameter.trainable) item(models, i).step(snapshot(parameter.grad ?? []), lrScale);
    });
    const frozen = second.trainable ? undefined : snapshot(second.value);
    optimizer.step();
    if (frozen) same &&= frozen.every((value, i) => Object.is(value, at(second.value.dataSync(), i)));
  }
  t.ok(same, `${label}: a frozen vector does not move`);
  parameters.forEach(({ value, name }, i) => {
    assertClose(t, value, item(models, i).value, traceTolerance[dtype], `${label}: ${name} after 300 steps`);
  });
  disposeParameters(parameters);
}

const adamSettings: readonly Partial<reference.AdamWSettings>[] = [
  {},
  { lr: 0.05 },
  { lr: 0.01, weightDecay: 0 },
  { lr: 0.02, betas: [0.8, 0.95], eps: 1e-4, weightDecay: 0.3 },
  { lr: 0.01, betas: [0, 0] },
];
const sgdSettings = [
  {},
  { lr: 0.05 },
  { lr: 0.01, momentum: 0.9 },
  { lr: 0.02, momentum: 0.5, weightDecay: 0.1 },
  { lr: 0.02, weightDecay: 0.1 },
];

for (const dtype of dtypes) {
  t.test(`AdamW as PyTorch, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'AdamW', () => {
      for (const settings of adamSettings) {
        trace(
          t,
          dtype,
          JSON.stringify(settings),
          (p) => new AdamW(p, settings),
          (start) => new reference.ReferenceAdamW(start, settings),
        );
      }
    });
  });

  t.test(`SGD as PyTorch, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'SGD', () => {
      for (const settings of sgdSettings) {
        trace(
          t,
          dtype,
          JSON.stringify(settings),
          (p) => new Sgd(p, settings),
          (start) => new reference.ReferenceSgd(start, settings),
        );
      }
    });
  });
}

t.test('the first step of AdamW, by hand', async (t) => {
  // m̂ / √v̂ is the gradient's sign, so the step is lr · (sign + wd · p).
  const parameter = makeParameter('p', [1, -2], 'float64');
  assign(parameter, [0.5, -3]);
  const optimizer = new AdamW([parameter], { lr: 0.1, weightDecay: 0.01, eps: 0 });
  optimizer.step();
  assertClose(t, parameter.value, [1 - 0.1 * (1 + 0.01), -2 - 0.1 * (-1 - 0.02)], { atol: 1e-15, rtol: 0 }, 'one step');
  optimizer.zeroGrad();
  disposeParameters([parameter]);
});

type Groups = readonly { parameters: readonly Parameter[]; lr?: number; weightDecay?: number }[];

interface Kind {
  readonly name: string;
  readonly make: (groups: Groups) => Optimizer;
  /** An optimiser with state: it has taken steps. */
  readonly stateful: (groups: Groups) => Optimizer;
  readonly model: (start: ArrayLike<number>, settings: { lr: number; weightDecay: number }) => Stepper;
}

const kinds: readonly Kind[] = [
  {
    name: 'AdamW',
    make: (groups) => new AdamW(groups, { lr: 0.01, weightDecay: 0.1 }),
    stateful: (groups) => new AdamW(groups, { lr: 0.01, weightDecay: 0.1 }),
    model: (start, settings) => new reference.ReferenceAdamW(start, settings),
  },
  {
    name: 'Sgd',
    make: (groups) => new Sgd(groups, { lr: 0.01, weightDecay: 0.1 }),
    stateful: (groups) => new Sgd(groups, { lr: 0.01, momentum: 0.9 }),
    model: (start, settings) => new reference.ReferenceSgd(start, settings),
  },
];

for (const { name, make, stateful, model } of kinds) {
  t.test(`groups of ${name}`, async (t) => {
    const start = seeded(1).normals(5);
    const parameters = ['a', 'b', 'c'].map((label) => makeParameter(label, start, 'float64'));
    const [a, b, c] = [item(parameters, 0), item(parameters, 1), item(parameters, 2)];
    const optimizer = make([{ parameters: [a] }, { parameters: [b], lr: 0.3 }, { parameters: [c], weightDecay: 0 }]);
    t.equal(optimizer.lr, 0.01, 'the shared learning rate');
    t.equal(optimizer.lrScale, 1, 'lrScale is 1 at first');
    const models = [
      model(start, { lr: 0.01, weightDecay: 0.1 }),
      model(start, { lr: 0.3, weightDecay: 0.1 }),
      model(start, { lr: 0.01, weightDecay: 0 }),
    ];
    for (let step = 1; step <= 5; step++) {
      const gradient = seeded(step).normals(5);
      optimizer.lrScale = 1 / step;
      parameters.forEach((parameter, i) => {
        assign(parameter, gradient);
        item(models, i).step(gradient, 1 / step);
      });
      optimizer.step();
    }
    parameters.forEach(({ value, name: label }, i) => {
      assertClose(t, value, item(models, i).value, traceTolerance.float64, `group ${label}`);
    });

    optimizer.lrScale = 1;
    optimizer.lr = 0;
    const before = parameters.map(({ value }) => snapshot(value));
    optimizer.step();
    assertSameBits(t, a.value, before[0] ?? [], 'lr = 0 stops the groups that have none of their own');
    t.notSame(snapshot(b.value), before[1], 'a group with its own learning rate goes on');
    optimizer.zeroGrad();
    t.ok(
      parameters.every(({ grad }) => grad === null),
      'zeroGrad sets every gradient to null',
    );
    disposeParameters(parameters);
  });

  t.test(`parameters without a gradient, ${name}`, async (t) => {
    const start = seeded(2).normals(4);
    const parameters = [makeParameter('a', start, 'float64'), makeParameter('b', start, 'float64')];
    const [a, b] = [item(parameters, 0), item(parameters, 1)];
    const optimizer = make([{ parameters }]);
    assign(a, [1, 1, 1, 1]);
    optimizer.step();
    assertSameBits(t, b.value, start, 'no gradient, no step, no decay');
    assign(b, [1, 1, 1, 1]);
    a.grad?.dispose();
    a.grad = null;
    optimizer.step();
    assertSameBits(t, b.value, a.value, 'the step counts are apart');
    optimizer.zeroGrad();
    disposeParameters(parameters);
  });

  t.test(`${name} resumes bit for bit`, async (t) => {
    for (const dtype of dtypes) {
      const start = [seeded(5).normals(6), seeded(6).normals(3)];
      const gradients = Array.from({ length: 40 }, (_, step) =>
        start.map((data, i) => seeded(100 * step + i).normals(data.length)),
      );
      const run = (parameters: readonly Parameter[], optimizer: Optimizer, from: number, to: number): void => {
        for (let step = from; step < to; step++) {
          for (const [i, parameter] of parameters.entries()) assign(parameter, item(item(gradients, step), i));
          // The second vector is frozen for a while, including the time of saving.
          item(parameters, 1).trainable = step < 15 || step > 24;
          optimizer.step();
        }
      };
      const make2 = (data: readonly ArrayLike<number>[]): OwnParameter[] =>
        data.map((values, i) => makeParameter(`p${i}`, values, dtype));
      const unbroken = make2(start);
      const optimizer = stateful([{ parameters: unbroken }]);
      run(unbroken, optimizer, 0, 20);
      const values = unbroken.map(({ value }) => snapshot(value));
      const state = optimizer.state();
      const clone = structuredClone(state);
      run(unbroken, optimizer, 20, 40);

      for (const [label, saved] of [
        ['the snapshot', state],
        ['its structured clone', clone],
      ] as const) {
        const resumed = make2(values);
        const again = stateful([{ parameters: resumed }]);
        again.loadState(saved);
        run(resumed, again, 20, 40);
        resumed.forEach(({ value }, i) => {
          assertSameBits(t, value, item(unbroken, i).value, `${dtype}, ${label}: parameter ${i}`);
        });
        disposeParameters(resumed);
      }
      const fresh = make2(values);
      const without = stateful([{ parameters: fresh }]);
      run(fresh, without, 20, 40);
      t.notSame(snapshot(item(fresh, 0).value), snapshot(item(unbroken, 0).value), 'without its state the run differs');
      disposeParameters(fresh);
      disposeParameters(unbroken);
    }
  });

  t.test(`${name} refuses invalid states`, async (t) => {
    const parameters = [makeParameter('a', [1, 2, 3], 'float64')];
    const optimizer = stateful([{ parameters }]);
    assign(item(parameters, 0), [1, 2, 3]);
    optimizer.step();
    const other = [makeParameter('a', [1, 2, 3, 4], 'float64')];
    const foreign = stateful([{ parameters: other }]);
    assign(item(other, 0), [1, 2, 3, 4]);
    foreign.step();
    const two = [makeParameter('a', [1, 2, 3], 'float64'), makeParameter('b', [1], 'float64')];
    const more = stateful([{ parameters: two }]);
    for (const parameter of two) assign(parameter, snapshot(parameter.value));
    more.step();
    const before = JSON.stringify(optimizer.state());
    for (const [label, bad] of [
      ['null', null],
      ['undefined', undefined],
      ['a number', 7],
      ['an empty object', {}],
      ['an array', []],
      ['the state of a longer vector', foreign.state()],
      ['the state of more parameters', more.state()],
    ] as const) {
      throwsSigma(t, () => optimizer.loadState(bad), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'], label, 'state');
      t.equal(JSON.stringify(optimizer.state()), before, `${label}: the state stays`);
    }
    for (const list of [parameters, other, two]) disposeParameters(list);
  });
}

t.test('optimisers refuse invalid arguments', async (t) => {
  const parameter = makeParameter('a', [1, 2], 'float32');
  for (const options of [
    { lr: -1 },
    { lr: Number.NaN },
    { eps: -1 },
    { weightDecay: -0.1 },
    { betas: [1, 0.9] as const },
    { betas: [0.9, -0.1] as const },
  ]) {
    const [name = ''] = Object.keys(options);
    throwsSigma(t, () => new AdamW([parameter], options), 'INVALID_ARGUMENT', JSON.stringify(options), name);
  }
  for (const options of [{ lr: -1 }, { momentum: -0.5 }, { weightDecay: Number.NaN }]) {
    const [name = ''] = Object.keys(options);
    throwsSigma(t, () => new Sgd([parameter], options), 'INVALID_ARGUMENT', JSON.stringify(options), name);
  }
  throwsSigma(t, () => new AdamW(7 as unknown as Parameter[]), 'INVALID_ARGUMENT', 'no list', 'parameters');
  throwsSigma(t, () => new AdamW([{} as Parameter]), 'INVALID_ARGUMENT', 'no parameter', 'parameters');
  throwsSigma(t, () => new AdamW([parameter, parameter]), 'INVALID_ARGUMENT', 'one parameter twice', 'parameters');
  const optimizer = new AdamW([parameter], { lr: 0.1 });
  const before = snapshot(parameter.value);
  parameter.grad = gaussian(seeded(1), [3], 'float32');
  throwsSigma(t, () => optimizer.step(), 'SHAPE_MISMATCH', 'a gradient of another shape', 'a', '3', '2');
  assertSameBits(t, parameter.value, before, 'the value is left alone');
  parameter.grad.dispose();
  parameter.grad = gaussian(seeded(1), [2], 'float64');
  throwsSigma(t, () => optimizer.step(), 'DTYPE_MISMATCH', 'a gradient of another type', 'float64', 'float32');
  parameter.grad.dispose();
  throwsSigma(t, () => optimizer.step(), 'DISPOSED', 'a disposed gradient');
  parameter.grad = null;
  disposeParameters([parameter]);
});

t.test('a step only reads gradients', async (t) => {
  const parameter = makeParameter('a', [1, 2], 'float64');
  for (const optimizer of [new AdamW([parameter]), new Sgd([parameter], { momentum: 0.9, weightDecay: 0.5 })]) {
    assign(parameter, [3, 4]);
    const { grad } = parameter;
    optimizer.step();
    optimizer.step();
    t.equal(parameter.grad, grad, 'the same tensor');
    assertSameBits(t, grad ?? [], [3, 4], 'with the same numbers');
    optimizer.zeroGrad();
    t.ok(grad?.disposed, 'zeroGrad disposes it');
  }
  disposeParameters([parameter]);
});

t.test('a failed step changes nothing', async (t) => {
  const parameters = [makeParameter('a', [1, 2], 'float64'), makeParameter('b', [1, 2], 'float64')];
  for (const make of [() => new AdamW(parameters), () => new Sgd(parameters, { lr: 0.1, momentum: 0.9 })]) {
    const optimizer = make();
    assign(item(parameters, 0), [1, 1]);
    assign(item(parameters, 1), [1, 1, 1]);
    const before = parameters.map(({ value }) => snapshot(value));
    throwsSigma(t, () => optimizer.step(), 'SHAPE_MISMATCH', 'the second gradient is wrong');
    parameters.forEach(({ value }, i) => {
      assertSameBits(t, value, before[i] ?? [], `parameter ${i} stays`);
    });
    optimizer.zeroGrad();
  }
  disposeParameters(parameters);
});

t.test('a vector of more than one block of the kernel', async (t) => {
  // Blocks have 32,768 numbers. The second block must use its own moments.
  const random = seeded(8);
  const start = random.normals(40_000);
  const adamw = makeParameter('a', start, 'float64');
  const sgd = makeParameter('b', start, 'float64');
  const optimizers = [new AdamW([adamw]), new Sgd([sgd], { lr: 0.1, momentum: 0.9 })];
  const models = [new reference.ReferenceAdamW(start), new reference.ReferenceSgd(start, { lr: 0.1, momentum: 0.9 })];
  for (let step = 0; step < 3; step++) {
    const gradient = random.normals(start.length);
    for (const parameter of [adamw, sgd]) assign(parameter, gradient);
    for (const each of optimizers) each.step();
    for (const each of models) each.step(gradient);
  }
  assertClose(t, adamw.value, item(models, 0).value, traceTolerance.float64, 'AdamW');
  assertClose(t, sgd.value, item(models, 1).value, traceTolerance.float64, 'SGD');
  disposeParameters([adamw, sgd]);
});

for (const { name, stateful } of kinds) {
  t.test(`${name} restores every field of a state`, async (t) => {
    const parameters = [makeParameter('a', [1, 2, 3], 'float64')];
    const optimizer = stateful([{ parameters }]);
    optimizer.lr = 0.25;
    optimizer.lrScale = 0.5;
    assign(item(parameters, 0), [1, 2, 3]);
    optimizer.step();
    const state = optimizer.state() as { lr: number; parameters: { step: number }[] };
    const saved = structuredClone(state);
    const again = stateful([{ parameters }]);
    again.loadState(state);
    t.same([again.lr, again.lrScale], [0.25, 0.5], 'the rate and its scale');
    again.step();
    t.same(state, saved, 'later steps do not write into the snapshot');

    const single = [makeParameter('a', [1, 2, 3], 'float32')];
    const narrow = stateful([{ parameters: single }]);
    const before = narrow.state();
    throwsSigma(t, () => narrow.loadState(state), 'INVALID_ARGUMENT', 'moments of another type', 'Float32Array');
    for (const step of [-1, 0.5, Number.NaN]) {
      const bad = { ...state, parameters: [{ ...item(state.parameters, 0), step }] };
      throwsSigma(t, () => optimizer.loadState(bad), 'INVALID_ARGUMENT', `step ${step}`, 'step', String(step));
    }
    throwsSigma(t, () => optimizer.loadState({ ...state, lr: -1 }), 'INVALID_ARGUMENT', 'a negative rate', 'lr');
    t.same(narrow.state(), before, 'a refused state leaves the rate alone as well');
    for (const scale of [-1, Number.NaN]) {
      throwsSigma(
        t,
        () => {
          optimizer.lrScale = scale;
        },
        'INVALID_ARGUMENT',
        `a scale of ${scale}`,
        'lrScale',
      );
    }
    for (const list of [parameters, single]) disposeParameters(list);
  });
}

t.test('a custom parameter must have a boolean `trainable`', async (t) => {
  const { trainable: _, ...rest } = makeParameter('a', [1, 2], 'float32');
  const freezing = { start: 1, every: 1, count: 1, freeze: 0 };
  for (const trainable of [undefined, null, 0, 1, 'yes']) {
    const bad = { ...rest, ...(trainable !== undefined && { trainable }) } as unknown as Parameter;
    for (const [name, call] of [
      ['AdamW', () => new AdamW([bad])],
      ['Sgd', () => new Sgd([{ parameters: [bad] }], { lr: 0.1 })],
      ['AdaptiveVectorFreezing', () => new AdaptiveVectorFreezing([bad], freezing)],
      ['clipGradNorm', () => clipGradNorm([bad], 1)],
    ] as const) {
      throwsSigma(t, call, 'INVALID_ARGUMENT', `${name}, ${String(trainable)}`, 'trainable', 'a boolean');
    }
  }
  rest.value.dispose();
});

t.test('a state with momentum needs an optimiser with momentum, and the reverse', async (t) => {
  const make = (momentum: number): { optimizer: Sgd; parameter: OwnParameter } => {
    const parameter = makeParameter('a', [1, 2], 'float64');
    const optimizer = new Sgd([parameter], { lr: 0.1, momentum });
    assign(parameter, [1, -1]);
    optimizer.step();
    return { optimizer, parameter };
  };
  const [with1, without, with2] = [make(0.9), make(0), make(0.5)];
  for (const [label, from, to] of [
    ['a state with momentum', with1, without],
    ['a state without', without, with1],
  ] as const) {
    const before = structuredClone(to.optimizer.state());
    const load = () => to.optimizer.loadState(from.optimizer.state());
    throwsSigma(t, load, 'INVALID_ARGUMENT', label, 'state', 'momentum', 'arrays');
    t.same(to.optimizer.state(), before, `${label}: is not taken in part`);
  }
  with2.optimizer.loadState(with1.optimizer.state());
  t.same(with2.optimizer.state(), with1.optimizer.state(), 'another momentum is no other form');
  disposeParameters([with1.parameter, without.parameter, with2.parameter]);
});
