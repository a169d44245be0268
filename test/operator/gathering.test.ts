/**
 * The strategy 'merged' accumulates the gradient of W', and projects it when a `grad` is read. Whatever happens between
 * the passes of a step, each gradient is the sum over all backwards.
 */
import { clipGradNorm, type Parameter, Sgd, SigmaError, type Tensor } from 'sigmatune';
import t from 'tap';
import { matrixDTypes, oneOfEach, type Strategy, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  type Check,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  item,
  rewrite,
  snapshot,
  write,
} from '../support/helpers.js';
import { bench, clearGradients, disposeLayer, gradientsOf, makeLayer, termsOf } from '../support/layer.js';
import { eachKind, like, Scene, shapes, sizes, square } from '../support/scene.js';
import { batchOf, kinds, layerWith, move, named, noSums, once } from '../support/steps.js';

/** Runs the same scenario for every kind of core, merged and not. The outcome must be the same. */
function story(title: string, tell: (scene: Scene, t: Check) => void): void {
  t.test(title, async (t) => {
    for (const shape of shapes) {
      using on = await bench(shape, 'float64');
      const batches = sizes.map((tokens) => batchOf(on, tokens));
      for (const family of kinds) {
        const others = family.strategies.filter((strategy) => strategy === 'factored' || strategy === 'lowrank');
        for (const strategy of ['merged', item(others, 0)] as const) {
          const findings = new Findings();
          await expectNoLeak(findings, 'a story', async () => {
            const layer = await makeLayer(family, on, strategy);
            move(layer);
            const scene = new Scene(findings, family, on, layer, batches, `${shape.name}`);
            tell(scene, findings);
            disposeLayer(layer);
          });
          t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}, ${strategy}`);
        }
      }
      disposeAll(...batches);
    }
  });
}

// ── when gradients are read ──────────────────────────────────────────────────────────────────────────────

story('read after each pass, half-way, or at the end', (scene) => {
  for (const count of [1, 2, 3, 4, 5]) {
    for (const when of ['each', 'middle', 'end', 'twice']) {
      for (let i = 0; i < count; i++) {
        scene.step(i);
        if (when === 'each' || (when === 'middle' && i === Math.floor(count / 2))) {
          scene.read(`${count} passes, read ${when}, after ${i + 1}`);
        }
      }
      scene.read(`${count} passes, read ${when}`);
      if (when === 'twice') scene.read(`${count} passes, read again`);
      scene.clear();
    }
  }
});

story('one parameter is read, the others later', (scene) => {
  for (const first of scene.parameters) {
    scene.step(0, 1);
    scene.readOne(first, `${first.name} first`);
    scene.step(2);
    for (const entry of scene.parameters) if (entry !== first) scene.readOne(entry, `${entry.name} later`);
    scene.step(3);
    scene.read('all');
    scene.clear();
  }
});

story('passes overlap, in any order', (scene) => {
  const ends = [0, 1, 2, 3, 4].map((i) => scene.forward(i));
  for (const i of [3, 0, 4]) item(ends, i)();
  scene.read('three of five');
  for (const i of [2, 1]) item(ends, i)();
  scene.read('five of five');
});

story('without dx', (scene) => {
  for (const inputGrad of [false, true, false]) scene.forward(2)({ inputGrad });
  scene.read('with and without');
});

story('a pass that is disposed adds nothing', (scene, t) => {
  scene.step(0);
  const unused = scene.layer.forward(scene.batch(1).x);
  disposeAll(unused, unused.y);
  scene.step(2);
  scene.read('two of three');
  const failed = scene.layer.forward(scene.batch(1).x);
  let error: unknown;
  try {
    failed.backward(scene.batch(2).dy);
  } catch (caught) {
    error = caught;
  }
  t.ok(error !== undefined, 'a dy of another size is refused');
  disposeAll(failed, failed.y);
  scene.read('and neither does one that failed');
});

t.test('all strategies give the same sums', async (t) => {
  for (const dtype of matrixDTypes) {
    for (const shape of shapes) {
      using on = await bench(shape, dtype);
      const batches = sizes.map((tokens) => batchOf(on, tokens));
      for (const family of kinds) {
        const results = new Map<Strategy, Float64Array[]>();
        let terms: number[] = [];
        for (const strategy of family.strategies) {
          const layer = await layerWith(family, on, strategy, { microBatches: sizes.length });
          move(layer);
          for (const batch of batches) once(layer, batch);
          const gradients = gradientsOf(layer);
          terms = gradients.map((_, i) => termsOf(layer, gradients, i));
          results.set(strategy, gradients);
          disposeLayer(layer);
        }
        const merged = results.get('merged') ?? [];
        for (const [strategy, found] of results) {
          found.forEach((each, i) => {
            const label = `${family.name}, ${shape.name}, ${dtype}: ${strategy} as merged, gradient ${i}`;
            assertClose(t, each, item(merged, i), tolerances[dtype], label, terms[i]);
          });
        }
      }
      disposeAll(...batches);
    }
  }
});

t.test('one step by several strategies', async (t) => {
  // Square, r = 12: 3 and 1 tokens take the factors, 40 take W', and later batches take the cached W'.
  await expectNoLeak(t, 'a mixed step', async () => {
    using on = await bench(square, 'float64');
    const batches = [3, 40, 14, 1, 30].map((tokens) => batchOf(on, tokens));
    // With a dropped tail the factors are so thin that W' is never cheaper.
    for (const family of kinds.filter(({ name }) => !name.endsWith('dropped'))) {
      const layer = await makeLayer(family, on, 'auto');
      move(layer);
      const findings = new Findings();
      const scene = new Scene(findings, family, on, layer, batches, family.name);
      t.ok(new Set(batches.map(({ x }) => layer.explain(x.shape[0] ?? 1).strategy)).size === 2, 'two strategies');
      scene.step(0, 1, 2, 3, 4);
      scene.read('unread until the end');
      scene.step(0, 1);
      scene.write(9);
      scene.step(0, 1, 0);
      scene.read('and after a write');
      t.same(findings.failures, [], family.name);
      disposeLayer(layer);
    }
    disposeAll(...batches);
  });
});

t.test('a layer that is switched off meanwhile', async (t) => {
  await eachKind(t, (scene) => {
    const open = scene.forward(3);
    scene.step(0, 1);
    scene.layer.enabled = false;
    once(scene.layer, scene.batch(2));
    open();
    scene.read('while it is off');
    scene.layer.enabled = true;
    scene.step(4);
    scene.read('on again');
  });
});

// ── parameters that are written ──────────────────────────────────────────────────────────────────────────

story('parameters are written between passes', (scene) => {
  scene.step(0);
  scene.write(11);
  scene.step(1);
  scene.write(12);
  scene.step(2, 3);
  scene.read('after two writes');
  scene.write(13);
  scene.read('a write changes no gradient');
  scene.step(4);
  scene.write(14);
  scene.read('nor does one that comes between backward and reading');
});

story('a pass belongs to the values of its forward', (scene) => {
  const first = scene.forward(0);
  const second = scene.forward(3);
  scene.write(21);
  const third = scene.forward(1);
  first();
  third();
  scene.write(22);
  second();
  scene.step(2);
  scene.read('interleaved');
  const [early, late] = [scene.forward(4), scene.forward(2)];
  scene.write(23);
  late();
  scene.read('half-way');
  early();
  scene.write(24);
  scene.read('and to the end');
});

story('values come back', (scene) => {
  const before = scene.parameters.map(({ value }) => snapshot(value));
  scene.step(0);
  scene.write(31);
  scene.step(1);
  scene.parameters.forEach(({ value }, i) => {
    write(value, item(before, i));
  });
  scene.step(2);
  scene.read('there and back');
});

story('one number of one parameter is written', (scene) => {
  for (const entry of scene.parameters) {
    const last = entry.value.size - 1;
    scene.step(0);
    rewrite(entry.value, (before, i) => (i === last ? before + 0.7 : before));
    scene.step(1);
    rewrite(entry.value, (before, i) => (i === 0 ? -before : before));
    scene.step(2);
    scene.read(entry.name);
    scene.clear();
  }
});

// ── freezing ─────────────────────────────────────────────────────────────────────────────────────────────

function freeze(entries: readonly Parameter[], trainable: boolean): void {
  for (const entry of entries) entry.trainable = trainable;
}

story('parameters are frozen and freed between passes', (scene) => {
  for (const one of scene.parameters) {
    scene.step(0, 1);
    one.trainable = false;
    scene.step(2);
    one.trainable = true;
    scene.step(3);
    scene.read(`${one.name} frozen for one pass`);
    scene.clear();
    freeze(scene.parameters, false);
    scene.step(0);
    scene.read('no parameter has a gradient');
    one.trainable = true;
    scene.step(1);
    scene.read(`${one.name} alone`);
    scene.step(2);
    freeze(scene.parameters, true);
    scene.step(4);
    scene.read(`${one.name} alone for two passes`);
    scene.clear();
  }
});

story('frozen between forward and backward', (scene) => {
  for (const one of scene.parameters) {
    const [first, second, third] = [scene.forward(0), scene.forward(1), scene.forward(2)];
    first();
    one.trainable = false;
    second();
    one.trainable = true;
    third();
    scene.read(`${one.name} frozen for the second of three`);
    freeze(scene.parameters, false);
    const none = scene.forward(3);
    one.trainable = true;
    none();
    scene.read(`${one.name} freed only after forward`);
    freeze(scene.parameters, true);
    const all = scene.forward(4);
    freeze(scene.parameters, false);
    all();
    scene.read('all frozen after forward');
    freeze(scene.parameters, true);
    scene.clear();
  }
});

story('frozen between backward and reading', (scene) => {
  for (const one of scene.parameters) {
    scene.step(0, 3);
    one.trainable = false;
    scene.read(`${one.name} was trainable at backward`);
    one.trainable = true;
    scene.clear();
    one.trainable = false;
    scene.step(1, 2);
    one.trainable = true;
    scene.read(`${one.name} was not`);
    scene.clear();
  }
});

// ── gradients that are cleared or assigned ───────────────────────────────────────────────────────────────

story('what came before is dropped, what comes after counts', (scene, t) => {
  const drops: Record<string, () => void> = {
    zeroGrad: () => new Sgd(scene.parameters).zeroGrad(),
    'grad = null': () => clearGradients(scene.layer),
    'grad.dispose()': () => disposeAll(...scene.parameters.map(({ grad }) => grad)),
  };
  for (const [how, drop] of Object.entries(drops)) {
    scene.step(0, 1);
    drop();
    scene.sums = noSums(scene.layer);
    if (how !== 'grad.dispose()') scene.read(`${how}: all gone`);
    scene.step(2);
    scene.step(3);
    scene.read(`${how}: only what came after`);
    const open = scene.forward(4);
    drop();
    scene.sums = noSums(scene.layer);
    open();
    scene.read(`${how}: while a pass was open`);
    scene.clear();
  }
  t.ok(
    scene.parameters.every(({ grad }) => grad === null),
    'and null at last',
  );
});

story('one parameter is cleared, the others keep theirs', (scene) => {
  for (const one of scene.parameters) {
    scene.step(0, 1);
    one.grad?.dispose();
    one.grad = null;
    scene.sums.set(one, null);
    scene.read(`without ${one.name}`);
    scene.step(2);
    scene.read(`without ${one.name}, and one more`);
    scene.clear();
  }
});

story('a framework assigns gradients of its own', (scene, t) => {
  const assign = (seed: number): Map<Parameter, Tensor> => {
    const given = new Map<Parameter, Tensor>();
    for (const entry of scene.parameters) {
      const own = like(entry.value, seed);
      entry.grad?.dispose();
      entry.grad = own;
      given.set(entry, own);
      scene.sums.set(entry, snapshot(own));
    }
    return given;
  };
  const before = assign(1);
  scene.read('as assigned');
  scene.step(0, 1);
  scene.read('added to');
  // The gradient read now is the layer's own; it is replaced while contributions are pending.
  scene.step(2);
  const after = assign(2);
  for (const entry of scene.parameters) t.equal(entry.grad, after.get(entry), `${entry.name}: the very tensor`);
  scene.read('what was pending does not come after');
  scene.step(3);
  scene.step(4);
  scene.read('what comes after does');
  for (const [seed, given] of [before, after].entries()) {
    for (const [{ name, value }, own] of given) {
      const original = like(value, seed + 1);
      t.equal(own.disposed, false, `${name}: a framework's tensor is not disposed`);
      assertSameBits(t, own, original, `${name}: nor written`);
      disposeAll(original, own);
    }
  }
});

t.test('assigning a gradient without reading the old one', async (t) => {
  await eachKind(t, (scene) => {
    scene.step(0, 1);
    const given: Tensor[] = [];
    for (const entry of scene.parameters) {
      const own = like(entry.value, 3);
      given.push(own);
      entry.grad = own;
      scene.sums.set(entry, snapshot(own));
    }
    scene.read('the assigned ones, and nothing pending');
    scene.step(2);
    scene.read('and what comes after');
    scene.step(3);
    for (const entry of scene.parameters) {
      entry.grad = null;
      scene.sums.set(entry, null);
    }
    scene.read('null, and nothing pending');
    scene.step(4);
    scene.read('and what comes after null');
    disposeAll(...given);
  });
});

t.test('a framework that writes its gradient after backward does not change the sum', async (t) => {
  // Backward takes a copy, so the time of reading does not matter.
  using on = await bench(square, 'float64');
  const batches = sizes.map((tokens) => batchOf(on, tokens));
  const ends: Record<string, (own: Tensor) => void> = {
    written: (own) => fill(own, 9),
    disposed: (own) => own.dispose(),
  };
  for (const family of kinds) {
    for (const strategy of family.strategies) {
      for (const [how, end] of Object.entries(ends)) {
        const findings = new Findings();
        const layer = await makeLayer(family, on, strategy);
        move(layer);
        const scene = new Scene(findings, family, on, layer, batches, how);
        const given = layer.parameters.map((entry) => {
          const own = like(entry.value, 4);
          entry.grad = own;
          scene.sums.set(entry, snapshot(own));
          return own;
        });
        scene.step(0, 1);
        for (const own of given) end(own);
        scene.read('afterwards');
        t.same(findings.failures, [], `${family.name}, ${strategy}, ${how}`);
        disposeAll(...given);
        disposeLayer(layer);
      }
    }
  }
  disposeAll(...batches);
});

t.test('a gradient whose buffer was transferred can be replaced', { skip: cpuOnly }, async (t) => {
  using on = await bench(square, 'float64');
  const batches = sizes.map((tokens) => batchOf(on, tokens));
  for (const family of kinds) {
    for (const strategy of family.strategies) {
      const label = `${family.name}, ${strategy}`;
      const findings = new Findings();
      const layer = await makeLayer(family, on, strategy);
      move(layer);
      const scene = new Scene(findings, family, on, layer, batches, label);
      scene.step(0);
      const buffers = layer.parameters.map(({ grad }) => grad?.dataSync().buffer as ArrayBuffer);
      structuredClone(buffers, { transfer: buffers });
      const pass = layer.forward(item(batches, 1).x);
      let refused = false;
      try {
        disposeAll(pass.backward(item(batches, 1).dy));
        // With pending contributions the error may come later.
        for (const { grad } of layer.parameters) grad?.dataSync();
      } catch (error) {
        refused = error instanceof SigmaError;
      }
      findings.ok(refused, 'there is nothing to add to');
      disposeAll(pass, pass.y);
      try {
        for (const entry of layer.parameters) entry.grad = null;
        scene.sums = noSums(layer);
        scene.step(2);
        scene.read('restarted from null');
        clearGradients(layer);
      } catch (error) {
        findings.ok(false, String(error));
      }
      t.same(findings.failures, [], label);
      layer.dispose();
    }
  }
  disposeAll(...batches);
});

t.test('assigning null discards pending contributions', async (t) => {
  using on = await bench(item(shapes, 0), 'float64');
  const sums: Float64Array[] = [];
  for (const strategy of ['merged', 'factored'] as const) {
    const layer = await layerWith(item(oneOfEach, 0), on, strategy);
    for (let round = 0; round < 3; round++) {
      for (const entry of layer.parameters) entry.grad = null;
      const pass = layer.forward(on.x);
      disposeAll(pass.backward(on.dy), pass.y);
    }
    sums.push(...gradientsOf(layer));
    disposeLayer(layer);
  }
  const half = sums.length / 2;
  for (let i = 0; i < half; i++)
    assertClose(t, item(sums, i), item(sums, half + i), tolerances.float64, `parameter ${i}`);
});

t.test('a failed replacement keeps the gradient and its pending contributions', { skip: cpuOnly }, async (t) => {
  using on = await bench(square, 'float64');
  const layer = await makeLayer(item(named('svft, banded 1'), 0), on, 'merged');
  move(layer);
  const [m, gate] = [item(layer.parameters, 0), item(layer.parameters, 1)];
  using batch = batchOf(on, 3);
  once(layer, batch);
  const [single, held] = [snapshot(gate.grad ?? []), m.grad];
  once(layer, batch);
  // Now the sum cannot be projected: the memory of m's gradient is gone.
  const numbers = held?.dataSync() as Float64Array<ArrayBuffer>;
  structuredClone(numbers, { transfer: [numbers.buffer] });
  let error: unknown;
  try {
    gate.grad = null;
  } catch (caught) {
    error = caught;
  }
  t.match(error, { name: 'SigmaError', code: 'INVALID_ARGUMENT' }, 'refused');
  m.grad = null;
  assertClose(
    t,
    gate.grad ?? [],
    single.map((each) => 2 * each),
    tolerances.float64,
    'both backwards count',
  );
  held?.dispose();
  disposeLayer(layer);
});

// ── what reads gradients ─────────────────────────────────────────────────────────────────────────────────

t.test('an optimiser uses the sums', async (t) => {
  await eachKind(t, (scene, findings) => {
    const optimizer = new Sgd(scene.parameters, { lr: 0.01 });
    for (let round = 0; round < 3; round++) {
      const before = scene.parameters.map(({ value }) => snapshot(value));
      scene.step(0, 1, 2);
      optimizer.step();
      scene.parameters.forEach((entry, i) => {
        const sum = scene.sums.get(entry) ?? [];
        const after = item(before, i).map((value, j) => value - 0.01 * at(sum, j));
        assertClose(findings, entry.value, after, tolerances.float64, `round ${round}: ${entry.name}`);
      });
      optimizer.zeroGrad();
      scene.sums = noSums(scene.layer);
    }
  });
});

t.test('clipGradNorm uses the sums', async (t) => {
  await eachKind(t, (scene, findings) => {
    scene.step(0, 1, 2);
    const sums = [...scene.sums.values()].flatMap((sum) => [...(sum ?? [])]);
    const norm = Math.hypot(...sums);
    const found = clipGradNorm(scene.parameters, norm / 4);
    assertClose(findings, [found], [norm], tolerances.float64, 'the norm');
    for (const [entry, sum] of scene.sums)
      scene.sums.set(entry, sum?.map((value) => value / (4 + 4e-6 / norm)) ?? null);
    for (const { name, grad } of scene.parameters) findings.ok(grad !== null, `${name} has one`);
    scene.read('a quarter');
    scene.step(3);
    scene.read('and what comes after is not scaled');
  });
});
