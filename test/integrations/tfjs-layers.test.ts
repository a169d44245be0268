/** sigmatune/tfjs: AdaptedDense, a layer of tf.layers whose weights are the trained numbers. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { AdamW, type AdaptedLinear, clipGradNorm, Sgd, svft, type Tensor, tensor, vectorFit } from 'sigmatune';
import { AdaptedDense, adaptedDense, fromTf, toTf } from 'sigmatune/tfjs';
import t, { type Test } from 'tap';
import { oneOfEach } from '../support/cases.js';
import { assertClose, assertSameBits, cpuOnly, disposeAll, gaussian, seeded, throwsSigma } from '../support/helpers.js';
import { clearGradients, gradientsOf, perturb } from '../support/layer.js';
import { backends, makeAnchor, numbers, on } from '../support/tfjs.js';

/** Layers of tfjs are on the CPU. */
const test = (name: string, body: (t: Test) => Promise<void>) => t.test(name, { skip: cpuOnly }, body);

const random = seeded(6);
const weight = gaussian(random, [6, 4], 'float32', 0.5);
const bias = gaussian(random, [6], 'float32');

/** Some rows and targets, the same each time. */
function data(): { x: tf.Tensor; target: tf.Tensor } {
  return { x: tf.randomNormal([9, 4], 0, 1, 'float32', 1), target: tf.randomNormal([9, 6], 0, 1, 'float32', 2) };
}

const lossOf = (y: tf.Tensor, target: tf.Tensor) => tf.losses.meanSquaredError(target, y) as tf.Scalar;
const called = (dense: AdaptedDense, x: tf.Tensor) => dense.apply(x) as tf.Tensor;
const state = (layer: AdaptedLinear) => layer.parameters.map(({ value }) => [...value.dataSync()]);

t.before(() => makeAnchor(weight));

test('each family as a tf layer: y, dx and the gradients of the weights', async (t) => {
  for (const backend of backends) {
    for (const family of oneOfEach) {
      await on(t, backend, family.name, async () => {
        const layer = await family.make(weight, { bias });
        perturb(layer);
        const dense = new AdaptedDense({ layer });
        const x = gaussian(random, [2, 3, 4], 'float32');
        const dy = gaussian(random, [2, 3, 6], 'float32');
        const pass = layer.forward(x);
        const dx = pass.backward(dy);
        const wanted = gradientsOf(layer);
        clearGradients(layer);
        const [tx, tdy] = [toTf(x), toTf(dy)];
        const y = called(dense, tx);
        const applied = layer.apply(x);
        assertSameBits(t, numbers(y), applied, `${family.name}: y`);
        const variables = dense.trainableWeights.map((each) => each.read() as tf.Variable);
        t.equal(variables.length, layer.parameters.length);
        const run = () => tf.sum(tf.mul(called(dense, tx), tdy)) as tf.Scalar;
        const { value, grads } = tf.variableGrads(run, variables);
        for (const [i, variable] of variables.entries()) {
          assertSameBits(
            t,
            numbers(grads[variable.name] as tf.Tensor),
            wanted[i] ?? [],
            `${family.name}: ${variable.name}`,
          );
        }
        t.ok(
          layer.parameters.every(({ grad }) => grad === null),
          'they go to tfjs, not to the parameters',
        );
        const input = tf.grad((each: tf.Tensor) => tf.sum(tf.mul(called(dense, each), tdy)))(tx);
        assertSameBits(t, numbers(input), dx, `${family.name}: dx`);
        t.same(dense.computeOutputShape([null, 3, 4]), [null, 3, 6]);
        tf.dispose([tx, tdy, y, value, grads, input]);
        dense.dispose();
        disposeAll(x, dy, pass.y, applied, dx, layer);
      });
    }
  }
});

test('an optimiser of tfjs trains the parameters: as ours does', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'sgd', async () => {
      const [layer, twin] = [await svft(weight, { bias }), await svft(weight, { bias })];
      const dense = new AdaptedDense({ layer });
      const ours = adaptedDense(twin);
      const { x, target } = data();
      tf.dispose(called(dense, x));
      const variables = dense.trainableWeights.map((each) => each.read() as tf.Variable);
      const [theirs, own] = [tf.train.sgd(0.5), new Sgd(twin.parameters, { lr: 0.5 })];
      for (let step = 0; step < 10; step++) {
        theirs.minimize(() => lossOf(called(dense, x), target), false, variables);
        tf.dispose(tf.variableGrads(() => lossOf(ours(x), target), variables.slice(0, 0).concat(anchorOf())));
        own.step();
        own.zeroGrad();
      }
      tf.dispose(called(dense, x));
      for (const [i, { value }] of layer.parameters.entries()) {
        assertClose(
          t,
          value,
          twin.parameters[i]?.value ?? [],
          { atol: 1e-5, rtol: 1e-5 },
          `${backend}, parameter ${i}`,
        );
      }
      tf.dispose([x, target]);
      theirs.dispose();
      dense.dispose();
      disposeAll(layer, twin);
    });
  }
});

/** The variables that tfjs differentiates by on its own: those that adaptedDense has. */
function anchorOf(): tf.Variable[] {
  return Object.values(tf.engine().registeredVariables).filter(({ size, shape }) => size === 1 && shape.length === 0);
}

test('our optimiser on gradients that tfjs gives for its weights', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'ours on tfjs', async () => {
      const [layer, twin] = [await vectorFit(weight, { bias }), await vectorFit(weight, { bias })];
      const dense = new AdaptedDense({ layer });
      const { x, target } = data();
      tf.dispose(called(dense, x));
      const variables = dense.trainableWeights.map((each) => each.read() as tf.Variable);
      const [optimizer, own] = [new AdamW(layer.parameters, { lr: 0.05 }), new AdamW(twin.parameters, { lr: 0.05 })];
      const other = adaptedDense(twin);
      for (let step = 0; step < 5; step++) {
        const { value, grads } = tf.variableGrads(() => lossOf(called(dense, x), target), variables);
        for (const [i, parameter] of layer.parameters.entries()) {
          parameter.grad = fromTf(grads[variables[i]?.name ?? ''] as tf.Tensor);
        }
        clipGradNorm(layer.parameters, 10);
        optimizer.step();
        optimizer.zeroGrad();
        tf.dispose([value, grads]);
        tf.dispose(tf.grad((input: tf.Tensor) => lossOf(other(input), target))(x));
        own.step();
        own.zeroGrad();
        const [y, wanted] = [called(dense, x), other(x)];
        assertSameBits(t, numbers(y), numbers(wanted), `${backend}: y after step ${step}`);
        for (const [i, variable] of variables.entries()) {
          assertSameBits(t, numbers(variable), twin.parameters[i]?.value ?? [], `${backend}: tfjs sees the step`);
        }
        tf.dispose([y, wanted]);
      }
      tf.dispose([x, target]);
      dense.dispose();
      disposeAll(layer, twin);
    });
  }
});

test('model.fit of a model with AdaptedDense, a head, and a sequence as input', async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'fit', async () => {
      const layer = await svft(weight, { pattern: 'banded', bias });
      const start = state(layer);
      const model = tfl.sequential({
        layers: [
          new AdaptedDense({ layer, inputShape: [3, 4], name: 'adapted' }),
          tfl.layers.flatten(),
          tfl.layers.dense({ units: 1 }),
        ],
      });
      model.compile({ optimizer: tf.train.adam(0.02), loss: 'meanSquaredError' });
      t.equal(model.layers[0]?.countParams(), layer.parameterCount);
      const [x, y] = [tf.randomNormal([32, 3, 4], 0, 1, 'float32', 1), tf.randomNormal([32, 1], 0, 1, 'float32', 2)];
      const { history } = await model.fit(x, y, { epochs: 8, batchSize: 8, shuffle: false, verbose: 0 });
      const losses = history['loss'] as number[];
      t.ok(
        (losses.at(-1) as number) < (losses[0] as number),
        `${backend}: the loss falls: ${losses[0]} to ${losses.at(-1)}`,
      );
      t.not(String(state(layer)), String(start), 'the parameters of the layer have moved');
      const merged = layer.mergedWeight();
      const predicted = model.predict(x) as tf.Tensor;
      const later = layer.mergedWeight();
      assertSameBits(t, merged, later, "W' has the last step before the next call");
      disposeAll(merged, later);
      t.same(predicted.shape, [32, 1]);
      const found = model.layers[0]?.getWeights() ?? [];
      for (const [i, values] of found.entries())
        assertSameBits(t, numbers(values), layer.parameters[i]?.value ?? [], 'weights');
      tf.dispose([x, y, predicted]);
      model.optimizer.dispose();
      model.dispose();
      layer.dispose();
    });
  }
});

test('each side sees what the other writes', async (t) => {
  await on(t, 'cpu', 'writers', async () => {
    const layer = await vectorFit(weight);
    const dense = new AdaptedDense({ layer, name: 'q' });
    const x = tf.ones([1, 4]);
    const y = () => tf.tidy(() => [...called(dense, x).dataSync()]);
    const first = y();
    const sigma = layer.parameters[0]?.value as Tensor;
    const start = [...sigma.dataSync()];
    sigma.assign(start.map((value) => 2 * value));
    const doubled = y();
    assertClose(
      t,
      doubled,
      first.map((value) => 2 * value),
      { atol: 1e-6, rtol: 1e-6 },
      'parameter.value was written',
    );
    assertSameBits(t, numbers(dense.getWeights()[0] as tf.Tensor), sigma, 'and the weight has it');
    tf.tidy(() => dense.setWeights([tf.tensor(start)]));
    assertSameBits(t, sigma, start, 'the weight was written, and the parameter has it at once');
    assertSameBits(t, y(), first, 'and so has y');
    sigma.dataSync()[0] = 7;
    assertSameBits(t, numbers(dense.getWeights()[0] as tf.Tensor), sigma, 'weights that are read are up to date');
    sigma.dataSync()[0] = 8;
    tf.tidy(() => dense.setWeights([tf.tensor([1, 2, 3, 4])]));
    assertSameBits(t, sigma, [1, 2, 3, 4], 'the last writer counts');
    tf.dispose(called(dense, x));
    assertSameBits(t, numbers(dense.getWeights()[0] as tf.Tensor), [1, 2, 3, 4], 'on both sides');
    x.dispose();
    dense.dispose();
    layer.dispose();
  });
});

test('a frozen parameter is a frozen weight', async (t) => {
  await on(t, 'cpu', 'frozen', async () => {
    const layer = await vectorFit(weight, { bias });
    const dense = new AdaptedDense({ layer });
    const x = tf.ones([2, 4]);
    tf.dispose(called(dense, x));
    t.equal(dense.trainableWeights.length, 2);
    const [sigma] = layer.parameters;
    if (!sigma) throw new Error('no σ');
    sigma.trainable = false;
    tf.dispose(called(dense, x));
    t.equal(dense.trainableWeights.length, 1);
    const variables = dense.weights.map((each) => each.read() as tf.Variable);
    const loss = () => tf.sum(called(dense, x)) as tf.Scalar;
    const { value, grads } = tf.variableGrads(loss, variables);
    t.same(
      variables.map(({ name }) => grads[name] !== null),
      variables.map(({ name }) => name.endsWith('bias')),
      'tfjs leaves it out',
    );
    tf.dispose([value, grads, x]);
    dense.dispose();
    layer.dispose();
  });
});

test("train: 'sigmatune' has no weights, and gradients add into the parameters", async (t) => {
  await on(t, 'cpu', 'sigmatune', async () => {
    const layer = await vectorFit(weight);
    adaptedDense(layer);
    const dense = new AdaptedDense({ layer, train: 'sigmatune' });
    const x = tf.ones([2, 4]);
    const { value, grads } = tf.variableGrads(() => tf.sum(called(dense, x)) as tf.Scalar);
    t.equal(dense.weights.length, 0);
    t.ok(layer.parameters.every(({ grad }) => grad !== null));
    tf.dispose([value, grads, x]);
    clearGradients(layer);
    dense.dispose();
    layer.dispose();
  });
});

/** A handler that keeps a saved model in memory. */
function inMemory(): { handler: tf.io.IOHandler; artifacts: () => tf.io.ModelArtifacts } {
  let kept: tf.io.ModelArtifacts | undefined;
  const handler = tf.io.withSaveHandler((artifacts) => {
    kept = artifacts;
    return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } });
  });
  return { handler, artifacts: () => kept as tf.io.ModelArtifacts };
}

test('a model is saved with the trained numbers, and loaded onto the same base', async (t) => {
  await on(t, 'cpu', 'save', async () => {
    const layer = await svft(weight, { pattern: 'banded', bias, name: 'encoder.q' });
    const model = tfl.sequential({ layers: [new AdaptedDense({ layer, inputShape: [4], name: 'q' })] });
    perturb(layer);
    const x = tf.randomNormal([3, 4], 0, 1, 'float32', 3);
    const wanted = model.predict(x) as tf.Tensor;
    const { handler, artifacts } = inMemory();
    await model.save(handler);
    const saved = artifacts();
    t.same(
      saved.weightSpecs?.map(({ name }) => name),
      ['q/m', 'q/gate'],
      'not the frozen weight',
    );
    const load = () => tfl.loadLayersModel(tf.io.fromMemory(saved));
    await t.rejects(load(), { code: 'INVALID_ARGUMENT', message: /AdaptedDense\.layers\.set\('q'/ });
    const wrong = await vectorFit(weight);
    AdaptedDense.layers.set('q', wrong);
    await t.rejects(load(), { code: 'BASE_MISMATCH', message: /svft \[6, 4\] with m, gate.*vectorfit/ });
    const again = await svft(weight, { pattern: 'banded', bias });
    AdaptedDense.layers.set('q', again);
    const loaded = await load();
    AdaptedDense.layers.clear();
    const found = loaded.predict(x) as tf.Tensor;
    assertSameBits(t, numbers(found), numbers(wanted), 'y');
    for (const [i, { value }] of again.parameters.entries())
      assertSameBits(t, value, layer.parameters[i]?.value ?? [], 'numbers');
    tf.dispose([x, wanted, found]);
    model.dispose();
    loaded.dispose();
    disposeAll(layer, wrong, again);
  });
});

test('what AdaptedDense refuses', async (t) => {
  await on(t, 'cpu', 'refused', async () => {
    const layer = await vectorFit(weight);
    throwsSigma(t, () => new AdaptedDense({ layer: weight as never }), 'INVALID_ARGUMENT', 'no layer', 'layer');
    throwsSigma(t, () => new AdaptedDense({ layer, train: 'both' as never }), 'INVALID_ARGUMENT', 'train', "'both'");
    const narrow = new AdaptedDense({ layer });
    const wide = tf.zeros([2, 5]);
    for (const [label, body] of [
      ['in a model', () => tfl.sequential({ layers: [new AdaptedDense({ layer, inputShape: [3, 5] })] })],
      ['at the first call', () => called(narrow, wide)],
      ['later', () => tf.tidy(() => [called(narrow, tf.zeros([4])), called(narrow, wide)])],
    ] as const) {
      throwsSigma(t, body, 'SHAPE_MISMATCH', `another width, ${label}`, '[..., 4]', '5');
    }
    narrow.dispose();
    wide.dispose();
    const dense = new AdaptedDense({ layer });
    const x = tf.zeros([2, 4], 'int32');
    throwsSigma(t, () => tf.tidy(() => called(dense, x)), 'DTYPE_MISMATCH', 'int32', 'AdaptedDense', 'float32');
    x.dispose();
    dense.dispose();
    layer.dispose();
  });
});

test("W0 from a dense layer of tfjs, and W' back into one", async (t) => {
  for (const backend of backends) {
    await on(t, backend, 'from a dense layer', async () => {
      const dense = tfl.layers.dense({ units: 6, inputShape: [4] });
      const model = tfl.sequential({ layers: [dense] });
      const [kernel, b] = dense.getWeights().map(fromTf) as [Tensor<'float32'>, Tensor<'float32'>];
      const layer = await svft(kernel, { layout: 'in-out', bias: b, pattern: 'banded' });
      const x = tf.randomNormal([3, 4], 0, 1, 'float32', 3);
      const wanted = model.predict(x) as tf.Tensor;
      const y = adaptedDense(layer)(x);
      assertClose(t, numbers(y), numbers(wanted), { atol: 1e-5, rtol: 1e-5 }, `${backend}: before training`);
      perturb(layer);
      const merged = layer.mergedWeight();
      tf.tidy(() => dense.setWeights([tf.transpose(toTf(merged) as tf.Tensor2D), dense.getWeights()[1] as tf.Tensor]));
      const [found, adapted] = [model.predict(x) as tf.Tensor, adaptedDense(layer)(x)];
      assertClose(t, numbers(found), numbers(adapted), { atol: 1e-5, rtol: 1e-5 }, `${backend}: merged`);
      tf.dispose([x, wanted, y, found, adapted]);
      model.dispose();
      disposeAll(kernel, b, merged, layer, tensor([1]));
    });
  }
});

t.teardown(() => disposeAll(weight, bias));
