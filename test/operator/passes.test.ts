/** Forward passes and their pull-backs: gradients, memory, lifetime. */
import t from 'tap';
import { layerShapes, matrixDTypes, oneOfEach, tolerances, vectorsOf } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  bytes,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  item,
  snapshot,
  throwsSigma,
  write,
} from '../support/helpers.js';
import { bench, clearGradients, disposeLayer, gradientsOf, makeLayer, perturb } from '../support/layer.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);

t.test('gradients add up until they are cleared', async (t) => {
  await expectNoLeak(t, 'accumulation', async () => {
    for (const dtype of matrixDTypes) {
      using on = await bench(tall, dtype);
      const [vectors, tolerance] = [vectorsOf(dtype), tolerances[vectorsOf(dtype)]];
      for (const family of oneOfEach) {
        for (const strategy of family.strategies) {
          const label = `${family.name}, ${strategy}, ${dtype}`;
          const layer = await makeLayer(family, on, strategy);
          perturb(layer);
          const once = layer.forward(on.x);
          disposeAll(once.backward(on.dy), once.y, once);
          const single = gradientsOf(layer);
          const [first, second] = [layer.forward(on.x), layer.forward(on.x)];
          disposeAll(second.backward(on.dy), first.backward(on.dy), first.y, second.y, first, second);
          layer.parameters.forEach(({ name, grad }, i) => {
            assertClose(
              t,
              grad ?? [],
              (single[i] ?? new Float64Array()).map((value) => 3 * value),
              tolerance,
              `${label}: ${name} thrice`,
            );
          });

          for (const entry of layer.parameters) {
            entry.grad?.dispose();
            entry.grad = gaussian(on.random, entry.value.shape, vectors);
          }
          const assigned = layer.parameters.map(({ grad }) => grad);
          const before = assigned.map((grad) => (grad ? snapshot(grad) : new Float64Array()));
          const third = layer.forward(on.x);
          disposeAll(third.backward(on.dy), third.y, third);
          layer.parameters.forEach(({ name, grad }, i) => {
            const given = before[i] ?? new Float64Array();
            const sum = given.map((value, j) => value + at(single[i] ?? [], j));
            assertClose(t, grad ?? [], sum, tolerance, `${label}: ${name} adds to what a framework assigned`);
            const own = assigned[i];
            if (own && !own.disposed) {
              assertSameBits(t, own, given, `${label}: and does not write into it`);
              if (own !== grad) own.dispose();
            } else t.fail(`${label}: a framework's gradient of ${name} is not disposed from under it`);
          });
          disposeLayer(layer);
        }
      }
    }
  });
});

t.test('a frozen parameter gets no gradient', async (t) => {
  await expectNoLeak(t, 'frozen', async () => {
    using on = await bench(square, 'float64');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const full = layer.forward(on.x);
        const dx = full.backward(on.dy);
        const gradients = new Map(layer.parameters.map(({ name, grad }) => [name, grad ? snapshot(grad) : undefined]));
        disposeAll(full.y, full);
        for (const frozen of layer.parameters) {
          clearGradients(layer);
          for (const entry of layer.parameters) entry.trainable = entry !== frozen;
          const pass = layer.forward(on.x);
          const partial = pass.backward(on.dy);
          assertClose(
            t,
            partial,
            dx,
            tolerances.float64,
            `${family.name}, ${strategy}, ${frozen.name} frozen: dx is the same`,
          );
          for (const { name, grad } of layer.parameters) {
            if (name === frozen.name)
              t.equal(grad, null, `${family.name}, ${strategy}: ${name} stays without a gradient`);
            else
              assertClose(
                t,
                grad ?? [],
                gradients.get(name) ?? [],
                tolerances.float64,
                `${family.name}, ${strategy}: ${name} still has one`,
              );
          }
          disposeAll(pass.y, partial, pass);
        }
        for (const entry of layer.parameters) entry.trainable = false;
        const count = layer.parameterCount;
        clearGradients(layer);
        const pass = layer.forward(on.x);
        disposeAll(pass.backward(on.dy), pass.y, pass, dx);
        t.ok(
          layer.parameters.every(({ grad }) => grad === null),
          `${family.name}, ${strategy}: all frozen, no gradient at all`,
        );
        t.equal(layer.parameterCount, count, `${family.name}: freezing does not change the count`);
        disposeLayer(layer);
      }
    }
  });
});

t.test('the gradient of the input can be left out', async (t) => {
  await expectNoLeak(t, 'inputGrad: false', async () => {
    using on = await bench(tall, 'float64');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const whole = layer.forward(on.x);
        disposeAll(whole.backward(on.dy), whole.y, whole);
        const expected = gradientsOf(layer);
        clearGradients(layer);
        const pass = layer.forward(on.x);
        t.equal(pass.backward(on.dy, { inputGrad: false }), undefined, `${family.name}, ${strategy}: gives nothing`);
        layer.parameters.forEach(({ name, grad }, i) => {
          assertClose(
            t,
            grad ?? [],
            expected[i] ?? [],
            tolerances.float64,
            `${family.name}, ${strategy}: ${name} is as with dx`,
          );
        });
        disposeAll(pass.y, pass);
        disposeLayer(layer);
      }
    }
  });
});

t.test('a pass does not depend on later writes', async (t) => {
  using on = await bench(tall, 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const label = `${family.name}, ${strategy}`;
      const layer = await makeLayer(family, on, strategy);
      perturb(layer);
      const plain = layer.forward(on.x);
      const dx = plain.backward(on.dy);
      const expected = gradientsOf(layer);
      clearGradients(layer);
      const x = gaussian(on.random, on.x.shape, 'float64');
      write(x, snapshot(on.x));
      const pass = layer.forward(x);
      fill(x, 99);
      x.dispose();
      for (const { value } of layer.parameters) fill(value, -3);
      fill(pass.y, 5);
      pass.y.dispose();
      const late = pass.backward(on.dy);
      assertClose(t, late, dx, tolerances.float64, `${label}: dx after x and the parameters were overwritten`);
      layer.parameters.forEach(({ name, grad }, i) => {
        assertClose(
          t,
          grad ?? [],
          expected[i] ?? [],
          tolerances.float64,
          `${label}: ${name} after they were overwritten`,
        );
      });
      disposeAll(plain.y, plain, dx, late, pass);
      disposeLayer(layer);
    }
  }
});

t.test('a pass has one backward', async (t) => {
  await expectNoLeak(t, 'passes', async () => {
    using on = await bench(square, 'float32');
    for (const family of oneOfEach) {
      const layer = await makeLayer(family, on, 'auto');
      const pass = layer.forward(on.x);
      const dx = pass.backward(on.dy);
      const before = gradientsOf(layer);
      throwsSigma(t, () => pass.backward(on.dy), 'CONSUMED', `${family.name}: backward twice`);
      throwsSigma(
        t,
        () => pass.backward(on.dy, { inputGrad: false }),
        'CONSUMED',
        `${family.name}: backward twice, without dx`,
      );
      for (const [i, { grad }] of layer.parameters.entries()) {
        assertSameBits(t, grad ?? [], before[i] ?? [], 'no gradient was added');
      }
      disposeAll(pass, pass, pass.y, dx);

      const unused = layer.forward(on.x);
      unused.dispose();
      unused.dispose();
      throwsSigma(t, () => unused.backward(on.dy), ['DISPOSED', 'CONSUMED'], `${family.name}: backward after dispose`);
      if (!unused.y.disposed) {
        t.equal(unused.y.dataSync().length, unused.y.size, 'y outlives its pass, or is disposed with it');
        unused.y.dispose();
      }

      const failed = layer.forward(on.x);
      const flat = on.dy.reshape([on.dy.size]);
      throwsSigma(t, () => failed.backward(flat), 'SHAPE_MISMATCH', `${family.name}: dy of a wrong shape`, 'dy');
      flat.dispose();
      const recovered = failed.backward(on.dy);
      t.equal(recovered.size, on.x.size, `${family.name}: a failed backward can be tried again`);
      disposeAll(failed.y, recovered, failed);
      disposeLayer(layer);
    }
  });
});

t.test('freezing a parameter between forward and backward', async (t) => {
  await expectNoLeak(t, 'frozen meanwhile', async () => {
    using on = await bench(square, 'float64');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        const pass = layer.forward(on.x);
        for (const entry of layer.parameters) entry.trainable = false;
        disposeAll(pass.backward(on.dy), pass.y, pass);
        t.ok(
          layer.parameters.every(({ grad }) => grad === null),
          `${family.name}, ${strategy}: gets no gradient`,
        );
        disposeLayer(layer);
      }
    }
  });
});

t.test('a layer that is disposed between forward and backward', async (t) => {
  await expectNoLeak(t, 'disposed meanwhile', async () => {
    using on = await bench(square, 'float64');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        const pass = layer.forward(on.x);
        layer.dispose();
        try {
          disposeAll(pass.backward(on.dy));
          t.pass(`${family.name}, ${strategy}: the pass works on`);
        } catch (error) {
          t.match(error, { name: 'SigmaError', code: 'DISPOSED' }, `${family.name}, ${strategy}: a clean error`);
        }
        disposeAll(pass.y, pass);
        clearGradients(layer);
      }
    }
  });
});

t.test('y as its own gradient', async (t) => {
  using on = await bench(tall, 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      perturb(layer);
      const pass = layer.forward(on.x);
      const copy = pass.y.cast('float64');
      const own = pass.backward(pass.y);
      assertSameBits(t, pass.y, copy, `${family.name}, ${strategy}: y is not written`);
      const other = layer.forward(on.x);
      const dx = other.backward(copy);
      assertSameBits(t, own, dx, `${family.name}, ${strategy}: the same dx`);
      disposeAll(pass.y, pass, copy, own, other.y, other, dx);
      disposeLayer(layer);
    }
  }
});

t.test('gradients that a framework disposes or keeps', async (t) => {
  await expectNoLeak(t, 'gradients', async () => {
    using on = await bench(square, 'float64');
    const layer = await makeLayer(item(oneOfEach, 0), on, 'auto');
    perturb(layer);
    const backward = (): void => {
      const pass = layer.forward(on.x);
      disposeAll(pass.backward(on.dy), pass.y, pass);
    };
    backward();
    const once = gradientsOf(layer);
    for (const { grad } of layer.parameters) grad?.dispose();
    backward();
    layer.parameters.forEach(({ name, grad }, i) => {
      assertSameBits(t, grad ?? [], once[i] ?? [], `${name}: a disposed gradient counts as none`);
    });
    clearGradients(layer);
    const assigned = layer.parameters.map((entry) => {
      const own = gaussian(on.random, entry.value.shape, 'float64');
      entry.grad = own;
      return own;
    });
    layer.dispose();
    t.ok(
      assigned.every(({ disposed }) => !disposed),
      "disposing the layer leaves a framework's gradients to the framework",
    );
    disposeAll(...assigned);
  });
});

t.test('unfreezing a parameter between forward and backward', async (t) => {
  // The pass kept nothing for a parameter that was frozen at its forward.
  using on = await bench(square, 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      for (const entry of layer.parameters) entry.trainable = false;
      const pass = layer.forward(on.x);
      for (const entry of layer.parameters) entry.trainable = true;
      disposeAll(pass.backward(on.dy), pass.y, pass);
      t.ok(
        layer.parameters.every(({ grad }) => grad === null),
        `${family.name}, ${strategy}: gets no gradient from that pass`,
      );
      disposeLayer(layer);
    }
  }
});

t.test('a pass keeps nothing for parameters that are frozen', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      for (const entry of layer.parameters) entry.trainable = false;
      // W', if needed, is built by now. It belongs to the layer, not to the pass.
      layer.apply(on.x).dispose();
      disposeAll(layer.forward(on.x).y);
      const before = bytes();
      const pass = layer.forward(on.x);
      pass.y.dispose();
      t.equal(bytes(), before, `${family.name}, ${strategy}`);
      pass.dispose();
      disposeLayer(layer);
    }
  }
});

t.test('a gradient that is assigned to itself', async (t) => {
  await expectNoLeak(t, 'self-assignment', async () => {
    using on = await bench(square, 'float64');
    for (const family of oneOfEach) {
      const layer = await makeLayer(family, on, 'auto');
      perturb(layer);
      const backward = (): void => {
        const pass = layer.forward(on.x);
        disposeAll(pass.backward(on.dy), pass.y, pass);
      };
      backward();
      const once = gradientsOf(layer);
      const own = layer.parameters.map(({ grad }) => grad);
      layer.parameters.forEach((entry, i) => {
        entry.grad = own[i] ?? null;
      });
      backward();
      layer.parameters.forEach(({ name, grad }, i) => {
        t.equal(grad, own[i], `${family.name}: ${name} is still added to in place`);
        const twice = (once[i] ?? new Float64Array()).map((value) => 2 * value);
        assertClose(t, grad ?? [], twice, tolerances.float64, `${family.name}: ${name} twice`);
      });
      // The layer disposes its own gradients; it would leave borrowed ones.
      layer.dispose();
    }
  });
});

t.test('a getter of the options consumes the pass', async (t) => {
  await expectNoLeak(t, 're-entered', async () => {
    using on = await bench(square, 'float64');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const whole = layer.forward(on.x);
        disposeAll(whole.backward(on.dy), whole.y);
        const once = gradientsOf(layer);
        for (const [act, code] of [
          [(pass: ReturnType<typeof layer.forward>) => disposeAll(pass.backward(on.dy)), 'CONSUMED'],
          [(pass: ReturnType<typeof layer.forward>) => pass.dispose(), 'DISPOSED'],
        ] as const) {
          clearGradients(layer);
          const pass = layer.forward(on.x);
          const options = {
            get inputGrad() {
              act(pass);
              return true;
            },
          };
          throwsSigma(t, () => pass.backward(on.dy, options), code, `${family.name}, ${strategy}`);
          layer.parameters.forEach(({ grad }, i) => {
            if (code === 'CONSUMED') assertSameBits(t, grad ?? [], item(once, i), `${family.name}: added once`);
            else t.equal(grad, null, `${family.name}: nothing was added`);
          });
          pass.y.dispose();
        }
        disposeLayer(layer);
      }
    }
  });
});
