/** Every gradient of every family, pattern and strategy against central differences, in float64. */
import { type AdaptedLinear, svd, type Tensor } from 'sigmatune';
import t from 'tap';
import { type AdapterCase, adapterCases, tolerances } from '../support/cases.js';
import {
  assertClose,
  at,
  cpuOnly,
  disposeAll,
  disposeSvd,
  item,
  put,
  rewrite,
  snapshot,
  type Tolerance,
  write,
} from '../support/helpers.js';
import { type Bench, bench, disposeLayer, makeLayer, perturb } from '../support/layer.js';

const step = 1e-4;
/** Rounding of a loss of about 100, divided by the step. */
const tolerance: Tolerance = { atol: 1e-8, rtol: 1e-8 };
const shapes = ['square', 'tall', 'wide', 'one token', 'one output', 'one by one'];

/** L = Σ y ∘ dy, so that dL/dy = dy. */
function loss(layer: AdaptedLinear, x: Tensor, dy: ArrayLike<number>): number {
  const y = layer.apply(x);
  const data = y.dataSync();
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += at(data, i) * at(dy, i);
  y.dispose();
  return sum;
}

/** ∂L/∂value by central differences. */
function differences(value: Tensor, evaluate: () => number): Float64Array {
  const start = snapshot(value);
  return start.map((before, i) => {
    put(value, i, before + step);
    const above = evaluate();
    put(value, i, before - step);
    const difference = (above - evaluate()) / (2 * step);
    write(value, start);
    return difference;
  });
}

const groups = new Map<string, AdapterCase[]>();
for (const entry of adapterCases) {
  if (entry.dtype !== 'float64' || !shapes.includes(entry.shape.name)) continue;
  groups.set(entry.shape.name, [...(groups.get(entry.shape.name) ?? []), entry]);
}

for (const [name, group] of groups) {
  t.test(name, async (t) => {
    using on = await bench(item(group, 0).shape, 'float64', 2);
    const dy = snapshot(on.dy);
    for (const { family, strategy } of group) {
      const label = `${family.name}, ${strategy}`;
      const layer = await makeLayer(family, on, strategy);
      perturb(layer);
      const pass = layer.forward(on.x);
      const dx = pass.backward(on.dy);
      const evaluate = (): number => loss(layer, on.x, dy);
      assertClose(t, dx, differences(on.x, evaluate), tolerance, `${label}: dx`);
      for (const { name, value, grad } of layer.parameters) {
        assertClose(t, grad ?? [], differences(value, evaluate), tolerance, `${label}: ${name}`);
      }
      disposeAll(pass.y, pass, dx);
      disposeLayer(layer);
    }
  });
}

/**
 * A layer of 16 bits against central differences of the float64 layer of the same weight, as it was rounded. U, V, P and Q
 * are rounded too, so the tolerance is that of the type.
 */
for (const dtype of ['bfloat16', 'float16'] as const) {
  t.test(`${dtype} layers`, { skip: dtype === 'float16' && cpuOnly }, async (t) => {
    for (const name of ['square', 'tall', 'wide']) {
      const group = groups.get(name) ?? [];
      using on = await bench(item(group, 0).shape, dtype, 2);
      const [weight, bias, x] = [on.weight, on.bias, on.x].map((tensor) =>
        tensor.cast('float64'),
      ) as Tensor<'float64'>[];
      const factors = await svd(weight as Tensor<'float64'>);
      const exact = { ...on, dtype: 'float64', weight, bias, x, factors } as unknown as Bench<'float64'>;
      const dy = snapshot(on.dy);
      for (const { family, strategy } of group) {
        const label = `${family.name}, ${name}, ${strategy}`;
        const layer = await makeLayer(family, on, strategy);
        const reference = await makeLayer(family, exact, strategy);
        for (const one of [layer, reference]) perturb(one);
        const pass = layer.forward(on.x);
        const dx = pass.backward(on.dy);
        const evaluate = (): number => loss(reference, x as Tensor, dy);
        assertClose(t, dx, differences(x as Tensor, evaluate), tolerances[dtype], `${label}: dx`);
        let terms = 0; // Σ |m ∂L/∂m|, whose terms cancel in the gate's gradient
        for (const [i, { name, grad }] of layer.parameters.entries()) {
          const { value } = item(reference.parameters, i);
          const expected = differences(value, evaluate);
          const given = tolerances[dtype];
          const size = name === 'gate' ? Math.max(1, terms / Math.abs(at(expected, 0))) : 1;
          assertClose(t, grad ?? [], expected, { ...given, atol: size * given.atol }, `${label}: ${name}`);
          if (name === 'm')
            terms = expected.reduce((sum, slope, j) => sum + Math.abs(slope * at(snapshot(value), j)), 0);
        }
        disposeAll(pass.y, pass, dx);
        disposeLayer(layer);
        disposeLayer(reference);
      }
      disposeAll(weight, bias, x);
      disposeSvd(factors);
    }
  });
}

t.test('the gradient of a chain of layers', async (t) => {
  // y₂ = layer₂(tanh(layer₁(x))), with the pull-backs chained as in a training loop.
  const shape = { name: 'square', out: 6, in: 6, tokens: 3 };
  using on = await bench(shape, 'float64', 3);
  const pick = (name: string): AdapterCase => {
    const found = adapterCases.find(({ family, strategy }) => family.name === name && strategy === 'auto');
    if (!found) throw new Error(name);
    return found;
  };
  const [first, second] = await Promise.all([
    makeLayer(pick('svft, banded 1').family, on, 'auto', { name: 'first' }),
    makeLayer(pick('vectorfit').family, on, 'auto', { name: 'second' }),
  ]);
  perturb(first);
  perturb(second, 8);
  const dy = snapshot(on.dy);
  const evaluate = (): number => {
    const hidden = first.apply(on.x);
    rewrite(hidden, Math.tanh);
    const out = loss(second, hidden, dy);
    hidden.dispose();
    return out;
  };
  const one = first.forward(on.x);
  rewrite(one.y, Math.tanh);
  const activations = snapshot(one.y);
  const two = second.forward(one.y);
  const dh = two.backward(on.dy);
  rewrite(dh, (value, i) => value * (1 - at(activations, i) ** 2));
  const dx = one.backward(dh);
  const loose: Tolerance = { atol: 1e-7, rtol: 1e-7 };
  assertClose(t, dx, differences(on.x, evaluate), loose, 'dx');
  for (const layer of [first, second]) {
    for (const { name, value, grad } of layer.parameters)
      assertClose(t, grad ?? [], differences(value, evaluate), loose, name);
  }
  disposeAll(one.y, two.y, one, two, dh, dx);
  disposeLayer(first);
  disposeLayer(second);
});
