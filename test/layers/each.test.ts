/** One batch through many layers: `applyEach` and `forwardEach` against the reference, and against each layer alone. */
import {
  type AdaptedLinear,
  applyEach,
  forwardEach,
  loraXs,
  type MatrixDType,
  memory,
  setThreads,
  siva,
  svd,
  svft,
  Tensor,
  tensor,
  threads,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { dtypes, type FamilyCase, families, type LayerShape, matrixDTypes, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  type Check,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  put,
  real,
  snapshot,
  testDevice,
  throwsSigma,
  write,
} from '../support/helpers.js';
import {
  type Bench,
  bench,
  clearGradients,
  dense,
  disposeLayer,
  expectedGradient,
  gradientsOf,
  makeLayer,
  perturb,
} from '../support/layer.js';
import * as reference from '../support/reference.js';

/** More rows than layers, so that most layers have some. */
const shapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 90 },
  { name: 'tall', out: 20, in: 6, tokens: 90 },
  { name: 'wide', out: 5, in: 19, tokens: 90 },
  { name: 'one output', out: 1, in: 11, tokens: 90 },
  { name: 'one by one', out: 1, in: 1, tokens: 90 },
];
const square = item(shapes, 0);

interface Member {
  readonly family: FamilyCase;
  readonly layer: AdaptedLinear;
}

/** One layer of every case on the same factors. The second is switched off, and the third is frozen. */
async function everyFamily(on: Bench<MatrixDType>): Promise<Member[]> {
  const members: Member[] = [];
  for (const [i, family] of families.entries()) {
    const layer = await makeLayer(family, on, 'auto');
    perturb(layer, i);
    members.push({ family, layer });
  }
  item(members, 1).layer.enabled = false;
  for (const parameter of item(members, 2).layer.parameters) parameter.trainable = false;
  return members;
}

const layersOf = (members: readonly Member[]): AdaptedLinear[] => members.map(({ layer }) => layer);

/** Rows in no order; the last layer has none. */
function mixed(on: Bench<MatrixDType>, count: number): Int32Array {
  return Int32Array.from({ length: on.shape.tokens }, () => on.random.integer(Math.max(1, count - 1)));
}

function rowsOf(which: Int32Array, i: number): number[] {
  return [...which.keys()].filter((t) => which[t] === i);
}

/** These rows of a matrix. */
function picked(source: Tensor, rows: readonly number[]): reference.Matrix {
  const whole = dense(source);
  return reference.build(rows.length, whole.columns, (k, j) => reference.entry(whole, item(rows, k), j));
}

/** What the reference gives for the rows of one layer. */
function expectedOf({ family, layer }: Member, on: Bench<MatrixDType>, rows: readonly number[]) {
  const [x, dy] = [picked(on.x, rows), picked(on.dy, rows)];
  const operator = layer.enabled
    ? family.operator(layer, dense(on.weight), snapshot(on.bias))
    : { ...wholeWeight(dense(on.weight)), bias: snapshot(on.bias) };
  return { y: reference.forward(operator, x), gradients: reference.backward(operator, x, dy) };
}

/** A weight as an operator without a core. */
function wholeWeight(base: reference.Matrix): reference.Operator {
  const [u, vt] = [reference.build(base.rows, 1, () => 0), reference.build(1, base.columns, () => 0)];
  return { base, u, vt, sigma: [0] };
}

function checkAll(
  t: Check,
  members: readonly Member[],
  on: Bench<MatrixDType>,
  which: Int32Array,
  found: Found,
  label: string,
) {
  const tolerance = tolerances[on.dtype];
  const [y, dx] = [new Float64Array(found.y.size), new Float64Array(found.dx.size)];
  for (const [i, member] of members.entries()) {
    const rows = rowsOf(which, i);
    const { layer, family } = member;
    const expected = rows.length > 0 ? expectedOf(member, on, rows) : undefined;
    for (const [k, row] of rows.entries()) {
      y.set(expected?.y.data.subarray(k * on.shape.out, (k + 1) * on.shape.out) ?? [], row * on.shape.out);
      dx.set(expected?.gradients.dx.data.subarray(k * on.shape.in, (k + 1) * on.shape.in) ?? [], row * on.shape.in);
    }
    for (const parameter of layer.parameters) {
      const what = `${label}, ${family.name}: ${parameter.name}`;
      const wanted = expected && layer.enabled && parameter.trainable;
      if (!wanted || parameter.grad === null) t.equal(parameter.grad === null, !wanted, `${what} has its gradient`);
      else assertClose(t, parameter.grad, expectedGradient(parameter, expected.gradients), tolerance, what, 1);
    }
  }
  assertClose(t, found.y, y, tolerance, `${label}: y`);
  assertClose(t, found.dx, dx, tolerance, `${label}: dx`);
}

interface Found {
  readonly y: Tensor;
  readonly dx: Tensor;
}

for (const dtype of matrixDTypes) {
  for (const shape of shapes) {
    t.test(`every family in one batch, ${shape.name}, ${dtype}`, async (t) => {
      await expectNoLeak(t, 'a batch', async () => {
        using on = await bench(shape, dtype);
        const members = await everyFamily(on);
        const layers = layersOf(members);
        const which = mixed(on, layers.length);
        for (const [name, indices] of [
          ['mixed', which],
          ['sorted', which.slice().sort()],
          ['one layer', which.map(() => 3)],
        ] as const) {
          const findings = new Findings();
          const y = applyEach(layers, on.x, indices);
          const pass = forwardEach(layers, on.x, indices);
          assertSameBits(findings, pass.y, y, 'forwardEach and applyEach');
          const dx = pass.backward(on.dy);
          findings.same([dx.shape, dx.dtype, dx.device], [on.x.shape, dtype, testDevice], 'dx');
          checkAll(findings, members, on, indices, { y, dx }, name);
          for (const layer of layers) clearGradients(layer);
          disposeAll(y, pass.y, pass, dx);
          t.same(findings.failures, [], name);
        }
        for (const layer of layers) disposeLayer(layer);
      });
    });
  }
}

t.test('weights that are stored as [in, out]', async (t) => {
  for (const shape of shapes.slice(0, 3)) {
    using on = await bench(shape, 'float64');
    const stored = {
      ...on,
      weight: transposed(on.weight),
      factors: await svd(transposed(on.weight) as Tensor<'float64'>),
    };
    const members: Member[] = [];
    for (const family of families) {
      if (family.name.includes('truncated')) continue; // their reference takes the factors of [out, in]
      const layer = await makeLayer(family, stored, 'auto', { layout: 'in-out' });
      perturb(layer);
      members.push({ family, layer });
    }
    const layers = layersOf(members);
    const which = mixed(on, layers.length);
    const pass = forwardEach(layers, on.x, which);
    const dx = pass.backward(on.dy);
    const findings = new Findings();
    checkAlone(findings, layers, on, which, { y: pass.y, dx });
    t.same(findings.failures, [], shape.name);
    disposeAll(pass.y, dx);
  }
});

function transposed(source: Tensor): Tensor {
  const { rows, columns, data } = reference.transpose(dense(source));
  return real(data, [rows, columns], 'float64');
}

/** Compares with a pass of each layer for its rows. Leaves no gradients. */
function checkAlone(t: Check, layers: readonly AdaptedLinear[], on: Bench, which: Int32Array, found: Found): void {
  for (const [i, layer] of layers.entries()) {
    const rows = rowsOf(which, i);
    if (rows.length === 0) continue;
    const each = gradientsOf(layer);
    clearGradients(layer);
    const tensorOf = (source: Tensor) => real(picked(source, rows).data, [rows.length, source.shape[1] ?? 1], on.dtype);
    const [x, dy] = [tensorOf(on.x), tensorOf(on.dy)];
    const pass = layer.forward(x);
    const dx = pass.backward(dy);
    const tolerance = tolerances[on.dtype];
    assertClose(t, picked(found.y, rows).data, pass.y, tolerance, `layer ${i}: y`);
    assertClose(t, picked(found.dx, rows).data, dx, tolerance, `layer ${i}: dx`);
    for (const [k, gradient] of gradientsOf(layer).entries()) {
      assertClose(t, item(each, k), gradient, tolerance, `layer ${i}: gradient ${k}`, 1);
    }
    clearGradients(layer);
    disposeAll(x, dy, pass.y, dx);
  }
}

t.test('many layers, few rows each: equal to each layer alone, for any number of threads', async (t) => {
  const before = threads();
  for (const dtype of dtypes) {
    using on = await bench({ name: 'many', out: 70, in: 90, tokens: 301 }, dtype);
    const { weight, factors, bias } = on as Bench & { weight: Tensor<'float64'> };
    const layers: AdaptedLinear[] = [];
    for (let i = 0; i < 72; i++) {
      const made = [
        () => svft(weight, { factors, pattern: 'banded', offDiagonals: i % 5 }),
        () => svft(weight, { factors, pattern: 'random', offDiagonals: 4, seed: i, bias }),
        () => vectorFit(weight, { factors, bias }),
        () => siva(weight, { factors, count: 9 }),
        () => loraXs(weight, { factors, rank: 7, bias }),
        () => svft(weight, { factors, rank: 11 }),
      ];
      layers.push(await item(made, i % made.length)());
      perturb(item(layers, i), i);
    }
    const which = mixed(on, layers.length);
    const run = () => {
      const pass = forwardEach(layers, on.x, which);
      const dx = pass.backward(on.dy);
      const bits = [pass.y, dx, ...layers.flatMap(({ parameters }) => parameters.map(({ grad }) => grad))].map(
        (each) => each && snapshot(each),
      );
      return { y: pass.y, dx, bits };
    };
    setThreads(1);
    const one = run();
    for (const layer of layers) clearGradients(layer);
    setThreads(4);
    const four = run();
    t.same(four.bits, one.bits, `${dtype}: the same bits`);
    const findings = new Findings();
    checkAlone(findings, layers, on, which, four);
    t.same(findings.failures, [], dtype);
    for (const layer of layers) disposeLayer(layer);
    disposeAll(one.y, one.dx, four.y, four.dx);
  }
  setThreads(before);
});

t.test('gradients against central differences', async (t) => {
  using on = await bench({ name: 'small', out: 5, in: 4, tokens: 40 }, 'float64');
  const members = await everyFamily(on);
  const layers = layersOf(members);
  const which = mixed(on, layers.length);
  const dy = snapshot(on.dy);
  const loss = () => {
    const y = applyEach(layers, on.x, which);
    const sum = snapshot(y).reduce((total, value, i) => total + value * at(dy, i), 0);
    y.dispose();
    return sum;
  };
  const pass = forwardEach(layers, on.x, which);
  const dx = pass.backward(on.dy);
  const step = 1e-4;
  const differences = (value: Tensor) => {
    const start = snapshot(value);
    return start.map((number, i) => {
      put(value, i, number + step);
      const above = loss();
      put(value, i, number - step);
      const difference = (above - loss()) / (2 * step);
      write(value, start);
      return difference;
    });
  };
  const tolerance = { atol: 1e-7, rtol: 1e-7 };
  assertClose(t, dx, differences(on.x), tolerance, 'dx');
  for (const [i, { family, layer }] of members.entries()) {
    for (const { name, value, grad } of layer.parameters) {
      const has = rowsOf(which, i).length > 0 && i !== 1 && i !== 2;
      t.equal(grad !== null, has, `${family.name}, ${name}: has a gradient`);
      if (grad) assertClose(t, grad, differences(value), tolerance, `${family.name}, ${name}`, 1);
    }
  }
  for (const layer of layers) disposeLayer(layer);
  disposeAll(pass.y, dx);
});

t.test('a pass uses the values of its forward, and respects what is frozen', async (t) => {
  using on = await bench(square, 'float64');
  const make = async () => {
    const layers = [
      await svft(on.weight as Tensor<'float64'>, {
        factors: on.factors,
        pattern: 'banded',
        offDiagonals: 1,
        name: 'a',
      }),
      await vectorFit(on.weight as Tensor<'float64'>, { factors: on.factors, bias: on.bias, name: 'b' }),
    ];
    for (const layer of layers) perturb(layer);
    return layers;
  };
  const which = mixed(on, 3);
  const [layers, others] = [await make(), await make()];
  const pass = forwardEach(layers, on.x, which);
  for (const layer of layers) {
    perturb(layer, 77);
    layer.enabled = false;
  }
  const dx = pass.backward(on.dy);
  const plain = forwardEach(others, on.x, which);
  assertSameBits(t, dx, plain.backward(on.dy), 'dx');
  for (const [i, layer] of layers.entries()) {
    const wanted = gradientsOf(item(others, i));
    for (const [k, gradient] of gradientsOf(layer).entries())
      assertSameBits(t, gradient, item(wanted, k), `${i}, ${k}`);
  }
  throwsSigma(t, () => pass.backward(on.dy), 'CONSUMED', 'a second backward', 'this pass');

  const next = forwardEach(others, on.x, which);
  const before = others.map(gradientsOf);
  const { dx: pulled, gradients } = next.pullBack(on.dy);
  assertSameBits(t, pulled ?? [], dx, 'pullBack: dx');
  t.same(others.map(gradientsOf), before, 'pullBack leaves the gradients alone');
  for (const [i, layer] of others.entries()) {
    for (const [k, parameter] of layer.parameters.entries()) {
      assertSameBits(t, gradients.get(parameter) ?? [], item(item(before, i), k), `pullBack: ${parameter.name}`);
    }
  }
  const [svftLayer, vectorLayer] = others as [AdaptedLinear, AdaptedLinear];
  for (const layer of others) clearGradients(layer);
  for (const parameter of svftLayer.parameters) parameter.trainable = false;
  const frozen = forwardEach(others, on.x, which);
  const [sigma, bias] = vectorLayer.parameters;
  if (sigma) sigma.trainable = false;
  frozen.backward(on.dy, { inputGrad: false });
  t.same(
    [svftLayer.parameters[0]?.grad, sigma?.grad, bias?.grad === null],
    [null, null, false],
    'only the bias has one',
  );

  const open = forwardEach(others, on.x, which);
  vectorLayer.dispose();
  throwsSigma(t, () => open.backward(on.dy), 'DISPOSED', 'a layer that was disposed', 'a layer of this pass');
});

t.test('leading axes, a layer that is listed twice, and the sum of two passes', async (t) => {
  using on = await bench({ ...square, tokens: 6 }, 'float64');
  const weight = on.weight as Tensor<'float64'>;
  const one = await svft(weight, { factors: on.factors, pattern: 'banded', offDiagonals: 1 });
  const two = await siva(weight, { factors: on.factors, count: 3 });
  for (const layer of [one, two]) perturb(layer);
  const [x, dy] = [on.x.reshape([2, 3, 12]), on.dy.reshape([2, 3, 12])];
  const twice = forwardEach([one, two, one], x, Int32Array.of(0, 1, 2, 2, 1, 0));
  t.same(twice.y.shape, [2, 3, 12]);
  const dx = twice.backward(dy);
  t.same(dx.shape, [2, 3, 12]);
  const sums = [one, two].map(gradientsOf);
  for (const layer of [one, two]) clearGradients(layer);
  const plain = Int32Array.of(0, 1, 0, 0, 1, 0);
  for (let pass = 0; pass < 2; pass++) forwardEach([one, two], on.x, plain).backward(on.dy);
  for (const [i, layer] of [one, two].entries()) {
    for (const [k, gradient] of gradientsOf(layer).entries()) {
      const doubled = item(item(sums, i), k).map((value) => 2 * value);
      assertClose(t, gradient, doubled, tolerances.float64, `layer ${i}, gradient ${k}`);
    }
  }
});

t.test('a switched-off layer has the bits of W0', async (t) => {
  using on = await bench(square, 'float32');
  const weight = on.weight as Tensor<'float32'>;
  const off = await svft(weight, { factors: on.factors });
  const layer = await vectorFit(weight, { factors: on.factors });
  perturb(off);
  off.enabled = false;
  const which = mixed(on, 3);
  const y = applyEach([layer, off], on.x, which);
  const alone = off.apply(on.x);
  const rows = rowsOf(which, 1);
  assertClose(t, picked(y, rows).data, picked(alone, rows).data, tolerances.float32, 'as alone');
  weight.dispose();
  const gone = applyEach([layer, off], on.x, which);
  assertClose(t, gone, y, tolerances.float32, 'without W0 the factors stand for it');
});

t.test('layers of the same factors share the copies that they make of them', async (t) => {
  using on = await bench({ name: 'wide', out: 40, in: 60, tokens: 4 }, 'float32');
  const weight = on.weight as Tensor<'float32'>;
  const bytes = () => memory().bytes[testDevice] ?? 0;
  for (const [name, numbers, make] of [
    ['siva', 8, () => siva(weight, { factors: on.factors, count: 8 })],
    ['loraxs', 64, () => loraXs(weight, { factors: on.factors, rank: 8 })],
    ['svft', 8 + 1, () => svft(weight, { factors: on.factors, rank: 8 })],
  ] as const) {
    await expectNoLeak(t, name, async () => {
      const first = await make();
      const start = bytes();
      const second = await make();
      t.equal(bytes() - start, 4 * numbers, `${name}: a second layer takes the bytes of what it trains`);
      first.dispose();
      const x = second.apply(on.x);
      const third = await make();
      perturb(third);
      t.ok(
        snapshot(third.factors.u).some((value) => value !== 0),
        `${name}: the copies outlive the first layer`,
      );
      disposeAll(x, second, third);
    });
  }
});

t.test('wrong arguments', async (t) => {
  using on = await bench(square, 'float32');
  const weight = on.weight as Tensor<'float32'>;
  const layer = await svft(weight, { factors: on.factors });
  const other = await vectorFit(weight, { factors: on.factors });
  const which = mixed(on, 3);
  for (const [op, each] of [
    ['applyEach', applyEach as (...args: unknown[]) => unknown],
    ['forwardEach', forwardEach as (...args: unknown[]) => unknown],
  ] as const) {
    const refuse = (code: Parameters<typeof throwsSigma>[2], args: unknown[], ...parts: string[]) =>
      throwsSigma(t, () => each(...args), code, `${op}: ${parts.join(', ')}`, op, ...parts);
    refuse('INVALID_ARGUMENT', [layer, on.x, which], 'layers: expected an array');
    refuse('INVALID_ARGUMENT', [[], on.x, which], 'layers: expected at least one layer');
    refuse('INVALID_ARGUMENT', [[layer, {}], on.x, which], 'layers[1]');
    refuse('INVALID_ARGUMENT', [[layer, Object.create(layer)], on.x, which], 'layers[1]');
    refuse('INVALID_ARGUMENT', [[layer], [1, 2], which], 'x: expected a Tensor');
    refuse('INVALID_ARGUMENT', [[layer], on.x, [...which]], 'which: expected an Int32Array');
    refuse('INVALID_ARGUMENT', [[layer], on.x, Float64Array.from(which)], 'which: expected an Int32Array');
    refuse('INVALID_ARGUMENT', [[layer], on.x, undefined], 'which: expected an Int32Array');
    refuse('SHAPE_MISMATCH', [[layer, other], on.x, which.subarray(1)], 'which: expected 90 indices', 'got 89');
    const detached = which.slice();
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    refuse('SHAPE_MISMATCH', [[layer, other], on.x, detached], 'which', 'got 0');
    for (const wrong of [-1, 2, 2 ** 31 - 1]) {
      const indices = which.slice();
      indices[7] = wrong;
      refuse('INVALID_ARGUMENT', [[layer, other], on.x, indices], 'which[7]', 'from 0 to 1', `got ${wrong}`);
    }
    refuse('SHAPE_MISMATCH', [[layer], gaussian(on.random, [90, 11], 'float32'), which], 'x: expected shape [..., 12]');
    refuse('DTYPE_MISMATCH', [[layer], gaussian(on.random, [90, 12], 'float64'), which], 'x: expected float32');
    const apart = await svft(weight);
    refuse('BASE_MISMATCH', [[layer, other, apart], on.x, which], 'layers[2]', 'factors of layers[0]');
    const double = await svft(gaussian(on.random, [12, 12], 'float64'));
    refuse('DTYPE_MISMATCH', [[layer, double], on.x, which], 'layers[1]', 'float32', 'float64');
    const small = await svft(gaussian(on.random, [12, 11], 'float32'));
    refuse('SHAPE_MISMATCH', [[layer, small], on.x, which], 'layers[1]', '[12, 11]');
    const gone = await svft(weight, { factors: on.factors });
    gone.dispose();
    refuse('DISPOSED', [[layer, gone], on.x, which], 'layers[1]');
    const x = on.x.reshape([90, 12]);
    x.dispose();
    refuse('DISPOSED', [[layer, other], x, which], 'x');
    disposeAll(apart, double, small);
  }
  const truncated = await svft(weight, { factors: on.factors, rank: 4 });
  const onItsFactors = await siva(weight, { factors: layer.factors, count: 3 });
  applyEach([layer, truncated, onItsFactors], on.x, which).dispose();
  t.pass('factors that a layer has are those that it was made of');
});

t.test('the indices are read once', { skip: cpuOnly }, async (t) => {
  using on = await bench(square, 'float32');
  const weight = on.weight as Tensor<'float32'>;
  const layers = [await svft(weight, { factors: on.factors }), await vectorFit(weight, { factors: on.factors })];
  const which = new Int32Array(new SharedArrayBuffer(4 * 90));
  const list = [...layers];
  // A getter that writes the indices, disposes nothing, and returns another layer the second time.
  let reads = 0;
  Object.defineProperty(list, 1, {
    enumerable: true,
    configurable: true,
    get() {
      reads++;
      which[0] = 9;
      return layers[1];
    },
  });
  throwsSigma(
    t,
    () => applyEach(list, on.x, which),
    'INVALID_ARGUMENT',
    'a write while the layers are read',
    'which[0]',
  );
  t.equal(reads, 1);
  const pass = forwardEach(layers, on.x, which.fill(0));
  which.fill(5);
  pass.backward(on.dy).dispose();
  t.same(
    layers.map(({ parameters }) => parameters.every(({ grad }) => grad !== null)),
    [true, false],
    'a later write changes nothing',
  );
  const one = tensor(new Float32Array(12), [1, 12], { dtype: 'float32' });
  t.same(applyEach(layers, one, Int32Array.of(1)).shape, [1, 12], 'one row');
  const none = Tensor.wrap(new Float32Array(0), [0, 12]);
  const nothing = forwardEach(layers, none, new Int32Array(0));
  t.same(
    [applyEach(layers, none, new Int32Array(0)).shape, nothing.y.shape],
    [
      [0, 12],
      [0, 12],
    ],
    'no rows',
  );
  t.same(nothing.backward(none).shape, [0, 12], 'no rows of dx');
});
