/** States of optimisers: matched by name, with hyperparameters, all or nothing. */
import { AdamW, type AdamWOptions, type Optimizer, type Parameter, Sgd, type SgdOptions } from 'sigmatune';
import t from 'tap';
import { assertClose, assertSameBits, item, real, seeded, snapshot, throwsSigma } from '../support/helpers.js';
import { assign, disposeParameters, makeParameter, type OwnParameter } from '../support/parameters.js';

type Groups = readonly { parameters: readonly Parameter[]; lr?: number; weightDecay?: number }[];

interface Kind {
  readonly name: string;
  readonly make: (groups: Groups, options?: AdamWOptions & SgdOptions) => Optimizer;
}

const kinds: readonly Kind[] = [
  { name: 'AdamW', make: (groups, options) => new AdamW(groups, options) },
  { name: 'Sgd', make: (groups, options) => new Sgd(groups, { momentum: 0.9, ...options }) },
];

const named = (names: readonly string[], sizes: readonly number[], dtype: 'float32' | 'float64' = 'float64') =>
  names.map((name, i) => makeParameter(name, seeded(20 + i).normals(item(sizes, i)), dtype));

function stepAll(parameters: readonly OwnParameter[], optimizer: Optimizer, seeds: Record<string, number>): void {
  for (const parameter of parameters) {
    assign(parameter, seeded(seeds[parameter.name] ?? 1).normals(parameter.value.size));
  }
  optimizer.step();
}

for (const { name, make } of kinds) {
  t.test(`${name} restores moments by name, in any order of the parameters`, async (t) => {
    const names = ['layer0.m', 'layer1.m', 'layer2.m'];
    const seeds = { 'layer0.m': 5, 'layer1.m': 6, 'layer2.m': 7 };
    const parameters = named(names, [3, 3, 3]);
    const optimizer = make([{ parameters }]);
    stepAll(parameters, optimizer, seeds);
    const others = named(names, [3, 3, 3]);
    for (const [i, { value }] of others.entries()) value.assign(snapshot(item(parameters, i).value));
    const again = make([{ parameters: [item(others, 2), item(others, 0), item(others, 1)] }]);
    again.loadState(structuredClone(optimizer.state()));
    stepAll(parameters, optimizer, seeds);
    stepAll(others, again, seeds);
    others.forEach(({ value }, i) => {
      assertSameBits(t, value, item(parameters, i).value, `${names[i]} goes on as it was`);
    });
    for (const list of [parameters, others]) disposeParameters(list);
  });

  t.test(`${name} names the parameter for which a state does not fit`, async (t) => {
    const [pair] = [named(['a', 'b'], [3, 2])];
    const optimizer = make([{ parameters: pair }]);
    for (const stepped of [false, true]) {
      if (stepped) stepAll(pair, optimizer, {});
      const state = optimizer.state();
      for (const [label, other, ...parts] of [
        ['another name', named(['a', 'c'], [3, 2]), 'c'],
        ['one more', named(['a', 'b', 'extra'], [3, 2, 1]), 'extra'],
        ['one less', named(['b'], [2]), 'a'],
        ['another size', named(['a', 'b'], [3, 4]), 'b', '4'],
        ['another type', named(['a', 'b'], [3, 2], 'float32'), 'a', 'float32'],
      ] as const) {
        const fresh = make([{ parameters: other }]);
        const before = structuredClone(fresh.state());
        throwsSigma(t, () => fresh.loadState(state), 'INVALID_ARGUMENT', `${label}, stepped: ${stepped}`, ...parts);
        t.same(fresh.state(), before, `${label}: nothing was taken`);
        disposeParameters(other);
      }
    }
    disposeParameters(pair);
  });

  t.test(`${name} matches duplicate names by position`, async (t) => {
    const parameters = named(['m', 'gate', 'm', 'gate'], [4, 1, 3, 1]);
    const optimizer = make([{ parameters }]);
    stepAll(parameters, optimizer, { m: 3, gate: 4 });
    const state = structuredClone(optimizer.state());
    const same = named(['m', 'gate', 'm', 'gate'], [4, 1, 3, 1]);
    const again = make([{ parameters: same }]);
    again.loadState(state);
    t.same(again.state(), optimizer.state(), 'the same order is taken');
    const swapped = named(['m', 'gate', 'm', 'gate'], [3, 1, 4, 1]);
    throwsSigma(
      t,
      () => make([{ parameters: swapped }]).loadState(state),
      'INVALID_ARGUMENT',
      'sizes differ',
      'm',
      '3',
    );
    const mixed = named(['m', 'm', 'gate', 'gate'], [4, 3, 1, 1]);
    throwsSigma(t, () => make([{ parameters: mixed }]).loadState(state), 'INVALID_ARGUMENT', 'names differ', 'gate');
    for (const list of [parameters, same, swapped, mixed]) disposeParameters(list);
  });

  t.test(`a state of ${name} has the hyperparameters`, async (t) => {
    const parameters = named(['a', 'b'], [3, 2]);
    const groups = (list: readonly Parameter[], lr: number, weightDecay: number) => [
      { parameters: list.slice(0, 1), lr },
      { parameters: list.slice(1), weightDecay },
    ];
    const first = make(groups(parameters, 0.3, 0.2), { lr: 0.1, weightDecay: 0.05 });
    stepAll(parameters, first, { a: 1, b: 2 });
    const others = named(['a', 'b'], [3, 2]);
    for (const [i, { value }] of others.entries()) value.assign(snapshot(item(parameters, i).value));
    const options = name === 'AdamW' ? { betas: [0.5, 0.5] as const, eps: 1 } : { momentum: 0.5 };
    const second = make(groups(others, 0.01, 0), { lr: 1, weightDecay: 0.7, ...options });
    second.loadState(structuredClone(first.state()));
    t.same(second.state(), first.state(), 'all of them are taken');
    stepAll(parameters, first, { a: 3, b: 4 });
    stepAll(others, second, { a: 3, b: 4 });
    others.forEach(({ value }, i) => {
      assertSameBits(t, value, item(parameters, i).value, 'the run goes on as it was');
    });
    for (const list of [parameters, others]) disposeParameters(list);
  });
}

t.test('a state without names (version 0.1) is matched by position if sizes agree', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    const make = () => named(['a', 'b'], [3, 2], dtype);
    const parameters = make();
    const optimizer = new AdamW(parameters, { lr: 0.1 });
    stepAll(parameters, optimizer, { a: 1, b: 2 });
    const {
      lr,
      lrScale,
      parameters: saved,
    } = optimizer.state() as {
      lr: number;
      lrScale: number;
      parameters: { step: number; arrays: { m: Float32Array; rms: Float32Array } }[];
    };
    // Version 0.1 stored the mean of squares.
    const entries = saved.map(({ step, arrays: { m, rms } }) => ({ step, m, v: rms.map((each) => each ** 2) }));
    const old = { optimizer: 'AdamW', lr, lrScale, parameters: [item(entries, 0), null] };
    const others = make();
    for (const [i, { value }] of others.entries()) value.assign(snapshot(item(parameters, i).value));
    const again = new AdamW(others, { lr: 0.7, betas: [0.9, 0.999] });
    again.loadState(old);
    t.equal(again.lr, 0.1, 'the learning rate');
    stepAll(parameters, optimizer, { a: 3, b: 4 });
    stepAll(others, again, { a: 3, b: 4 });
    const tolerance = dtype === 'float32' ? { atol: 1e-6, rtol: 1e-6 } : { atol: 1e-14, rtol: 1e-14 };
    assertClose(t, item(others, 0).value, item(parameters, 0).value, tolerance, `${dtype}: goes on as it was`);
    t.notSame(snapshot(item(others, 1).value), snapshot(item(parameters, 1).value), 'null starts with zero moments');
    const swapped = make().toReversed();
    throwsSigma(t, () => new AdamW(swapped).loadState(old), 'INVALID_ARGUMENT', 'sizes differ', 'b', '2');
    throwsSigma(t, () => new AdamW(swapped.slice(1)).loadState(old), 'INVALID_ARGUMENT', 'one less', 'parameters');
    for (const list of [parameters, others, swapped]) disposeParameters(list);
  }
});

t.test('momentum in the settings is refused without arrays of momentum', async (t) => {
  const parameters = named(['a'], [2]);
  const [withIt, without] = [new Sgd(parameters, { momentum: 0.9 }), new Sgd(parameters)];
  throwsSigma(t, () => without.loadState(withIt.state()), 'INVALID_ARGUMENT', 'none here', 'momentum', '0.9');
  throwsSigma(t, () => withIt.loadState(without.state()), 'INVALID_ARGUMENT', 'none there', 'momentum', 'above 0');
  disposeParameters(parameters);
});

t.test('the properties of a state are read once, before anything changes', async (t) => {
  const parameters = named(['a', 'b'], [3, 2]);
  const optimizer = new AdamW(parameters);
  stepAll(parameters, optimizer, {});
  const state = optimizer.state() as { parameters: { arrays: { m: Float64Array } }[] };
  const before = structuredClone(state);
  const { arrays } = item(state.parameters, 1);
  const m = arrays.m;
  let reads = 0;
  Object.defineProperty(arrays, 'm', {
    enumerable: true,
    get: () => {
      reads++;
      return reads === 1 ? m : new Float64Array(1);
    },
  });
  optimizer.loadState(state);
  t.equal(reads, 1, 'once');
  t.same(optimizer.state(), before, 'as checked');
  Object.defineProperty(arrays, 'm', {
    enumerable: true,
    get: () => {
      throw new Error('a getter');
    },
  });
  stepAll(parameters, optimizer, { a: 8, b: 9 });
  const later = structuredClone(optimizer.state());
  t.throws(() => optimizer.loadState(state), { message: 'a getter' });
  t.same(optimizer.state(), later, 'a getter that throws leaves the optimiser alone');
  disposeParameters(parameters);
});

t.test('after values are replaced, the state describes the values of the last step', async (t) => {
  const parameter: Parameter & { value: OwnParameter['value'] } = makeParameter('a', [1, 2], 'float64');
  const optimizer = new AdamW([parameter]);
  assign(parameter, [1, 1]);
  optimizer.step();
  const before = structuredClone(optimizer.state());
  const { value } = parameter;
  parameter.value = real([1, 2, 3], [3], 'float32');
  t.same(optimizer.state(), before);
  parameter.value.dispose();
  value.dispose();
  parameter.grad?.dispose();
});
