/** `borrowInputs`: a pass keeps a handle on X instead of a copy, and with few `passBytes` also instead of P. */
import { type AdaptedLinear, memory, type Pass, SigmaError, svft, Tensor, tidy } from 'sigmatune';
import t from 'tap';
import { dtypes, type FamilyCase, families, type LayerShape, type Strategy, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  bytes,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { type Bench, bench, clearGradients, dense, disposeLayer, gradientsOf } from '../support/layer.js';
import * as reference from '../support/reference.js';
import {
  addTo,
  batchFrom,
  batchOf,
  checkSums,
  expected,
  heldBy,
  kinds,
  layerWith,
  move,
  noSums,
  once,
  type Saving,
} from '../support/steps.js';

const shapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 7 },
  { name: 'tall', out: 20, in: 6, tokens: 5 },
  { name: 'wide', out: 5, in: 19, tokens: 40 },
  { name: 'one token', out: 9, in: 13, tokens: 1 },
  { name: 'one output', out: 1, in: 11, tokens: 4 },
  { name: 'one input', out: 11, in: 1, tokens: 4 },
];
const square = item(shapes, 0);
const borrowed: Saving = { borrowInputs: true };
const nothingKept: Saving = { borrowInputs: true, passBytes: 0 };

/** y, dx, and every gradient of two passes with a write between them. */
async function results(family: FamilyCase, on: Bench, strategy: Strategy, saving: Saving): Promise<Float64Array[]> {
  const layer = await layerWith(family, on, strategy, saving);
  const found: Float64Array[] = [];
  for (const seed of [1, 2]) {
    move(layer, seed);
    const pass = layer.forward(on.x);
    const dx = pass.backward(on.dy);
    found.push(snapshot(pass.y), snapshot(dx));
    disposeAll(pass.y, pass, dx);
  }
  found.push(...gradientsOf(layer));
  disposeLayer(layer);
  return found;
}

t.test('a borrowed input gives the same bits as a copied one', async (t) => {
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      using on = await bench(shape, dtype);
      for (const family of families) {
        const findings = new Findings();
        for (const strategy of family.strategies) {
          const copied = await results(family, on, strategy, {});
          const lent = await results(family, on, strategy, borrowed);
          copied.forEach((each, i) => {
            assertSameBits(findings, item(lent, i), each, `${strategy}: result ${i}`);
          });
        }
        t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}, ${dtype}`);
      }
    }
  }
});

t.test('recomputing P gives the gradients of a kept P', async (t) => {
  const seen = new Set<string>();
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      using on = await bench(shape, dtype);
      const tolerance = dtype === 'float64' ? { atol: 1e-12, rtol: 0 } : tolerances.float32;
      for (const family of families) {
        const findings = new Findings();
        for (const strategy of family.strategies) {
          const layer = await layerWith(family, on, strategy, nothingKept);
          const plan = layer.explain(shape.tokens);
          findings.equal(plan.savedBytes, 0, `${strategy}: explains that nothing is kept`);
          seen.add(plan.strategy);
          disposeLayer(layer);
          const kept = await results(family, on, strategy, {});
          const again = await results(family, on, strategy, nothingKept);
          findings.equal(again.length, kept.length, `${strategy}: as many results`);
          kept.forEach((each, i) => {
            findings.ok(each.length > 0, `${strategy}: result ${i} is there`);
            assertClose(findings, item(again, i), each, tolerance, `${strategy}: result ${i}`);
          });
        }
        t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}, ${dtype}`);
      }
    }
  }
  t.same([...seen].sort(), ['factored', 'lowrank', 'merged'], 'by every strategy');
});

t.test('recomputing P, against the reference', async (t) => {
  for (const shape of shapes) {
    using on = await bench(shape, 'float64');
    for (const family of kinds) {
      for (const strategy of family.strategies) {
        const layer = await layerWith(family, on, strategy, nothingKept);
        move(layer);
        const wanted = expected(family, on, layer, batchFrom(on));
        const operator = family.operator(layer, dense(on.weight), snapshot(on.bias));
        const pass = layer.forward(on.x);
        const y = reference.forward(operator, dense(on.x));
        assertClose(t, pass.y, y.data, tolerances.float64, `${family.name}, ${strategy}: y`);
        // The pull-back uses the values of the forward pass, although P is recomputed after the write.
        move(layer, 3);
        const dx = pass.backward(on.dy);
        assertClose(t, dx, wanted.dx, tolerances.float64, `${family.name}, ${strategy}: dx`);
        checkSums(t, layer, wanted.parts, `${family.name}, ${strategy}, ${shape.name}`);
        disposeAll(pass, pass.y, dx);
        disposeLayer(layer);
      }
    }
  }
});

// ── lifetime ─────────────────────────────────────────────────────────────────────────────────────────────

const savings: Record<string, Saving> = { borrowed, 'nothing kept': nothingKept };

t.test('the caller may dispose x between forward and backward', async (t) => {
  await expectNoLeak(t, 'disposed inputs', async () => {
    using on = await bench(square, 'float64');
    for (const family of kinds) {
      for (const strategy of family.strategies) {
        for (const [how, saving] of Object.entries(savings)) {
          const label = `${family.name}, ${strategy}, ${how}`;
          const layer = await layerWith(family, on, strategy, saving);
          move(layer);
          const batch = batchOf(on, 9);
          const wanted = expected(family, on, layer, batch);
          const pass = layer.forward(batch.x);
          batch.x.dispose();
          pass.y.dispose();
          // These results would reuse memory that was released.
          const others = Array.from({ length: 20 }, () => gaussian(on.random, [9, square.in], 'float64'));
          const dx = pass.backward(batch.dy);
          assertClose(t, dx, wanted.dx, tolerances.float64, `${label}: dx`);
          checkSums(t, layer, wanted.parts, label);
          t.ok(batch.x.disposed, `${label}: x stays disposed`);
          disposeAll(...others, pass, dx, batch);
          disposeLayer(layer);
        }
      }
    }
  });
});

t.test('a pass does not dispose the x that it borrowed', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of kinds) {
    for (const strategy of family.strategies) {
      for (const [how, saving] of Object.entries(savings)) {
        const layer = await layerWith(family, on, strategy, saving);
        const before = snapshot(on.x);
        once(layer, batchFrom(on));
        const unused = layer.forward(on.x);
        disposeAll(unused, unused.y);
        disposeLayer(layer);
        t.equal(on.x.disposed, false, `${family.name}, ${strategy}, ${how}: x is the caller's`);
        assertSameBits(t, on.x, before, `${family.name}, ${strategy}, ${how}: and as it was`);
      }
    }
  }
});

t.test('a scope that ends between forward and backward', async (t) => {
  await expectNoLeak(t, 'scopes', async () => {
    using on = await bench(square, 'float64');
    for (const family of kinds) {
      for (const strategy of family.strategies) {
        for (const [how, saving] of Object.entries(savings)) {
          const label = `${family.name}, ${strategy}, ${how}`;
          const layer = await layerWith(family, on, strategy, saving);
          move(layer);
          const dy = gaussian(on.random, [6, square.out], 'float64');
          const made: Tensor[] = [];
          const [pass, wanted] = tidy(() => {
            const x = gaussian(on.random, [6, square.in], 'float64');
            made.push(x);
            return [layer.forward(x), expected(family, on, layer, { x, dy })] as const;
          });
          t.ok(item(made, 0).disposed, `${label}: x went with its scope`);
          const dx = pass.backward(dy);
          assertClose(t, dx, wanted.dx, tolerances.float64, `${label}: dx`);
          checkSums(t, layer, wanted.parts, label);
          tidy(() => {
            layer.forward(gaussian(on.random, [6, square.in], 'float64'));
          });
          disposeAll(pass, pass.y, dx, dy);
          disposeLayer(layer);
        }
      }
    }
  });
});

// ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

t.test('no copy is made', async (t) => {
  using on = await bench(square, 'float64');
  const x = gaussian(on.random, [30, square.in], 'float64');
  const ofX = 8 * x.size;
  for (const family of families) {
    for (const strategy of family.strategies.filter((each) => each !== 'auto')) {
      const label = `${family.name}, ${strategy}`;
      const own = async (saving: Saving): Promise<number> => {
        const layer = await layerWith(family, on, strategy, saving);
        const pass = layer.forward(x);
        const held = heldBy(pass);
        pass.y.dispose();
        disposeLayer(layer);
        return held;
      };
      const [copied, lent, small] = [await own({}), await own(borrowed), await own(nothingKept)];
      if (strategy === 'merged') t.same([copied, lent], [ofX, 0], `${label}: X`);
      else t.equal(lent, copied, `${label}: P is its own`);
      t.equal(small, 0, `${label}: with no bytes to keep, nothing`);

      // After the caller has disposed x, the pass's handle keeps the memory until backward.
      const layer = await layerWith(family, on, strategy, nothingKept);
      const single = gaussian(on.random, [30, square.in], 'float64');
      const dy = gaussian(on.random, [30, square.out], 'float64');
      const pass = layer.forward(single);
      const before = bytes();
      single.dispose();
      t.equal(bytes(), before, `${label}: held by the pass`);
      const warm = layer.forward(x);
      disposeAll(warm, warm.y);
      const held = bytes();
      for (const entry of layer.parameters) entry.grad = gaussian(on.random, entry.value.shape, 'float64');
      const gradients = layer.parameters.map(({ grad }) => grad);
      pass.backward(dy, { inputGrad: false });
      for (const entry of layer.parameters) {
        if (!gradients.includes(entry.grad)) entry.grad?.dispose();
        entry.grad = null;
      }
      disposeAll(...gradients, pass.y, dy);
      const gathered = strategy === 'merged' ? 8 * square.out * square.in : 0;
      t.equal(bytes() - held, gathered - ofX - 2 * 8 * 30 * square.out, `${label}: and given back at backward`);
      disposeLayer(layer);
    }
  }
  x.dispose();
});

t.test('layers share one input', async (t) => {
  await expectNoLeak(t, 'query, key and value', async () => {
    using on = await bench(square, 'float64');
    for (const family of kinds) {
      for (const strategy of family.strategies) {
        const label = `${family.name}, ${strategy}`;
        const layers: AdaptedLinear[] = [];
        for (let i = 0; i < 3; i++) layers.push(await layerWith(family, on, strategy, nothingKept));
        const batch = batchOf(on, 11);
        const warm = batchOf(on, 11);
        layers.forEach((layer, i) => {
          move(layer, i);
          // Allocates W' and its gradient, so that they do not count below.
          once(layer, warm);
          clearGradients(layer);
        });
        const wanted = layers.map((layer) => expected(family, on, layer, batch));
        const before = bytes();
        const passes: Pass[] = layers.map((layer) => layer.forward(batch.x));
        t.equal(bytes() - before, 3 * 8 * 11 * square.out, `${label}: three y, and nothing else`);
        batch.x.dispose();
        for (const i of [1, 0, 2]) {
          const held = bytes();
          const dx = item(passes, i).backward(batch.dy);
          assertClose(t, dx, item(wanted, i).dx, tolerances.float64, `${label}: dx ${i}`);
          checkSums(t, item(layers, i), item(wanted, i).parts, `${label}, layer ${i}`);
          clearGradients(item(layers, i));
          dx.dispose();
          t.equal(held - bytes(), i === 2 ? 8 * 11 * square.in : 0, `${label}: the last pass lets go of x`);
        }
        disposeAll(...passes, ...passes.map(({ y }) => y), batch, warm);
        for (const layer of layers) disposeLayer(layer);
      }
    }
  });
});

t.test('a chain whose y is the next x', async (t) => {
  // The y of one layer is lent to the next layer, and disposed right after that layer's forward.
  await expectNoLeak(t, 'a chain', async () => {
    using on = await bench(square, 'float64');
    for (const family of kinds) {
      const run = async (saving: Saving): Promise<Float64Array[]> => {
        const layers = [await layerWith(family, on, 'merged', saving), await layerWith(family, on, 'merged', saving)];
        layers.forEach(move);
        const [one, two] = [item(layers, 0), item(layers, 1)];
        const first = one.forward(on.x);
        const second = two.forward(first.y);
        first.y.dispose();
        const between = second.backward(on.dy);
        const dx = first.backward(between);
        const found = [snapshot(dx), ...gradientsOf(one), ...gradientsOf(two)];
        disposeAll(first, second, second.y, between, dx);
        for (const layer of layers) disposeLayer(layer);
        return found;
      };
      const [copied, lent] = [await run({}), await run(borrowed)];
      copied.forEach((each, i) => {
        assertSameBits(t, item(lent, i), each, `${family.name}: result ${i}`);
      });
    }
  });
});

// ── detached buffers ─────────────────────────────────────────────────────────────────────────────────────

/** Transfers a tensor's buffer, as to a worker. */
function detach(x: Tensor): void {
  const { buffer } = x.dataSync();
  structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
}

t.test('a borrowed buffer that is detached before backward', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'detached', async () => {
    using on = await bench(square, 'float64');
    for (const family of kinds) {
      for (const strategy of family.strategies) {
        for (const after of ['nothing', 'a read gradient', 'a pending gradient']) {
          const label = `${family.name}, ${strategy}, after ${after}`;
          const findings = new Findings();
          const layer = await layerWith(family, on, strategy, nothingKept);
          move(layer);
          const batch = batchOf(on, 5);
          const sums = noSums(layer);
          if (after !== 'nothing') {
            addTo(sums, expected(family, on, layer, batch).parts);
            once(layer, batch);
          }
          if (after === 'a read gradient') checkSums(findings, layer, sums, 'before');
          const lent = Tensor.wrap(new Float64Array(5 * square.in).fill(1), [5, square.in]);
          const warm = layer.forward(lent);
          disposeAll(warm, warm.y);
          const before = memory();
          const pass = layer.forward(lent);
          detach(lent);
          for (const options of [{}, { inputGrad: false }]) {
            throwsSigma(
              findings,
              () => pass.backward(batch.dy, options),
              'INVALID_ARGUMENT',
              label,
              /(^|[^\w.])x:/,
              'detached',
              'backward',
            );
          }
          disposeAll(pass, pass.y);
          t.same(memory(), before, `${label}: a refused backward makes nothing`);
          checkSums(findings, layer, sums, 'and adds nothing');
          once(layer, batch);
          addTo(sums, expected(family, on, layer, batch).parts);
          checkSums(findings, layer, sums, 'the layer works as before');
          t.same(findings.failures, [], label);
          lent.dispose();
          disposeAll(batch);
          disposeLayer(layer);
        }
      }
    }
  });
});

t.test('a backward that does not need X works without X', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of kinds) {
    for (const strategy of family.strategies) {
      for (const [how, saving] of Object.entries({ copied: {}, ...savings })) {
        const label = `${family.name}, ${strategy}, ${how}`;
        const layer = await layerWith(family, on, strategy, saving);
        move(layer);
        const keepsX = how === 'nothing kept' || (how === 'borrowed' && layer.explain(5).strategy === 'merged');
        const dy = gaussian(on.random, [5, square.out], 'float64');
        for (const frozen of [false, true]) {
          // A core that is frozen, here after the forward pass, does not need X.
          if (keepsX && (!frozen || layer.explain(5).strategy !== 'merged')) continue;
          const x = gaussian(on.random, [5, square.in], 'float64');
          const wanted = expected(family, on, layer, { x, dy });
          const pass = layer.forward(x);
          detach(x);
          for (const entry of layer.parameters) entry.trainable = !frozen || entry.name === 'bias';
          const dx = pass.backward(dy);
          assertClose(t, dx, wanted.dx, tolerances.float64, `${label}, frozen ${frozen}: dx`);
          for (const entry of layer.parameters) if (!entry.trainable) wanted.parts.delete(entry);
          checkSums(t, layer, wanted.parts, `${label}, frozen ${frozen}`);
          clearGradients(layer);
          for (const entry of layer.parameters) entry.trainable = true;
          disposeAll(x, pass, pass.y, dx);
        }
        dy.dispose();
        disposeLayer(layer);
      }
    }
  }
});

t.test('an input of a wrong type or shape is refused', async (t) => {
  await expectNoLeak(t, 'refused inputs', async () => {
    using on = await bench(square, 'float64');
    const layer = await svft(on.weight, { factors: on.factors, ...nothingKept });
    const [narrow, single] = [gaussian(on.random, [4, 11], 'float64'), gaussian(on.random, [4, 12], 'float32')];
    throwsSigma(t, () => layer.forward(narrow), 'SHAPE_MISMATCH', 'too narrow', 'x');
    throwsSigma(t, () => layer.forward(single), 'DTYPE_MISMATCH', 'float32', 'x');
    const gone = gaussian(on.random, [4, 12], 'float64');
    gone.dispose();
    let error: unknown;
    try {
      layer.forward(gone);
    } catch (caught) {
      error = caught;
    }
    t.ok(error instanceof SigmaError && error.code === 'DISPOSED', 'disposed');
    disposeAll(narrow, single);
    disposeLayer(layer);
  });
});
