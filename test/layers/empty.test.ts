/** A batch of no rows: what an expert without tokens gets. */
import { AdamW, coreGradient, matmul, memory, svd, svft, Tensor, type TypedArrayOf, tensor } from 'sigmatune';
import t from 'tap';
import { dtypes, families } from '../support/cases.js';
import {
  assertSameBits,
  disposeAll,
  item,
  rejectsSigma,
  snapshot,
  testDevice,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { bench, makeLayer, perturb } from '../support/layer.js';

const shape = { name: 'square', out: 12, in: 12, tokens: 7 };
const none = (columns: number, dtype: 'float32' | 'float64', middle: readonly number[] = []): Tensor => {
  const empty = dtype === 'float32' ? new Float32Array(0) : new Float64Array(0);
  return Tensor.wrap(empty, [0, ...middle, columns]) as Tensor;
};

t.test('every family takes a batch of no rows', async (t) => {
  for (const dtype of dtypes) {
    using on = await bench(shape, dtype);
    for (const family of families) {
      for (const strategy of family.strategies) {
        using layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const label = `${family.name}, ${strategy}, ${dtype}`;
        const optimizer = new AdamW(layer.parameters);
        const warm = layer.forward(on.x); // 'merged' builds W' and keeps it
        disposeAll(warm.backward(on.dy), warm.y);
        optimizer.zeroGrad();
        const before = memory().tensors;
        for (const middle of [[], [3]]) {
          const [x, dy] = [none(12, dtype, middle), none(12, dtype, middle)];
          const y = layer.apply(x);
          t.same([y.shape, values(y).length], [[0, ...middle, 12], 0], `${label}: apply`);
          const pass = layer.forward(x);
          t.same(pass.y.shape, [0, ...middle, 12], `${label}: forward`);
          const dx = pass.backward(dy);
          t.same(dx.shape, [0, ...middle, 12], `${label}: backward`);
          throwsSigma(t, () => pass.backward(dy), 'CONSUMED', `${label}: a second backward`);
          const zero = layer.parameters.every(
            ({ grad }) => grad !== null && values(grad).length > 0 && snapshot(grad).every((each) => each === 0),
          );
          t.ok(zero, `${label}: gradients are zeros`);
          const again = layer.forward(x);
          const { dx: pulled, gradients } = again.pullBack(dy);
          t.equal(gradients.size, layer.parameters.length, `${label}: pullBack`);
          disposeAll(x, dy, y, pass.y, dx, again.y, pulled, ...gradients.values());
        }
        optimizer.zeroGrad();
        // Gradients of other batches stay as they are.
        const pass = layer.forward(on.x);
        disposeAll(pass.backward(on.dy), pass.y);
        const whole = layer.parameters.map(({ grad }) => snapshot(grad as Tensor));
        const [x, dy] = [none(12, dtype), none(12, dtype)];
        const empty = layer.forward(x);
        disposeAll(empty.backward(dy), empty.y, x, dy);
        for (const [i, { grad, name }] of layer.parameters.entries()) {
          assertSameBits(t, grad as Tensor, item(whole, i), `${label}: ${name} keeps its gradient`);
        }
        optimizer.zeroGrad();
        t.equal(memory().tensors, before, `${label}: nothing is left behind`);
      }
    }
  }
});

t.test('a layer that is switched off, a frozen parameter, an out', async (t) => {
  using on = await bench(shape, 'float32');
  using layer = await makeLayer(item(families, 0), on, 'auto');
  const [x, dy, out] = [none(12, 'float32'), none(12, 'float32'), none(12, 'float32')];
  t.equal(layer.apply(x, { out }), out);
  layer.enabled = false;
  const off = layer.forward(x);
  disposeAll(off.backward(dy), off.y);
  t.ok(
    layer.parameters.every(({ grad }) => grad === null),
    'switched off: no gradient',
  );
  layer.enabled = true;
  item(layer.parameters, 0).trainable = false;
  const frozen = layer.forward(x);
  disposeAll(frozen.backward(dy), frozen.y);
  t.equal(item(layer.parameters, 0).grad, null, 'frozen: no gradient');
  const scores = coreGradient(layer, x, dy);
  t.ok(
    snapshot(scores).every((each) => each === 0),
    'coreGradient',
  );
  disposeAll(x, dy, out, scores);
});

t.test('only a batch may be empty', async (t) => {
  using on = await bench(shape, 'float32');
  const empty = none(12, 'float32') as Tensor<'float32'>;
  t.match(String(empty), /\[0, 12\] float32/);
  t.same(empty.cast('float64').shape, [0, 12]);
  t.same(empty.reshape([0, 3, 4]).shape, [0, 3, 4]);
  t.same((await empty.data()) satisfies TypedArrayOf<'float32'>, new Float32Array(0));
  throwsSigma(
    t,
    () => matmul(empty, empty, { transposeB: true }),
    'INVALID_ARGUMENT',
    'matmul',
    'a',
    'one row or more',
  );
  await rejectsSigma(t, () => svd(empty), 'INVALID_ARGUMENT', 'svd', 'one row or more');
  throwsSigma(t, () => tensor([], [0, 3]), 'INVALID_ARGUMENT', 'tensor');
  throwsSigma(t, () => Tensor.wrap(new Float32Array(0), [0]), 'INVALID_ARGUMENT', 'a vector');
  throwsSigma(t, () => Tensor.wrap(new Float32Array(0), [3, 0]), 'INVALID_ARGUMENT', 'no columns');
  throwsSigma(t, () => Tensor.wrap(new Float32Array(3), [0, 3]), 'SHAPE_MISMATCH', 'too many numbers');
  using layer = await makeLayer(item(families, 0), on, 'auto');
  throwsSigma(t, () => layer.apply(none(11, 'float32')), 'SHAPE_MISMATCH', 'columns', '12');
  const pass = layer.forward(on.x);
  throwsSigma(t, () => pass.backward(empty), 'SHAPE_MISMATCH', 'dy of another batch', 'dy');
  disposeAll(pass.y, pass, empty);
});

t.test('on a device', { skip: testDevice === 'cpu' && 'no device' }, async (t) => {
  using on = await bench(shape, 'float32');
  using layer = await svft(on.weight, { device: testDevice });
  const x = await none(12, 'float32').to(testDevice);
  const pass = layer.forward(x);
  const dx = pass.backward(pass.y);
  t.same([dx.device, dx.shape, (await dx.data()).length], [x.device, [0, 12], 0]);
  disposeAll(x, pass.y, dx);
});
