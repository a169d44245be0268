import { AdamW, matmul, type Tensor, tensor, tidy, zeros } from 'sigmatune';
import t from 'tap';
import { layerShapes, oneOfEach } from '../support/cases.js';
import { assertClose, disposeAll, expectNoLeak, fill, item, snapshot, throwsSigma } from '../support/helpers.js';
import { bench, disposeLayer, makeLayer } from '../support/layer.js';

t.test('disposes tensors that are not returned', async (t) => {
  await expectNoLeak(t, 'tidy', () => {
    const inside: Tensor[] = [];
    const kept = tidy(() => {
      const a = tensor([1, 2, 3, 4], [2, 2]);
      const b = matmul(a, a);
      inside.push(a, b);
      return matmul(b, a);
    });
    t.ok(
      inside.every(({ disposed }) => disposed),
      'the steps on the way are gone',
    );
    t.same([...kept.dataSync()], [37, 54, 81, 118], 'the result is not');
    kept.dispose();
  });
});

t.test('keeps tensors in returned structures', async (t) => {
  await expectNoLeak(t, 'structures', () => {
    const made: Tensor[] = [];
    const fresh = (): Tensor => {
      const one = zeros([1]);
      made.push(one);
      return one;
    };
    const result = tidy(() => {
      fresh();
      return {
        one: fresh(),
        list: [fresh(), [fresh()]],
        map: new Map([['key', fresh()]]),
        set: new Set([fresh()]),
        number: 5,
        nothing: null,
      };
    });
    t.same(
      made.map(({ disposed }) => disposed),
      [true, false, false, false, false, false],
      'objects, arrays, maps and sets keep theirs',
    );
    t.equal(result.number, 5);
    disposeAll(...made);
    t.equal(
      tidy(() => 'plain'),
      'plain',
    );
    t.equal(
      tidy(() => undefined),
      undefined,
    );
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    t.equal(
      tidy(() => cyclic),
      cyclic,
      'a structure that contains itself',
    );
  });
});

t.test('keeps tensors under any key', async (t) => {
  class Batch extends Map<string, unknown> {
    readonly loss: Tensor;
    constructor(loss: Tensor) {
      super([['key', { deep: zeros([1]) }]]);
      this.loss = loss;
    }
  }
  const hidden = Symbol('hidden');
  const ways: Record<string, () => [unknown, (result: never) => Tensor]> = {
    'a symbol': () => [{ [hidden]: zeros([1]) }, (result: { [hidden]: Tensor }) => result[hidden]],
    'a key that is not enumerable': () => [
      Object.defineProperty({}, 'y', { value: zeros([1]) }),
      (result: { y: Tensor }) => result.y,
    ],
    'an own getter': () => {
      const y = zeros([1]);
      return [Object.defineProperty({}, 'y', { get: () => y, enumerable: true }), (result: { y: Tensor }) => result.y];
    },
    'a property of an array besides its elements': () => [
      Object.assign([1, 2], { y: zeros([1]) }),
      (result: { y: Tensor }) => result.y,
    ],
    'a property of a function': () => [Object.assign(() => 1, { y: zeros([1]) }), (result: { y: Tensor }) => result.y],
    'a field of a map': () => [new Batch(zeros([1])), (result: Batch) => result.loss],
    'a key of a map': () => [new Map([[zeros([1]), 1]]), (result: Map<Tensor, number>) => item([...result.keys()], 0)],
    'an object without a prototype': () => [
      Object.assign(Object.create(null), { y: zeros([1]) }),
      (result: { y: Tensor }) => result.y,
    ],
  };
  for (const [name, make] of Object.entries(ways)) {
    await expectNoLeak(t, name, () => {
      let look: (result: never) => Tensor = () => t.fail('not run') as never;
      const result = tidy(() => {
        const [made, find] = make();
        look = find;
        zeros([3]);
        return made;
      });
      t.notOk(look(result as never).disposed, name);
      look(result as never).dispose();
      if (result instanceof Batch) (result.get('key') as { deep: Tensor }).deep.dispose();
    });
  }
});

t.test('refuses a promise anywhere in the result, and disposes everything', async (t) => {
  await expectNoLeak(t, 'promises', () => {
    for (const wrap of [
      (promise: unknown) => promise,
      (promise: unknown) => ({ later: [promise] }),
      (promise: unknown) => new Map([['later', promise]]),
    ]) {
      throwsSigma(t, () => tidy(() => wrap(zeros([2]).data())), 'INVALID_ARGUMENT', 'a promise', 'body', 'promise');
    }
  });
});

t.test('nested scopes', async (t) => {
  await expectNoLeak(t, 'nested', () => {
    let inner: Tensor | undefined;
    let escaped: Tensor | undefined;
    const outer = tidy(() => {
      const before = zeros([1]);
      inner = tidy(() => {
        zeros([3]);
        return zeros([2]);
      });
      t.ok(!inner.disposed && !before.disposed, 'the inner result belongs to the outer scope');
      escaped = tidy(() => before);
      return zeros([4]);
    });
    t.ok(inner?.disposed, 'and ends with it, unless returned again');
    t.ok(escaped?.disposed, 'a tensor of the outer scope passes through the inner one');
    t.equal(outer.disposed, false);
    outer.dispose();
  });
});

t.test('tensors from outside are left alone', async (t) => {
  await expectNoLeak(t, 'outside', () => {
    const outside = zeros([2, 2]);
    const result = tidy(() => matmul(outside, outside));
    t.equal(outside.disposed, false);
    const same = tidy(() => outside);
    t.ok(same === outside && !outside.disposed, 'also when returned');
    disposeAll(outside, result);
  });
});

t.test('a body that throws', async (t) => {
  await expectNoLeak(t, 'throwing', () => {
    const failure = new Error('mine');
    let inside: Tensor | undefined;
    try {
      tidy(() => {
        inside = zeros([1]);
        throw failure;
      });
      t.fail('the error passes through');
    } catch (error) {
      t.equal(error, failure, 'the error passes through');
    }
    t.ok(inside?.disposed, 'what it made is disposed');
    const after = tidy(() => zeros([1]));
    t.equal(after.disposed, false, 'the next scope works');
    after.dispose();
  });
});

t.test('a body that returns a promise', async (t) => {
  await expectNoLeak(t, 'promise', () => {
    let inside: Tensor | undefined;
    throwsSigma(
      t,
      () =>
        tidy(async () => {
          inside = zeros([1]);
          return inside;
        }),
      'INVALID_ARGUMENT',
      'a promise',
      'body',
      'promise',
    );
    t.ok(inside?.disposed, 'what it made is disposed');
    throwsSigma(t, () => tidy(5 as unknown as () => void), 'INVALID_ARGUMENT', 'no function', 'body', '5');
  });
});

t.test('gradients that layers keep survive', async (t) => {
  await expectNoLeak(t, 'gradients', async () => {
    using on = await bench(item(layerShapes, 0), 'float32');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        for (let round = 0; round < 2; round++) {
          tidy(() => {
            const pass = layer.forward(on.x);
            pass.backward(on.dy);
            layer.apply(on.x);
            layer.mergedWeight();
          });
          for (const { name, grad } of layer.parameters) {
            t.ok(
              grad && !grad.disposed && grad.dataSync().length === grad.size,
              `${family.name}, ${strategy}, round ${round}: ${name}`,
            );
          }
        }
        const y = layer.apply(on.x);
        t.equal(y.disposed, false, 'and the layer still works');
        y.dispose();
        disposeLayer(layer);
      }
    }
  });
});

t.test('a pass made in a scope', async (t) => {
  await expectNoLeak(t, 'pass', async () => {
    using on = await bench(item(layerShapes, 0), 'float32');
    const layer = await makeLayer(item(oneOfEach, 0), on, 'auto');
    const pass = tidy(() => layer.forward(on.x));
    t.equal(pass.y.disposed, false, 'y goes with the pass that is returned');
    const dx = pass.backward(on.dy);
    t.equal(dx.size, on.x.size, 'and what the pass needs as well');
    disposeAll(dx, pass.y, pass);
    tidy(() => {
      layer.forward(on.x);
    });
    disposeLayer(layer);
  });
});

t.test('gradients that a framework assigns', async (t) => {
  await expectNoLeak(t, 'assigned gradients', async () => {
    using on = await bench(item(layerShapes, 0), 'float32');
    const layer = await makeLayer(item(oneOfEach, 0), on, 'auto');
    const before = layer.parameters.map(({ value }) => snapshot(value));
    const optimizer = new AdamW(layer.parameters, { lr: 0.1, weightDecay: 0 });
    tidy(() => {
      tidy(() => {
        for (const entry of layer.parameters) {
          const grad = zeros(entry.value.shape);
          fill(grad, 1);
          entry.grad = grad;
        }
      });
    });
    t.ok(
      layer.parameters.every(({ grad }) => grad?.disposed === false),
      'survive every scope',
    );
    optimizer.step();
    layer.parameters.forEach(({ name, value }, i) => {
      const expected = (before[i] ?? new Float64Array()).map((start) => start - 0.1);
      assertClose(t, value, expected, { atol: 1e-6, rtol: 0 }, `${name}: and are stepped by`);
    });
    optimizer.zeroGrad();
    disposeLayer(layer);
  });
});

t.test('factors that are first read in a scope', async (t) => {
  await expectNoLeak(t, 'factors', async () => {
    using on = await bench(item(layerShapes, 0), 'float32');
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        const { u } = layer.factors;
        const again = tidy(() => layer.factors.u === u);
        t.ok(again && !u.disposed, `${family.name}, ${strategy}: belong to the layer`);
        disposeLayer(layer);
        t.ok(u.disposed, `${family.name}, ${strategy}: and go with it`);
      }
    }
    const layer = await makeLayer(item(oneOfEach, 1), on, 'factored');
    tidy(() => {
      t.same(layer.factors.s.shape, [layer.rank], 'also where the scope is the first to ask');
    });
    t.equal(layer.factors.s.disposed, false);
    disposeLayer(layer);
  });
});

t.test('a structure nested deeper than the call stack', async (t) => {
  await expectNoLeak(t, 'deep', () => {
    interface Link {
      next?: Link;
      end?: Tensor;
    }
    const depth = 20_000;
    const [deep, end] = tidy(() => {
      const last = zeros([1]);
      let link: Link = { end: last };
      for (let i = 0; i < depth; i++) link = { next: link };
      zeros([2]);
      return [link, () => last] as const;
    });
    let link: Link = deep;
    let steps = 0;
    while (link.next) {
      link = link.next;
      steps++;
    }
    t.equal(steps, depth);
    t.ok(link.end === end() && !link.end.disposed, 'a tensor at its very end is returned');
    link.end?.dispose();
  });
});
