/** Every gradient of every family, pattern and strategy against central differences, in float64. */
import type { AdaptedLinear, Tensor } from 'sigmatune';
import t from 'tap';
import { type AdapterCase, adapterCases } from '../support/cases.js';
import {
  assertClose,
  at,
  disposeAll,
  item,
  put,
  rewrite,
  snapshot,
  type Tolerance,
  write,
} from '../support/helpers.js';
import { bench, disposeLayer, makeLayer, perturb } from '../support/layer.js';

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
