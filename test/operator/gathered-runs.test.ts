/**
 * The strategy 'merged' over whole runs: the memory of gathered gradients, the result of training, any order of events,
 * apply with the cached W', and determinism.
 */
import {
  AdamW,
  type AdaptedLinear,
  clipGradNorm,
  type Optimizer,
  type Parameter,
  Sgd,
  setThreads,
  type Tensor,
  threads,
  tidy,
} from 'sigmatune';
import t from 'tap';
import {
  bytesOf,
  isHalf,
  type LayerShape,
  matrixDTypes,
  type Strategy,
  tolerances,
  vectorsOf,
} from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  bytes,
  disposeAll,
  expectNoLeak,
  Findings,
  item,
  rewrite,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { bench, clearGradients, dense, disposeLayer, gradientsOf, makeLayer } from '../support/layer.js';
import * as reference from '../support/reference.js';
import { like, Scene, shapes, sizes, square } from '../support/scene.js';
import { type Batch, batchOf, kinds, layerWith, move, named, once, pullBack } from '../support/steps.js';

// ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

t.test('a layer that is disposed with a gradient pending', async (t) => {
  using on = await bench(square, 'float64');
  const batch = batchOf(on, 5);
  for (const family of kinds) {
    await expectNoLeak(t, `${family.name}: pending`, async () => {
      const layer = await makeLayer(family, on, 'merged');
      once(layer, batch);
      once(layer, batch);
      const { parameters } = layer;
      layer.dispose();
      t.ok(
        parameters.every(({ grad }) => grad === null),
        `${family.name}: no gradient afterwards`,
      );
    });
    await expectNoLeak(t, `${family.name}: read, pending again, and a pass open`, async () => {
      const layer = await makeLayer(family, on, 'merged');
      once(layer, batch);
      gradientsOf(layer);
      once(layer, batch);
      const open = layer.forward(batch.x);
      move(layer, 8);
      const later = layer.forward(batch.x);
      layer.dispose();
      disposeAll(open, open.y, later, later.y);
    });
  }
  batch[Symbol.dispose]();
});

t.test('tidy around everything', async (t) => {
  await expectNoLeak(t, 'tidied steps', async () => {
    using on = await bench(square, 'float64');
    const batches = sizes.map((tokens) => batchOf(on, tokens));
    for (const family of kinds) {
      const findings = new Findings();
      const layer = await makeLayer(family, on, 'merged');
      move(layer);
      const scene = new Scene(findings, family, on, layer, batches, family.name);
      for (const round of [1, 2]) {
        // Each backward has its own scope. The first one allocates the gradient of W'.
        for (const index of [0, 1, 2]) tidy(() => scene.step(index));
        tidy(() => tidy(() => scene.step(3)));
        tidy(() => scene.read(`round ${round}, read in a scope`));
        tidy(() => scene.step(4));
        scene.read(`round ${round}, read outside`);
        const open = tidy(() => {
          const pass = layer.forward(scene.batch(2).x);
          scene.write(round);
          return pass;
        });
        disposeAll(open, open.y);
      }
      const held = bytes();
      tidy(() => {
        for (const batch of batches) {
          const pass = layer.forward(batch.x);
          pass.backward(batch.dy);
        }
      });
      gradientsOf(layer);
      t.equal(bytes(), held, `${family.name}: a further step holds nothing more`);
      t.same(findings.failures, [], family.name);
      disposeLayer(layer);
    }
    disposeAll(...batches);
  });
});

t.test("gathering allocates one gradient of W', for any number of passes", async (t) => {
  for (const dtype of matrixDTypes) {
    using on = await bench(square, dtype);
    const batches = sizes.map((tokens) => batchOf(on, tokens));
    const number = bytesOf(vectorsOf(dtype));
    const held = (bytesOf(dtype) + number) * square.out * square.in;
    for (const family of kinds) {
      const label = `${family.name}, ${dtype}`;
      const layer = await makeLayer(family, on, 'merged');
      const start = bytes();
      once(layer, item(batches, 0));
      const after = bytes();
      const bias = layer.parameters.find(({ name }) => name === 'bias') ? number * square.out : 0;
      t.equal(after - start, held + bias, `${label}: W' and its gradient, which has the vectors' type`);
      for (let round = 0; round < 3; round++) {
        for (const batch of batches) once(layer, batch);
        move(layer, round);
        for (const batch of batches) once(layer, batch);
      }
      const size = layer.parameters.reduce((sum, { value }) => sum + number * value.size, 0);
      t.equal(bytes() - start, held + size, `${label}: and a gradient for each parameter`);
      clearGradients(layer);
      t.equal(bytes() - start, held, `${label}: which go`);
      disposeLayer(layer);
    }
    disposeAll(...batches);
  }
});

t.test("in 16 bits the gradient of W' is a float32 sum", async (t) => {
  // In bfloat16 a sum of equal numbers stops growing after 256 of them.
  const passes = 600;
  for (const dtype of matrixDTypes.filter(isHalf)) {
    using on = await bench(square, dtype);
    using batch = batchOf(on, 2);
    for (const family of kinds) {
      const layer = await makeLayer(family, on, 'merged');
      move(layer);
      once(layer, batch);
      const wanted = gradientsOf(layer).map((gradient) => gradient.map((value) => passes * value));
      clearGradients(layer);
      for (let i = 0; i < passes; i++) once(layer, batch);
      for (const [i, found] of gradientsOf(layer).entries()) {
        assertClose(t, found, item(wanted, i), tolerances.float32, `${family.name}, ${dtype}: gradient ${i}`);
      }
      disposeLayer(layer);
    }
  }
});

// ── many steps ───────────────────────────────────────────────────────────────────────────────────────────

/** The parameters after 20 steps of three passes each towards a target. */
function train(layer: AdaptedLinear, optimizer: Optimizer, batches: readonly Batch[]): Float64Array[] {
  for (let step = 0; step < 20; step++) {
    for (const { x, dy } of batches) {
      tidy(() => {
        const pass = layer.forward(x);
        const wanted = dy.dataSync();
        rewrite(pass.y, (before, i) => before - at(wanted, i));
        pass.backward(pass.y, { inputGrad: false });
      });
    }
    clipGradNorm(layer.parameters, 10);
    optimizer.step();
    optimizer.zeroGrad();
  }
  return layer.parameters.map(({ value }) => snapshot(value));
}

t.test('a merged and a factored training run end at the same parameters', async (t) => {
  await expectNoLeak(t, 'runs', async () => {
    for (const shape of shapes) {
      using on = await bench(shape, 'float64');
      const batches = [5, 1, 30].map((tokens) => batchOf(on, tokens));
      for (const family of kinds) {
        for (const [name, make] of [
          ['SGD', (layer: AdaptedLinear) => new Sgd(layer.parameters, { lr: 2e-3, momentum: 0.9 })],
          ['AdamW', (layer: AdaptedLinear) => new AdamW(layer.parameters, { lr: 0.01, eps: 1e-3 })],
        ] as const) {
          const ends = new Map<Strategy, Float64Array[]>();
          for (const strategy of family.strategies) {
            const layer = await layerWith(family, on, strategy, { microBatches: 3 });
            const start = layer.parameters.map(({ value }) => snapshot(value));
            const end = train(layer, make(layer), batches);
            const moved = end.every((values, i) => values.some((value, j) => value !== at(item(start, i), j)));
            t.ok(moved, `${family.name}, ${shape.name}, ${strategy}, ${name}: every parameter moves`);
            ends.set(strategy, end);
            disposeLayer(layer);
          }
          const merged = ends.get('merged') ?? [];
          for (const [strategy, end] of ends) {
            end.forEach((values, i) => {
              const label = `${family.name}, ${shape.name}, ${name}: merged ends as ${strategy}`;
              assertClose(t, item(merged, i), values, { atol: 1e-9, rtol: 1e-9 }, label);
            });
          }
        }
      }
      disposeAll(...batches);
    }
  });
});

t.test('any order of events', async (t) => {
  await expectNoLeak(t, 'walks', async () => {
    using on = await bench({ name: 'small', out: 6, in: 7, tokens: 3 }, 'float64');
    const batches = [2, 1, 5, 3].map((tokens) => batchOf(on, tokens));
    for (const family of kinds) {
      for (let seed = 1; seed <= 6; seed++) {
        const random = seeded(1000 + seed);
        const findings = new Findings();
        const layer = await makeLayer(family, on, seed % 3 === 0 ? 'auto' : 'merged');
        move(layer);
        const label = `${family.name}, walk ${seed}`;
        const scene = new Scene(findings, family, on, layer, batches, label);
        const open: (() => void)[] = [];
        const given: { own: Tensor; was: Float64Array }[] = [];
        const path: string[] = [];
        const one = (): Parameter => item(layer.parameters, random.integer(layer.parameters.length));
        const drop = (entry: Parameter): void => {
          if (!given.some(({ own }) => own === entry.grad)) entry.grad?.dispose();
        };
        const events: Record<string, () => void> = {
          forward: () => {
            const end = scene.forward(random.integer(4));
            open.push(() => end({ inputGrad: random.integer(2) === 0 }));
          },
          backward: () => open.splice(random.integer(open.length), 1)[0]?.(),
          step: () => scene.step(random.integer(4)),
          freeze: () => {
            const entry = one();
            entry.trainable = !entry.trainable;
          },
          write: () => scene.write(random.integer(100)),
          read: () => scene.readOne(one(), path.join(' ')),
          clear: () => {
            const entry = one();
            drop(entry);
            entry.grad = null;
            scene.sums.set(entry, null);
          },
          assign: () => {
            const entry = one();
            const own = like(entry.value, random.integer(100));
            given.push({ own, was: snapshot(own) });
            drop(entry);
            entry.grad = own;
            scene.sums.set(entry, snapshot(own));
          },
          scope: () => tidy(() => scene.step(random.integer(4))),
          apply: () => layer.apply(item(batches, 2).x).dispose(),
          explain: () => layer.explain(1 + random.integer(50)),
        };
        const names = Object.keys(events);
        for (let turn = 0; turn < 60 && findings.failures.length === 0; turn++) {
          const name = item(names, random.integer(names.length));
          path.push(name);
          events[name]?.();
        }
        for (const end of open) end();
        scene.read(`${path.join(' ')}, at the end`);
        for (const { own, was } of given) assertSameBits(findings, own, was, 'an assigned gradient is not written');
        t.same(findings.failures.slice(0, 2), [], label);
        for (const entry of layer.parameters) {
          drop(entry);
          entry.grad = null;
        }
        disposeAll(...given.map(({ own }) => own));
        disposeLayer(layer);
      }
    }
    disposeAll(...batches);
  });
});

// ── apply ────────────────────────────────────────────────────────────────────────────────────────────────

t.test("apply uses the cached W'", async (t) => {
  for (const shape of shapes) {
    using on = await bench(shape, 'float64');
    const batch = batchOf(on, 30);
    for (const family of kinds) {
      const layer = await makeLayer(family, on, 'auto');
      const forced = await makeLayer(family, on, 'merged');
      for (const round of [0, 1, 2]) {
        for (const each of [layer, forced]) {
          const label = `${family.name}, ${shape.name}, ${each === layer ? 'auto' : 'merged'}, write ${round}`;
          move(each, round);
          const operator = family.operator(each, dense(on.weight), snapshot(on.bias));
          const wanted = reference.forward(operator, dense(batch.x)).data;
          const early = each.apply(batch.x);
          assertClose(t, early, wanted, tolerances.float64, `${label}: before forward`);
          const pass = each.forward(batch.x);
          const held = bytes();
          const late = each.apply(batch.x);
          t.equal(bytes() - held, 8 * late.size, `${label}: builds nothing more`);
          assertClose(t, late, wanted, tolerances.float64, `${label}: after forward`);
          if (each === forced) assertSameBits(t, late, pass.y, `${label}: through the same W'`);
          pullBack(pass, batch.dy);
          const last = each.apply(batch.x);
          assertClose(t, last, wanted, tolerances.float64, `${label}: after backward`);
          disposeAll(early, late, last);
        }
      }
      disposeLayer(layer);
      disposeLayer(forced);
    }
    batch[Symbol.dispose]();
  }
});

// ── determinism ──────────────────────────────────────────────────────────────────────────────────────────

const threadsBefore = threads();
t.test('the same bits for any number of threads', async (t) => {
  const shape: LayerShape = { name: 'large', out: 260, in: 200, tokens: 1 };
  for (const dtype of matrixDTypes) {
    setThreads(1);
    using on = await bench(shape, dtype);
    const batches = [70, 1, 300].map((tokens) => batchOf(on, tokens));
    for (const family of named('svft, random with duplicates', 'siva, lowest', 'vectorfit, nonnegative')) {
      const run = async (count: number): Promise<Float64Array[]> => {
        setThreads(count);
        const layer = await makeLayer(family, on, 'merged');
        move(layer);
        for (const batch of batches) once(layer, batch);
        const first = gradientsOf(layer);
        move(layer, 4);
        for (const batch of batches) once(layer, batch);
        const results = [...first, ...gradientsOf(layer)];
        disposeLayer(layer);
        return results;
      };
      const alone = await run(1);
      for (const count of [1, 2, 4]) {
        (await run(count)).forEach((each, i) => {
          assertSameBits(t, each, item(alone, i), `${family.name}, ${dtype}, ${count} threads: gradient ${i}`);
        });
      }
    }
    disposeAll(...batches);
  }
});
t.teardown(() => setThreads(threadsBefore));
