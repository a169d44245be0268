/** sigmatune/tfjs: adapted layers as differentiable operations of TensorFlow.js. */
import { execFileSync } from 'node:child_process';
import * as tf from '@tensorflow/tfjs-core';
import { AdamW, type AdaptedLinear, memory, siva, svft, type Tensor, tensor, vectorFit, zeros } from 'sigmatune';
import { adaptedDense, fromTf, toTf } from 'sigmatune/tfjs';
import t, { type Test } from 'tap';
import { oneOfEach, tolerances } from '../support/cases.js';
import { assertClose, assertSameBits, cpuOnly, disposeAll, gaussian, seeded, throwsSigma } from '../support/helpers.js';
import { clearGradients, gradientsOf, perturb } from '../support/layer.js';
import { backends, makeAnchor, numbers, on } from '../support/tfjs.js';

/** Layers of tfjs are on the CPU. */
const test = (name: string, body: (t: Test) => Promise<void>) => t.test(name, { skip: cpuOnly }, body);

const random = seeded(4);
const weight = gaussian(random, [6, 4], 'float32', 0.5);
const bias = gaussian(random, [6], 'float32');

t.before(() => makeAnchor(weight));

test('y, dx and the gradients are those of the layer, for inputs of any rank', async (t) => {
  for (const backend of backends) {
    for (const family of oneOfEach) {
      await on(t, backend, family.name, async () => {
        const layer = await family.make(weight, { bias });
        perturb(layer);
        const dense = adaptedDense(layer);
        for (const leading of [[], [5], [2, 3], [2, 1, 2, 1]]) {
          const label = `${family.name}, ${backend}, [${[...leading, 4]}]`;
          const [x, dy] = [gaussian(random, [...leading, 4], 'float32'), gaussian(random, [...leading, 6], 'float32')];
          const pass = layer.forward(x);
          const dx = pass.backward(dy);
          const wanted = gradientsOf(layer);
          clearGradients(layer);
          const [tx, tdy] = [toTf(x), toTf(dy)];
          const { value, grad } = tf.valueAndGrad((input) => dense(input))(tx, tdy);
          t.same(value.shape, [...leading, 6], `${label}: the shape`);
          assertSameBits(t, numbers(value), pass.y, `${label}: y`);
          assertSameBits(t, numbers(grad), dx, `${label}: dx`);
          for (const [i, found] of gradientsOf(layer).entries()) {
            assertSameBits(t, found, wanted[i] ?? [], `${label}: gradient ${i}`);
          }
          clearGradients(layer);
          const y = dense(tx);
          const applied = layer.apply(x);
          assertSameBits(t, numbers(y), applied, `${label}: without a gradient`);
          tf.dispose([tx, tdy, value, grad, y]);
          disposeAll(x, dy, pass.y, dx, applied);
        }
        layer.dispose();
      });
    }
  }
});

test("y and its gradient are those of tfjs' own product with the merged weight", async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'merged', async () => {
      const layer = await svft(weight, { pattern: 'banded', bias });
      perturb(layer);
      const [merged, b] = [layer.mergedWeight(), layer.mergedBias() as Tensor];
      const [kernel, offset, x] = [toTf(merged) as tf.Tensor2D, toTf(b), tf.randomNormal([7, 4], 0, 1, 'float32', 3)];
      const own = tf.valueAndGrad((input) => tf.add(tf.matMul(input as tf.Tensor2D, kernel, false, true), offset))(x);
      const ours = tf.valueAndGrad(adaptedDense(layer))(x);
      assertClose(t, numbers(ours.value), numbers(own.value), tolerances.float32, `${backend}: y`);
      assertClose(t, numbers(ours.grad), numbers(own.grad), tolerances.float32, `${backend}: dx`);
      tf.dispose([kernel, offset, x, own.value, own.grad, ours.value, ours.grad]);
      disposeAll(merged, b);
      clearGradients(layer);
      layer.dispose();
    });
  }
});

/** One layer trained on random targets, by tfjs' tape or by our passes; returns its parameters. */
async function trained(useTape: boolean): Promise<number[]> {
  const layer = await svft(weight, { pattern: 'banded' });
  const optimizer = new AdamW(layer.parameters, { lr: 0.05 });
  const dense = adaptedDense(layer);
  const data = seeded(8);
  const [x, target] = [gaussian(data, [9, 4], 'float32'), gaussian(data, [9, 6], 'float32')];
  for (let step = 0; step < 20; step++) {
    if (useTape) {
      const run = () => tf.losses.meanSquaredError(toTf(target), dense(toTf(x))) as tf.Scalar;
      const { value, grads } = tf.variableGrads(run);
      tf.dispose([value, grads]);
    } else {
      const pass = layer.forward(x);
      const size = pass.y.size;
      const [y, wanted] = [pass.y.dataSync(), target.dataSync()];
      const dy = tensor(
        Float32Array.from(y, (value, i) => (2 / size) * (value - (wanted[i] as number))),
        [9, 6],
      );
      pass.backward(dy, { inputGrad: false });
      disposeAll(pass.y, dy);
    }
    optimizer.step();
    optimizer.zeroGrad();
  }
  const found = layer.parameters.flatMap(({ value }) => [...value.dataSync()]);
  disposeAll(x, target, layer);
  return found;
}

test('our optimiser on gradients from the tape of tfjs', async (t) => {
  const wanted = await trained(false);
  for (const backend of backends) {
    await on(t, backend, 'ours', async () => {
      assertClose(t, await trained(true), wanted, { atol: 1e-4, rtol: 1e-4 }, `${backend}: as without tfjs`);
    });
  }
});

test('a model of several layers: the gradient passes through', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'two layers', async () => {
      const wide = gaussian(random, [4, 6], 'float32', 0.5);
      const layers = [await siva(weight, { count: 2 }), await vectorFit(wide)] as const;
      for (const layer of layers) perturb(layer);
      const [first, second] = [adaptedDense(layers[0]), adaptedDense(layers[1])];
      const x = tf.randomNormal([3, 4], 0, 1, 'float32', 5);
      const loss = (input: tf.Tensor) => tf.sum(tf.square(second(tf.tanh(first(input))))) as tf.Scalar;
      const grad = tf.grad(loss)(x);
      const found = layers.flatMap(gradientsOf);
      // Central differences along one direction of every parameter, and of x.
      const step = 1e-2;
      for (const [l, layer] of layers.entries()) {
        for (const { name, value, grad: gradient } of layer.parameters) {
          const start = Float32Array.from(value.dataSync());
          const at = (move: number) => {
            value.assign(start.map((each) => each + move));
            return tf.tidy(() => loss(x).dataSync()[0] as number);
          };
          const slope = (at(step) - at(-step)) / (2 * step);
          value.assign(start);
          const wanted = [...(gradient?.dataSync() ?? [])].reduce((sum, each) => sum + each, 0);
          const near = Math.abs(slope - wanted) <= 2e-2 * Math.max(1, Math.abs(wanted));
          t.ok(near, `${backend}, layer ${l}, ${name}: ${wanted} for ${slope}`);
        }
      }
      t.ok(found.every((each) => each.some((value) => value !== 0)));
      tf.dispose([x, grad]);
      for (const layer of layers) {
        clearGradients(layer);
        layer.dispose();
      }
      wide.dispose();
    });
  }
});

test('bad input is refused with a reason, and nothing leaks', async (t) => {
  const layer = await svft(weight, { pattern: 'banded' });
  const dense = adaptedDense(layer);
  const inference = adaptedDense(layer, { inference: true });
  for (const backend of backends) {
    const other = backend === 'cpu' ? 'wasm' : 'cpu';
    const refused = (label: string, body: () => unknown, code: Parameters<typeof throwsSigma>[2], ...parts: string[]) =>
      on(t, backend, label, () => throwsSigma(t, body, code, `${label}, ${backend}`, ...parts));
    const inTidy = (body: () => unknown) => () => tf.tidy(() => void body());
    const disposed = tf.zeros([2, 4]);
    disposed.dispose();
    await refused('a disposed tensor', () => dense(disposed), 'DISPOSED', 'adaptedDense', 'x');
    await refused(
      'a scalar',
      inTidy(() => dense(tf.scalar(1))),
      'SHAPE_MISMATCH',
      'x',
      '[..., 4]',
    );
    await refused(
      'another width',
      inTidy(() => dense(tf.zeros([2, 6]))),
      'SHAPE_MISMATCH',
      '[..., 4]',
      '[2, 6]',
    );
    for (const dtype of ['int32', 'bool'] as const) {
      await refused(
        dtype,
        inTidy(() => dense(tf.zeros([2, 4], dtype))),
        'DTYPE_MISMATCH',
        'float32',
        dtype,
      );
    }
    await refused('no tensor', () => dense([1, 2, 3, 4] as never), 'INVALID_ARGUMENT', 'a tf.Tensor', 'Array');
    await refused('one of our tensors', () => dense(weight as never), 'INVALID_ARGUMENT', 'a tf.Tensor', 'Tensor');
    const gradient = (op: typeof dense) => tf.grad((x: tf.Tensor) => tf.sum(tf.square(op(tf.square(x)))));
    const ones = tf.ones([2, 4]);
    const inference1 = () => tf.tidy(() => void gradient(inference)(ones));
    await refused('a gradient of an inference-only operation', inference1, 'UNSUPPORTED', 'inference');
    const twice = () => tf.tidy(() => void tf.grad((x: tf.Tensor) => tf.sum(gradient(dense)(x)))(ones));
    await refused('second-order gradients', twice, 'UNSUPPORTED', 'second-order', 'tape');
    await refused(
      'another backend in between',
      () => {
        const changing = tf.customGrad((x) => ({
          value: tf.clone(x as tf.Tensor),
          gradFunc: (dy: tf.Tensor) => {
            void tf.setBackend(other);
            return tf.clone(dy);
          },
        }));
        try {
          tf.tidy(() => void tf.grad((x: tf.Tensor) => tf.sum(changing(dense(x))))(ones));
        } finally {
          void tf.setBackend(backend);
        }
      },
      'DEVICE_MISMATCH',
      `'${backend}'`,
      `'${other}'`,
    );
    ones.dispose();
  }
  const double = gaussian(random, [3, 3], 'float64');
  const wrong = await vectorFit(double);
  throwsSigma(t, () => adaptedDense(wrong), 'DTYPE_MISMATCH', 'a float64 layer', 'layer', 'float32');
  throwsSigma(t, () => adaptedDense(weight as never), 'INVALID_ARGUMENT', 'a weight', 'layer', 'svft');
  throwsSigma(t, () => adaptedDense(layer, { training: false } as never), 'INVALID_ARGUMENT', 'an option', 'training');
  throwsSigma(t, () => adaptedDense(layer, { inference: 1 } as never), 'INVALID_ARGUMENT', 'no boolean', 'inference');
  disposeAll(double, wrong, layer);
  const x = tf.ones([1, 4]);
  throwsSigma(t, () => dense(x), 'DISPOSED', 'a disposed layer');
  x.dispose();
});

test('an inference-only operation applies, also under a tape that does not ask for it', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'inference', async () => {
      const layer = await svft(weight);
      const dense = adaptedDense(layer, { inference: true });
      const [x, w] = [tf.ones([2, 4]), tf.ones([6, 1])];
      const y = layer.apply({ data: new Float32Array(8).fill(1), shape: [2, 4] });
      const grad = tf.tidy(() =>
        tf.grad((v: tf.Tensor) => tf.sum(tf.matMul(dense(x) as tf.Tensor2D, v as tf.Tensor2D)))(w),
      );
      const rows = [...y.dataSync()];
      const sums = Array.from({ length: 6 }, (_, j) => (rows[j] as number) + (rows[j + 6] as number));
      assertClose(t, numbers(grad), sums, tolerances.float32, backend);
      tf.dispose([x, w, grad]);
      disposeAll(y, layer);
    });
  }
});

test('a pass whose gradient no one asks for is released', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'unused passes', async () => {
      const layer = await svft(weight, { strategy: 'merged' });
      const dense = adaptedDense(layer);
      const [x, w] = [tf.ones([2, 4]), tf.ones([6, 1])];
      const step = () => {
        const off = (v: tf.Tensor) => tf.sum(tf.matMul(dense(x) as tf.Tensor2D, v as tf.Tensor2D));
        tf.grad(off)(w).dispose();
        return memory().tensors;
      };
      const first = step();
      for (let i = 0; i < 5; i++) t.equal(step(), first, 'not more of them in a synchronous loop');
      t.ok(
        layer.parameters.every(({ grad }) => grad === null),
        'no gradient was asked for',
      );
      await undefined;
      t.ok(memory().tensors < first, 'none after it');
      tf.dispose([x, w]);
      layer.dispose();
    });
  }
});

test('tensors that tfjs disposes between forward and backward', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'disposed meanwhile', async () => {
      for (const options of [{}, { strategy: 'merged', borrowInputs: true }] as const) {
        const layer = await svft(weight, options);
        const dense = adaptedDense(layer);
        const x = tf.ones([2, 4]);
        const wanted = tf.tidy(() => [
          ...tf
            .grad((input: tf.Tensor) => tf.sum(dense(input)))(x)
            .dataSync(),
        ]);
        const before = gradientsOf(layer);
        clearGradients(layer);
        const found = tf.tidy(() => {
          const run = (input: tf.Tensor) => {
            const copy = tf.clone(input);
            const y = dense(copy);
            copy.dispose();
            return tf.sum(y);
          };
          return [...tf.grad(run)(x).dataSync()];
        });
        assertSameBits(t, found, wanted, `${backend}: dx`);
        for (const [i, gradient] of gradientsOf(layer).entries()) {
          assertSameBits(t, gradient, before[i] ?? [], `${backend}: gradient ${i}`);
        }
        clearGradients(layer);
        x.dispose();
        layer.dispose();
      }
    });
  }
});

test('a batch of no rows', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'no rows', async () => {
      const layer = await svft(weight);
      const dense = adaptedDense(layer);
      const x = tf.zeros([0, 4]);
      const { value, grad } = tf.valueAndGrad((input: tf.Tensor) => dense(input))(x);
      t.same(
        [value.shape, grad.shape],
        [
          [0, 6],
          [0, 4],
        ],
        backend,
      );
      tf.dispose([x, value, grad]);
      clearGradients(layer);
      layer.dispose();
    });
  }
});

test('frozen parameters, and a layer that is switched off', async (t) => {
  await on(t, 'cpu', 'frozen', async () => {
    const layer = await vectorFit(weight, { bias });
    const [sigma, b] = layer.parameters as AdaptedLinear['parameters'];
    if (!sigma || !b) throw new Error('no parameters');
    sigma.trainable = false;
    const dense = adaptedDense(layer);
    const x = tf.ones([2, 4]);
    tf.grad((input: tf.Tensor) => tf.sum(dense(input)))(x).dispose();
    t.equal(sigma.grad, null);
    t.same([...(b.grad?.dataSync() ?? [])], new Array(6).fill(2));
    clearGradients(layer);
    layer.enabled = false;
    const dx = tf.grad((input: tf.Tensor) => tf.sum(dense(input)))(x);
    t.ok([sigma.grad, b.grad].every((grad) => grad === null));
    tf.dispose([x, dx]);
    layer.dispose();
  });
});

test('fromTf and toTf share memory on the cpu backend, and copy on others', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'tensors', () => {
      for (const dtype of ['float32', 'int32'] as const) {
        const given = tf.tensor([1, 2, 3, 4, 5, 6], [2, 3], dtype);
        const ours = fromTf(given);
        t.same([ours.shape, ours.dtype, [...ours.dataSync()]], [[2, 3], dtype, [1, 2, 3, 4, 5, 6]]);
        t.equal(ours.dataSync() === given.dataSync(), backend === 'cpu', `${backend}: the memory of fromTf`);
        given.dispose();
        t.equal(ours.dataSync()[5], 6, 'it outlives the tf.Tensor');
        const back = toTf(ours);
        t.same([back.shape, back.dtype, [...back.dataSync()]], [[2, 3], dtype, [1, 2, 3, 4, 5, 6]]);
        t.equal(ours.dataSync() === back.dataSync(), backend === 'cpu', `${backend}: the memory of toTf`);
        ours.dispose();
        const next = zeros([2, 3], { dtype });
        t.equal(back.dataSync()[5], 6, 'it outlives the tensor, whose memory is not reused');
        disposeAll(next);
        back.dispose();
      }
      const scalar = tf.scalar(3);
      const ours = fromTf(scalar);
      t.same([ours.shape, [...ours.dataSync()]], [[], [3]]);
      ours.dispose();
      scalar.dispose();
    });
  }
  await tf.setBackend('cpu');
  const bool = tf.tensor([true, false]);
  throwsSigma(t, () => fromTf(bool), 'DTYPE_MISMATCH', 'bool', 'fromTf', 'bool');
  bool.dispose();
  throwsSigma(t, () => fromTf(bool), 'DISPOSED', 'a disposed tf.Tensor', 't');
  throwsSigma(t, () => fromTf(new Float32Array(2) as never), 'INVALID_ARGUMENT', 'an array', 'Float32Array');
  for (const dtype of ['float64', 'bfloat16'] as const) {
    const given = zeros([2], { dtype });
    throwsSigma(t, () => toTf(given), 'DTYPE_MISMATCH', dtype, 'toTf', 'float32', 'cast');
    given.dispose();
  }
  const gone = zeros([2]);
  gone.dispose();
  throwsSigma(t, () => toTf(gone), 'DISPOSED', 'a disposed tensor');
  throwsSigma(
    t,
    () => toTf({ data: new Float32Array(1), shape: [1] } as never),
    'INVALID_ARGUMENT',
    'a view',
    'tensor',
  );
});

test('the main entry does not load tfjs', async (t) => {
  const loaded = (name: string) => {
    const code = `import '${name}'; import { createRequire } from 'node:module';
      console.log(Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('tfjs-core')));`;
    return execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }).trim();
  };
  t.equal(loaded('sigmatune'), 'false');
  t.equal(loaded('sigmatune/tfjs'), 'true', 'and its own entry does');
});

t.teardown(() => disposeAll(weight, bias));
