/** Steps, clipping and freezing are all or nothing; numbers near overflow and underflow. */
import {
  AdamW,
  AdaptiveVectorFreezing,
  clipGradNorm,
  cosineSchedule,
  linearSchedule,
  type Optimizer,
  type Parameter,
  type Real,
  Sgd,
  type Tensor,
  tensor,
} from 'sigmatune';
import t from 'tap';
import {
  assertSameBits,
  at,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  item,
  real,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { assign, disposeParameters, makeParameter } from '../support/parameters.js';

type Loose = { -readonly [K in keyof Parameter]: Parameter[K] };

const loose = (name: string, data: ArrayLike<number>, dtype: Real = 'float64'): Loose =>
  makeParameter(name, data, dtype);

const makers: readonly (readonly [string, (parameters: readonly Parameter[]) => Optimizer])[] = [
  ['AdamW', (parameters) => new AdamW(parameters, { lr: 0.1 })],
  ['Sgd', (parameters) => new Sgd(parameters, { lr: 0.1, momentum: 0.9 })],
];

for (const [kind, make] of makers) {
  t.test(`a step of ${kind} that refuses the last parameter changes none`, async (t) => {
    const begun = (): { parameters: Loose[]; optimizer: Optimizer } => {
      const parameters = ['a', 'b'].map((name) => loose(name, [1, 2, 3, 4]));
      for (const parameter of parameters) assign(parameter, [1, 1, 1, 1]);
      const optimizer = make(parameters);
      optimizer.step();
      return { parameters, optimizer };
    };
    const faults: Record<string, (last: Loose) => void> = {
      'a value of another size': (last) => {
        last.value = real([1, 2], [2], 'float64');
        last.grad = real([1, 2], [2], 'float64');
      },
      'a value of another type': (last) => {
        last.value = real([1, 2, 3, 4], [4], 'float32');
        last.grad = real([1, 2, 3, 4], [4], 'float32');
      },
      'a gradient of another shape': (last) => {
        last.grad = real([1, 2, 3, 4], [2, 2], 'float64');
      },
      'a gradient that is none': (last) => {
        last.grad = [1, 1, 1, 1] as unknown as Tensor;
      },
      'the gradient 0': (last) => {
        last.grad = 0 as unknown as Tensor;
      },
      'its value as its gradient': (last) => {
        last.grad = last.value;
      },
      'a disposed gradient': (last) => last.grad?.dispose(),
      'a disposed value': (last) => last.value.dispose(),
      'a getter that throws': (last) => {
        Object.defineProperty(last, 'grad', {
          get: () => {
            throw new Error('a getter');
          },
        });
      },
    };
    for (const [label, spoil] of Object.entries(faults)) {
      const { parameters, optimizer } = begun();
      const first = item(parameters, 0);
      const owned = parameters.flatMap(({ value, grad }) => [value, grad]);
      const before = snapshot(first.value);
      const state = structuredClone(optimizer.state());
      const last = item(parameters, 1);
      spoil(last);
      t.throws(() => optimizer.step(), label);
      assertSameBits(t, first.value, before, `${label}: the first value stays`);
      t.same(optimizer.state(), state, `${label}: so do the moments`);
      if (label !== 'a getter that throws') {
        for (const each of [last.value, last.grad]) {
          if (typeof each === 'object' && each !== null && 'dispose' in each) each.dispose();
        }
      }
      disposeAll(...owned);
    }
  });

  t.test(`a getter that disposes, steps or swaps during a step of ${kind}`, async (t) => {
    await expectNoLeak(t, kind, () => {
      const [a, b] = [loose('a', [1, 2]), loose('b', [1, 2])];
      assign(a, [1, 1]);
      const gradient = real([1, 1], [2], 'float64');
      let act = () => {};
      Object.defineProperty(b, 'grad', {
        get: () => {
          act();
          return gradient;
        },
      });
      const optimizer = make([a, b]);
      const before = snapshot(a.value);
      act = () => a.grad?.dispose();
      throwsSigma(t, () => optimizer.step(), 'DISPOSED', 'the first gradient is disposed meanwhile', 'a.grad');
      assertSameBits(t, a.value, before, 'nothing moved');
      assign(a, [1, 1]);
      act = () => {
        act = () => {};
        optimizer.step();
      };
      optimizer.step();
      const steps = (optimizer.state() as { parameters: { step: number }[] }).parameters.map(({ step }) => step);
      t.same(steps, [2, 2], 'a step within a step counts as one before it');
      disposeAll(a.value, a.grad, b.value, gradient);
    });
  });

  t.test(`zeroGrad of ${kind} accepts only tensors and null`, async (t) => {
    const [a, b] = [loose('a', [1, 2]), loose('b', [1, 2])];
    const optimizer = make([a, b]);
    for (const bad of [0, false, '', [1, 2], new Float32Array(2), { dispose: () => {} }, new Proxy(a.value, {})]) {
      assign(a, [1, 1]);
      const { grad } = a;
      b.grad = bad as unknown as Tensor;
      throwsSigma(t, () => optimizer.zeroGrad(), 'INVALID_ARGUMENT', 'no tensor', 'b.grad', 'a Tensor or null');
      t.ok(a.grad === grad && !grad?.disposed, 'the first gradient stays');
    }
    b.grad = undefined as unknown as null;
    optimizer.zeroGrad();
    t.same([a.grad, b.grad], [null, null], 'a missing gradient is none');
    disposeAll(a.value, b.value);
  });

  t.test(`a setter of grad that throws leaves the gradient of ${kind} live`, async (t) => {
    const a = makeParameter('a', [1, 2], 'float64');
    const grad = real([1, 1], [2], 'float64');
    const stubborn = {
      name: 'a',
      value: a.value,
      trainable: true,
      get grad(): Tensor {
        return grad;
      },
      set grad(_: Tensor | null) {
        throw new Error('a setter');
      },
    };
    const optimizer = make([stubborn]);
    t.throws(() => optimizer.zeroGrad(), { message: 'a setter' });
    t.notOk(grad.disposed);
    disposeAll(grad, a.value);
  });

  t.test(`${kind} refuses parameters that share memory`, { skip: cpuOnly }, async (t) => {
    const whole = tensor([1, 2, 3, 4], [4], { dtype: 'float64' });
    const flat = whole.dataSync();
    const part = (name: string, from: number, to: number): Parameter => {
      const value = tensor(flat.subarray(from, to), [to - from], { dtype: 'float64' });
      return { name, value, grad: null, trainable: true };
    };
    const twice = { name: 'twice', value: whole.reshape([2, 2]), grad: null, trainable: true };
    const one = { name: 'one', value: whole, grad: null, trainable: true };
    throwsSigma(t, () => make([one, twice]), 'INVALID_ARGUMENT', 'one memory twice', 'one', 'twice');
    const apart = [part('a', 0, 2), part('b', 2, 4)];
    make(apart).step();
    disposeAll(twice.value, whole, ...apart.map(({ value }) => value));
  });
}

t.test('factors that overflow float32', async (t) => {
  const single = makeParameter('single', [1, 2], 'float32');
  const double = makeParameter('double', [1, 2], 'float64');
  for (const [name, make] of [
    ['lr', () => new AdamW([single], { lr: 1e39 })],
    ['lr', () => new Sgd([double, single], { lr: 1e39 })],
    ['lr', () => new Sgd([{ parameters: [double] }, { parameters: [single], lr: 1e39 }])],
    ['eps', () => new AdamW([single], { eps: 1e39 })],
    ['weightDecay', () => new AdamW([single], { weightDecay: 1e39 })],
    ['weightDecay', () => new Sgd([{ parameters: [single], weightDecay: 1e39 }])],
    ['momentum', () => new Sgd([single], { momentum: 1e39 })],
  ] as const) {
    throwsSigma(t, make, 'INVALID_ARGUMENT', name, name, 'float32');
  }
  const state = new Sgd([makeParameter('single', [1, 2], 'float64')], { lr: 1e39 }).state();
  throwsSigma(t, () => new Sgd([single]).loadState(state), 'INVALID_ARGUMENT', 'in a state', 'state.lr', 'float32');
  new Sgd([double], { lr: 1e39 });
  for (const make of [
    (list: Parameter[]) => new AdamW(list, { lr: 1e30, weightDecay: 0 }),
    (list: Parameter[]) => new Sgd(list, { lr: 1e30 }),
  ]) {
    const optimizer = make([double, single]);
    for (const parameter of [double, single]) assign(parameter, [1, -1]);
    const before = [double, single].map(({ value }) => snapshot(value));
    optimizer.lrScale = 1e20;
    throwsSigma(t, () => optimizer.step(), 'INVALID_ARGUMENT', 'lr × lrScale', 'lr', 'lrScale', 'single', '1e+30');
    [double, single].forEach(({ value }, i) => {
      assertSameBits(t, value, item(before, i), 'nothing moved');
    });
    optimizer.lrScale = 0;
    optimizer.step();
    optimizer.lrScale = 1e-80;
    optimizer.step();
    [double, single].forEach(({ value }, i) => {
      assertSameBits(t, value, item(before, i), 'a rate that rounds to 0 moves nothing');
    });
  }
  const decayed = new AdamW([single], { lr: 1e20, weightDecay: 1e20 });
  throwsSigma(t, () => decayed.step(), 'INVALID_ARGUMENT', 'lr × weight decay', 'lr', 'weight decay');
  const slow = new AdamW([single], { lr: 1e38, betas: [0.99999, 0.999], weightDecay: 0 });
  throwsSigma(t, () => slow.step(), 'INVALID_ARGUMENT', 'with the bias correction', 'lr', 'bias correction');
  disposeParameters([single, double]);
});

t.test('a step of AdamW has the size of the learning rate for gradients of any size', async (t) => {
  const sizes: Readonly<Record<Real, readonly number[]>> = {
    float32: [1, 1e15, 1e20, 1e30, 3e38, 1e-15, 1e-20, 1e-25],
    float64: [1, 1e150, 1e160, 1e200, 1e308, 1e-150, 1e-170, 1e-200],
  };
  for (const dtype of ['float32', 'float64'] as const) {
    for (const eps of [0, dtype === 'float32' ? 1e-50 : 1e-300]) {
      for (const steps of [1, 20]) {
        // Each size alone, and next to every other size, over more than one vector register.
        const lists = [sizes[dtype], ...sizes[dtype].map((each) => [each])];
        for (const list of lists) {
          const gradient = Array.from({ length: 5 }, () => list).flat();
          const parameter = makeParameter('a', new Float64Array(gradient.length), dtype);
          const optimizer = new AdamW([parameter], { lr: 0.125, eps, weightDecay: 0 });
          for (let step = 0; step < steps; step++) {
            assign(
              parameter,
              gradient.map((each, i) => (i % 2 ? -each : each)),
            );
            optimizer.step();
          }
          const off = snapshot(parameter.value).map((value, i) => Math.abs(value + (i % 2 ? -0.125 : 0.125) * steps));
          t.ok(Math.max(...off) < 1e-4 * steps, `${dtype}, eps ${eps}, ${steps} steps, ${list.length} sizes`);
          disposeParameters([parameter]);
        }
      }
    }
    const still = makeParameter('a', [1, 2, 3], dtype);
    assign(still, [0, 0, 1]);
    const optimizer = new AdamW([still], { lr: 0.5, eps: 0, weightDecay: 0 });
    optimizer.step();
    assertSameBits(
      t,
      snapshot(still.value).subarray(0, 2),
      [1, 2],
      `${dtype}: without a gradient nothing moves, 0 / 0`,
    );
    for (const bad of [Number.NaN, Infinity]) {
      assign(still, [0, bad, 0]);
      optimizer.step();
      t.ok(Number.isNaN(at(snapshot(still.value), 1)), `${dtype}: ${bad} is not hidden`);
      t.ok(Number.isFinite(at(snapshot(still.value), 0)), `${dtype}: nor does it spread`);
    }
    disposeParameters([still]);
  }
});

t.test('a second moment recovers from one huge gradient', async (t) => {
  const parameter = makeParameter('a', [0], 'float32');
  const optimizer = new AdamW([parameter], { lr: 0.1, betas: [0.5, 0.5], weightDecay: 0 });
  assign(parameter, [1e30]);
  optimizer.step();
  for (let step = 0; step < 300; step++) {
    assign(parameter, [1]);
    optimizer.step();
  }
  const before = at(snapshot(parameter.value), 0);
  optimizer.step();
  t.ok(Math.abs(at(snapshot(parameter.value), 0) - before + 0.1) < 1e-4, 'it moves by the learning rate again');
  disposeParameters([parameter]);
});

// ── clipping ─────────────────────────────────────────────────────────────────────────────────────────────

t.test('norms whose squares overflow or underflow float64', async (t) => {
  for (const size of [1e200, 1e300, 1e-200, 1e-310, 5e-324]) {
    const parameters = [makeParameter('a', [0, 0, 0], 'float64'), makeParameter('b', [0], 'float64')];
    for (const parameter of parameters) assign(parameter, new Float64Array(parameter.value.size).fill(size));
    const norm = clipGradNorm(parameters, 1);
    t.ok(Math.abs(norm / (2 * size) - 1) < 1e-12, `${size}: the norm is ${norm}`);
    const wanted = 2 * size > 1 ? 0.5 : size;
    for (const { grad } of parameters) {
      for (const value of snapshot(grad ?? []))
        t.ok(Math.abs(value / wanted - 1) < 1e-6, `${size}: scaled to ${value}`);
    }
    disposeParameters(parameters);
  }
  const single = makeParameter('a', [0, 0], 'float32');
  assign(single, [3e38, -3e38]);
  t.ok(Math.abs(clipGradNorm([single], 1) / (3e38 * Math.SQRT2) - 1) < 1e-6, 'float32: a norm beyond float32');
  t.ok(Math.abs(at(snapshot(single.grad ?? []), 0) - Math.SQRT1_2) < 1e-6, 'float32: scaled');
  disposeParameters([single]);
});

t.test('a non-finite norm changes no gradient', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    for (const [bad, wanted] of [
      [Number.NaN, Number.NaN],
      [Infinity, Infinity],
      [-Infinity, Infinity],
    ] as const) {
      const parameters = [makeParameter('a', [0, 0], dtype), makeParameter('b', [0, 0], dtype)];
      assign(item(parameters, 0), [3, 4]);
      assign(item(parameters, 1), [bad, 1]);
      t.ok(Object.is(clipGradNorm(parameters, 1), wanted), `${dtype}, ${bad}: the norm is told`);
      assertSameBits(t, item(parameters, 0).grad ?? [], [3, 4], `${dtype}, ${bad}: the others stay`);
      assertSameBits(t, item(parameters, 1).grad ?? [], [bad, 1], `${dtype}, ${bad}: so does it`);
      disposeParameters(parameters);
    }
  }
  const most = makeParameter('a', [0, 0, 0, 0], 'float64');
  assign(most, new Float64Array(4).fill(1.5e308));
  t.equal(clipGradNorm([most], 1), Infinity, 'a norm beyond float64');
  assertSameBits(t, most.grad ?? [], new Float64Array(4).fill(1.5e308), 'leaves finite gradients alone too');
  disposeParameters([most]);
});

t.test('clipGradNorm with maximum Infinity only measures', async (t) => {
  const parameter = makeParameter('a', [0, 0], 'float64');
  for (const gradient of [
    [3, 4],
    [0, 0],
    [Infinity, 1],
  ] as const) {
    assign(parameter, gradient);
    t.equal(clipGradNorm([parameter], Infinity), Math.hypot(...gradient));
    assertSameBits(t, parameter.grad ?? [], gradient, 'nothing changes');
  }
  for (const bad of [Number.NaN, -1, -Infinity, undefined, null, '1']) {
    const call = () => clipGradNorm([parameter], bad as number);
    throwsSigma(t, call, 'INVALID_ARGUMENT', String(bad), 'maximum', 'Infinity');
  }
  disposeParameters([parameter]);
});

t.test('clipGradNorm that refuses one gradient scales none', async (t) => {
  const [a, b] = [loose('a', [0, 0]), loose('b', [0, 0])];
  for (const bad of [0, [1, 2], real([1], [1], 'float64'), real([1, 1], [2], 'float32')]) {
    assign(a, [30, 40]);
    b.grad = bad as unknown as Tensor;
    throwsSigma(t, () => clipGradNorm([a, b], 1), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH', 'DTYPE_MISMATCH'], 'bad', 'b');
    assertSameBits(t, a.grad ?? [], [30, 40], 'the first stays');
    if (typeof bad === 'object' && 'dispose' in bad) bad.dispose();
  }
  b.grad = null;
  throwsSigma(t, () => clipGradNorm([a, a], 1), 'INVALID_ARGUMENT', 'a gradient twice would be scaled twice', 'a');
  b.grad = a.grad;
  throwsSigma(t, () => clipGradNorm([a, b], 1), 'INVALID_ARGUMENT', 'so would a shared one', 'a', 'b');
  assertSameBits(t, a.grad ?? [], [30, 40], 'it stays');
  b.grad = null;
  const holed: Parameter[] = [a];
  holed[2] = b;
  throwsSigma(t, () => clipGradNorm(holed, 1), 'INVALID_ARGUMENT', 'a hole', 'parameters[1]');
  throwsSigma(t, () => new Sgd(holed), 'INVALID_ARGUMENT', 'a hole', 'parameters[1]');
  disposeParameters([a, b]);
});

// ── schedules ────────────────────────────────────────────────────────────────────────────────────────────

t.test('schedules are 0 from `total`, and accept any step', async (t) => {
  for (const [warmup, total] of [
    [10, 10],
    [1, 1],
    [0, 1],
    [3, 10],
  ] as const) {
    for (const schedule of [linearSchedule({ warmup, total }), cosineSchedule({ warmup, total })]) {
      for (const step of [total, total + 0.5, total + 1, 10 * total, 2 ** 60]) t.equal(schedule(step), 0);
      for (let step = 0; step < total; step += 0.25) {
        const value = schedule(step);
        t.ok(value >= 0 && value <= 1 && (value > 0 || step === 0), `step ${step} of ${total}: ${value}`);
      }
      for (const bad of [Number.NaN, -1, -0.5, Infinity, undefined, '1']) {
        throwsSigma(t, () => schedule(bad as number), 'INVALID_ARGUMENT', String(bad), 'step');
      }
    }
  }
});

// ── freezing ─────────────────────────────────────────────────────────────────────────────────────────────

const every = { start: 1, every: 1, count: 5, beta: 0 };

t.test('a failed freezing step changes neither strengths nor parameters', async (t) => {
  const parameters = ['a', 'b', 'c'].map((name) => loose(name, [1, 2]));
  const [a, , c] = parameters as [Loose, Loose, Loose];
  const freezing = new AdaptiveVectorFreezing(parameters, { ...every, freeze: 1 });
  a.value.assign([5, 2]);
  freezing.step(1);
  const state = structuredClone(freezing.state());
  const trainable = parameters.map((each) => each.trainable);
  const check = (label: string, code: Parameters<typeof throwsSigma>[2] | null, ...parts: string[]): void => {
    if (code === null) t.throws(() => freezing.step(2), label);
    else throwsSigma(t, () => freezing.step(2), code, label, ...parts);
    t.same(freezing.state(), state, `${label}: strengths stay`);
    t.same(
      parameters.map((each) => each.trainable),
      trainable,
      `${label}: parameters stay`,
    );
  };
  const { value } = c;
  for (const bad of [Number.NaN, Infinity]) {
    value.assign([bad, 2]);
    check(`${bad} in a vector`, 'NON_FINITE', 'c.value', String(bad));
  }
  value.assign([100, 2]);
  c.value = real([1, 2, 3], [3], 'float64');
  check('another size', 'SHAPE_MISMATCH', 'c.value', '2', '3');
  c.value.dispose();
  check('a disposed value', 'DISPOSED', 'c.value');
  c.value = value;
  let locked = true;
  let flag: boolean = c.trainable;
  Object.defineProperty(c, 'trainable', {
    get: () => flag,
    set: (next: boolean) => {
      if (locked) throw new Error('a setter');
      flag = next;
    },
  });
  check('a setter that throws', null);
  locked = false;
  freezing.step(2);
  t.same(freezing.frozen, ['c'], 'and goes on afterwards');
  disposeParameters(parameters);
});

t.test('construction names a non-finite vector in the error', async (t) => {
  for (const bad of [Number.NaN, -Infinity]) {
    const parameters = [loose('a', [1, 2]), loose('b', [bad, 2])];
    const make = () => new AdaptiveVectorFreezing(parameters, { ...every, freeze: 1 });
    throwsSigma(t, make, 'NON_FINITE', String(bad), 'b.value', String(bad));
    disposeParameters(parameters);
  }
});

t.test('distances whose sum overflows float64 have a mean', async (t) => {
  const parameters = [loose('a', [0, 0, 0, 0]), loose('b', [0, 0, 0, 0])];
  const freezing = new AdaptiveVectorFreezing(parameters, { ...every, freeze: 1 });
  item(parameters, 1).value.assign([1e308, 1e308, 1e308, 1e308]);
  freezing.step(1);
  t.same(freezing.frozen, ['b']);
  t.ok(Math.abs((freezing.strengths.get('b') ?? 0) / 1e308 - 1) < 1e-12);
  disposeParameters(parameters);
});

t.test('loadState of freezing leaves what the caller froze, and is all or nothing', async (t) => {
  const parameters = ['a', 'b', 'c'].map((name) => loose(name, [1, 2]));
  const [a, b, c] = parameters as [Loose, Loose, Loose];
  const freezing = new AdaptiveVectorFreezing(parameters, { ...every, freeze: 1 });
  const fresh = structuredClone(freezing.state());
  a.value.assign([5, 2]);
  freezing.step(1);
  const later = structuredClone(freezing.state()) as { parameters: { name: string; initial: Float64Array }[] };
  b.trainable = false;
  freezing.loadState(fresh);
  t.same([a.trainable, b.trainable, c.trainable], [true, false, true], 'b stays frozen, a is freed');
  freezing.loadState(later);
  t.same([a.trainable, b.trainable, c.trainable], [false, false, true], 'and a frozen again');
  const now = structuredClone(freezing.state());
  for (const initial of [new Float64Array(3), new Float32Array(2), [1, 2], new Float64Array([Number.NaN, 1])]) {
    const bad = { parameters: later.parameters.map((each) => (each.name === 'c' ? { ...each, initial } : each)) };
    throwsSigma(t, () => freezing.loadState(bad), ['INVALID_ARGUMENT', 'NON_FINITE'], 'a bad v0', 'initial');
    t.same(freezing.state(), now, 'nothing was taken');
  }
  disposeParameters(parameters);
});

t.test("freezing uses the names at construction, even if a parameter's name changes", async (t) => {
  const parameters = ['a', 'b'].map((name) => loose(name, [1, 2]));
  const freezing = new AdaptiveVectorFreezing(parameters, { ...every, freeze: 1 });
  item(parameters, 1).name = 'a';
  item(parameters, 1).value.assign([9, 2]);
  freezing.step(1);
  t.same(freezing.frozen, ['b']);
  t.same([...freezing.strengths.keys()], ['a', 'b']);
  t.same(
    parameters.map(({ trainable }) => trainable),
    [true, false],
  );
  disposeParameters(parameters);
});
