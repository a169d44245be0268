/** A layer as an object: names, counts, plans, lifetime, invalid arguments. */
import { siva, svft, type Tensor, vectorFit } from 'sigmatune';
import t from 'tap';
import {
  bytesOf,
  families,
  isHalf,
  layerShapes,
  matrixDTypes,
  oneOfEach,
  strategies,
  tolerances,
} from '../support/cases.js';
import {
  assertClose,
  at,
  bytes,
  disposeAll,
  expectNoLeak,
  gaussian,
  item,
  rejectsSigma,
  rewrite,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import {
  bench,
  clearGradients,
  dense,
  disposeLayer,
  expectedGradient,
  makeLayer,
  parameter,
  perturb,
} from '../support/layer.js';
import * as reference from '../support/reference.js';
import { layerWith } from '../support/steps.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);

t.test('writing a parameter through its memory is noticed', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      // Build and use the caches first, so that a stale cache would show.
      disposeAll(layer.apply(on.x), layer.mergedWeight());
      const warm = layer.forward(on.x);
      disposeAll(warm.backward(on.dy), warm.y, warm);
      for (const { name, value } of layer.parameters) {
        rewrite(value, (before, i) => (i === value.size - 1 ? before + 0.5 : before));
        const expected = reference.forward(family.operator(layer, dense(on.weight), snapshot(on.bias)), dense(on.x));
        const y = layer.apply(on.x);
        const pass = layer.forward(on.x);
        assertClose(t, y, expected.data, tolerances.float64, `${family.name}, ${strategy}: apply sees ${name}`);
        assertClose(t, pass.y, expected.data, tolerances.float64, `${family.name}, ${strategy}: forward sees ${name}`);
        disposeAll(y, pass.y, pass);
      }
      disposeLayer(layer);
    }
  }
});

t.test('layers refuse invalid arguments', async (t) => {
  using on = await bench(tall, 'float32');
  const layer = await makeLayer(item(oneOfEach, 0), on, 'auto');
  const narrow = gaussian(on.random, [3, tall.in + 1], 'float32');
  const flat = gaussian(on.random, [tall.in - 1], 'float32');
  const double = gaussian(on.random, [3, tall.in], 'float64');
  const half = on.x.cast('bfloat16');
  const gone = gaussian(on.random, [3, tall.in], 'float32');
  gone.dispose();
  await expectNoLeak(t, 'failed calls', () => {
    for (const call of ['apply', 'forward'] as const) {
      throwsSigma(
        t,
        () => layer[call](narrow),
        'SHAPE_MISMATCH',
        `${call}: features`,
        'x',
        `[3,${tall.in + 1}]`,
        String(tall.in),
      );
      throwsSigma(t, () => layer[call](flat), 'SHAPE_MISMATCH', `${call}: a vector`, 'x', `[${tall.in - 1}]`);
      throwsSigma(t, () => layer[call](double), 'DTYPE_MISMATCH', `${call}: type`, 'x', 'float32', 'float64');
      throwsSigma(t, () => layer[call](half), 'DTYPE_MISMATCH', `${call}: bfloat16`, 'x', 'bfloat16');
      throwsSigma(t, () => layer[call](gone), 'DISPOSED', `${call}: disposed`, 'x');
      throwsSigma(t, () => layer[call](undefined as unknown as Tensor), 'INVALID_ARGUMENT', `${call}: nothing`, 'x');
    }
  });
  const pass = layer.forward(on.x);
  const shorter = gaussian(on.random, [tall.tokens - 1, tall.out], 'float32');
  const wide = on.dy.cast('float64');
  throwsSigma(
    t,
    () => pass.backward(shorter),
    'SHAPE_MISMATCH',
    'dy with other tokens',
    'dy',
    `[${tall.tokens},${tall.out}]`,
    `[${tall.tokens - 1},${tall.out}]`,
  );
  throwsSigma(t, () => pass.backward(wide), 'DTYPE_MISMATCH', 'dy of another type', 'dy', 'float32', 'float64');
  throwsSigma(t, () => pass.backward({} as Tensor), 'INVALID_ARGUMENT', 'dy is no tensor', 'dy');
  t.ok(
    layer.parameters.every(({ grad }) => grad === null),
    'a failed backward leaves the gradients alone',
  );
  disposeAll(pass.y, pass, narrow, flat, double, half, shorter, wide);
  disposeLayer(layer);
  for (const [name, use] of [
    ['apply', () => layer.apply(on.x)],
    ['forward', () => layer.forward(on.x)],
    ['mergedWeight', () => layer.mergedWeight()],
  ] as const) {
    throwsSigma(t, use, 'DISPOSED', `${name} of a disposed layer`);
  }
  layer.dispose();
});

t.test('a strategy that a layer cannot use is UNSUPPORTED', async (t) => {
  using on = await bench(square, 'float32');
  await expectNoLeak(t, 'refused layers', async () => {
    for (const family of families) {
      for (const strategy of strategies) {
        if (family.strategies.includes(strategy)) continue;
        await rejectsSigma(
          t,
          () => makeLayer(family, on, strategy),
          'UNSUPPORTED',
          `${family.name}, ${strategy}`,
          strategy,
        );
      }
    }
  });
  const unknown = { strategy: 'fast' } as unknown as { strategy: 'auto' };
  await rejectsSigma(
    t,
    () => vectorFit(on.weight, unknown),
    'INVALID_ARGUMENT',
    'an unknown strategy',
    'strategy',
    'fast',
    'factored',
  );
});

t.test('explain', async (t) => {
  using on = await bench(tall, 'float32');
  for (const family of families) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      for (const tokens of [1, 64, 100_000]) {
        const plan = layer.explain(tokens);
        t.ok(
          ['factored', 'merged', 'lowrank'].includes(plan.strategy),
          `${family.name}, ${strategy}: ${plan.strategy}`,
        );
        if (strategy !== 'auto') t.equal(plan.strategy, strategy, `${family.name}: does as told`);
        else t.ok(family.strategies.includes(plan.strategy as 'merged'), `${family.name}: auto chooses what it may`);
        t.ok(Number.isFinite(plan.gemms) && plan.gemms > 0, `${family.name}, ${strategy}: ${plan.gemms} GEMMs`);
        t.ok(
          Number.isInteger(plan.savedBytes) && plan.savedBytes > 0,
          `${family.name}, ${strategy}: ${plan.savedBytes} bytes`,
        );
        t.ok(plan.why.length > 0, `${family.name}, ${strategy}: says why`);
      }
      for (const tokens of [0, -1, 1.5, Number.NaN])
        throwsSigma(t, () => layer.explain(tokens), 'INVALID_ARGUMENT', `${tokens} tokens`, 'tokens');
      disposeLayer(layer);
    }
  }
});

t.test('explain follows the cost model', async (t) => {
  // Factored costs 2 + 2/ρ, merged 3 + 2r/N; for a square weight merged wins above N = 2d.
  using on = await bench({ name: 'square', out: 64, in: 64, tokens: 1 }, 'float32');
  const layer = await svft(on.weight, { factors: on.factors });
  const few = layer.explain(32);
  const many = layer.explain(64 * 50);
  t.equal(few.strategy, 'factored', 'few tokens');
  t.equal(many.strategy, 'merged', 'many tokens');
  t.ok(Math.abs(few.gemms - 4) < 0.1, `factored, square: ${few.gemms} GEMMs, about 4`);
  t.ok(Math.abs(many.gemms - 3.04) < 0.1, `merged, N = 50 d: ${many.gemms} GEMMs, about 3.04`);
  disposeLayer(layer);
  using long = await bench({ name: 'tall', out: 128, in: 32, tokens: 1 }, 'float32');
  const factored = await svft(long.weight, { factors: long.factors });
  t.equal(factored.explain(100_000).strategy, 'factored', 'ρ ≥ 2: always factored');
  t.ok(Math.abs(factored.explain(100_000).gemms - 2.5) < 0.1, 'ρ = 4: about 2.5 GEMMs');
  disposeLayer(factored);
});

t.test('a layer without a bias, a layer without given factors', async (t) => {
  await expectNoLeak(t, 'own factors', async () => {
    using on = await bench(tall, 'float64');
    for (const family of oneOfEach) {
      const own = await family.make(on.weight, {});
      perturb(own);
      const operator = family.operator(own, dense(on.weight), undefined);
      const y = own.apply(on.x);
      assertClose(t, y, reference.forward(operator, dense(on.x)).data, tolerances.float64, `${family.name}: no bias`);
      t.equal(own.mergedBias(), undefined, `${family.name}: no merged bias`);
      t.same([own.family, own.inFeatures, own.outFeatures], [family.family, tall.in, tall.out], family.name);
      const { u, s, vt } = own.factors;
      const width = s.size;
      t.same(
        [u.shape, s.shape, vt.shape],
        [[tall.out, width], [width], [width, tall.in]],
        `${family.name}: factors that fit`,
      );
      t.equal(width, own.rank, `${family.name}: the triples in use`);
      y.dispose();
      disposeLayer(own);
    }
  });
});

t.test('names and counts', async (t) => {
  using on = await bench(square, 'float32');
  for (const family of families) {
    const plain = await makeLayer(family, on, 'auto');
    const named = await makeLayer(family, on, 'auto', { name: 'block.3.q' });
    const names = plain.parameters.map(({ name }) => name);
    t.same(
      named.parameters.map(({ name }) => name),
      names.map((name) => `block.3.q.${name}`),
      `${family.name}: the name goes before`,
    );
    t.equal(
      plain.parameterCount,
      plain.parameters.reduce((sum, { value }) => sum + value.size, 0),
      `${family.name}: counts its numbers`,
    );
    t.ok(
      plain.parameters.every(({ trainable, grad }) => trainable && grad === null),
      `${family.name}: trainable, without gradients`,
    );
    if (names.includes('gate'))
      t.same([...parameter(plain, 'gate').value.dataSync()], [0], `${family.name}: γ starts at 0`);
    disposeLayer(plain);
    disposeLayer(named);
  }
});

t.test('assigning a gradient of another shape, type or device is refused', async (t) => {
  using on = await bench(square, 'float32');
  const layer = await makeLayer(item(oneOfEach, 0), on, 'auto');
  const m = parameter(layer, 'm');
  const long = gaussian(on.random, [m.value.size + 1], 'float32');
  const double = gaussian(on.random, m.value.shape, 'float64');
  const assign = (grad: Tensor) => () => {
    m.grad = grad;
  };
  throwsSigma(t, assign(long), 'SHAPE_MISMATCH', 'another length', 'm.grad', String(m.value.size));
  throwsSigma(t, assign(double), 'DTYPE_MISMATCH', 'another type', 'm.grad', 'float64', 'float32');
  throwsSigma(t, assign({} as Tensor), 'INVALID_ARGUMENT', 'no tensor', 'm.grad');
  t.equal(m.grad, null, 'and are not kept');
  disposeAll(long, double);
  disposeLayer(layer);
});

t.test('a pass keeps the bytes that the plan states', async (t) => {
  for (const dtype of matrixDTypes) {
    using on = await bench(tall, dtype);
    const size = bytesOf(dtype);
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        const plan = layer.explain(tall.tokens);
        const before = bytes();
        const warm = layer.forward(on.x);
        disposeAll(warm.y, warm);
        // W' is built by now, so a further pass adds only y and what it keeps.
        const between = bytes();
        const pass = layer.forward(on.x);
        const kept = bytes() - between - pass.y.size * size;
        t.equal(plan.savedBytes, kept, `${family.name}, ${strategy}, ${dtype}: as explained`);
        const merged = plan.strategy === 'merged' ? tall.out * tall.in * size : 0;
        t.equal(between - before, merged, `${family.name}, ${strategy}, ${dtype}: one W' where it is merged`);
        disposeAll(pass.y, pass);
        // Another strategy may be cheaper for `apply`.
        layer.apply(on.x).dispose();
        const settled = bytes();
        for (let round = 0; round < 3; round++) {
          perturb(layer, round);
          layer.apply(on.x).dispose();
        }
        const after = bytes();
        t.equal(
          after,
          settled,
          `${family.name}, ${strategy}, ${dtype}: and the old one goes when a parameter is written`,
        );
        disposeLayer(layer);
      }
    }
  }
});

t.test('the number of tokens from which merged is cheaper', async (t) => {
  // Square, r = d: training factored 4, merged 3 + 2d/N; applying 2 against 1 + d/N. Of equals the first.
  using on = await bench({ name: 'square', out: 64, in: 64, tokens: 1 }, 'float32');
  const layer = await svft(on.weight, { factors: on.factors });
  t.equal(layer.explain(128).strategy, 'factored', 'equal costs');
  t.equal(layer.explain(129).strategy, 'merged', 'one token more');
  for (const [tokens, merged] of [
    [64, false],
    [65, true],
  ] as const) {
    const x = gaussian(on.random, [tokens, 64], 'float32');
    const before = bytes();
    layer.apply(x).dispose();
    t.equal(bytes() > before, merged, `apply, ${tokens} tokens: W' is ${merged ? '' : 'not '}built`);
    disposeAll(x);
  }
  disposeLayer(layer);
});

t.test("in 16 bits 'auto' never merges, and a request does", async (t) => {
  for (const dtype of matrixDTypes.filter(isHalf)) {
    using on = await bench(square, dtype);
    for (const family of families.filter((each) => each.strategies.includes('merged'))) {
      for (const strategy of ['auto', 'merged'] as const) {
        const layer = await layerWith(family, on, strategy, { microBatches: 64 });
        for (const tokens of [1, 64, 100_000]) {
          const found = layer.explain(tokens).strategy === 'merged';
          t.equal(found, strategy === 'merged', `${family.name}, ${dtype}, ${strategy}, ${tokens} tokens`);
        }
        disposeLayer(layer);
      }
    }
  }
});

t.test("small changes of the parameters survive in a W' of 16 bits, on average over its entries", async (t) => {
  const shape = { name: 'square', out: 96, in: 96, tokens: 64 };
  for (const dtype of matrixDTypes.filter(isHalf)) {
    using on = await bench(shape, dtype);
    const x = dense(on.x);
    for (const family of oneOfEach.filter((each) => each.strategies.includes('factored') && each.family !== 'siva')) {
      const layer = await makeLayer(family, on, 'merged');
      const outputs = () => {
        using y = layer.apply(on.x);
        const operator = family.operator(layer, dense(on.weight), snapshot(on.bias));
        return { found: snapshot(y), wanted: reference.forward(operator, x).data };
      };
      let before = outputs();
      let [along, size] = [0, 0];
      // One step's share has a standard deviation of about 0.15.
      for (let step = 0; step < 16; step++) {
        // W' changes by 3e-4 of its norm, most entries by less than a tenth of the spacing of bfloat16 numbers.
        for (const { name, value } of layer.parameters) {
          if (name !== 'bias' && name !== 'gate') rewrite(value, (each) => each + 3e-4 * on.random.normal());
        }
        const after = outputs();
        for (const [i, value] of after.found.entries()) {
          const change = at(after.wanted, i) - at(before.wanted, i);
          along += (value - at(before.found, i)) * change;
          size += change ** 2;
        }
        before = after;
      }
      t.ok(Math.abs(along / size - 1) < 0.3, `${family.name}, ${dtype}: ${along / size} of the change survives`);
      disposeLayer(layer);
    }
  }
});

t.test('the caller disposes the weight of a living layer', async (t) => {
  using on = await bench(square, 'float64');
  for (const [name, strategy, make] of [
    ['svft', 'factored', svft],
    ['siva', 'factored', siva],
    ['siva', 'lowrank', siva],
    ['svft', 'merged', svft],
  ] as const) {
    const weight = on.weight.cast('float64');
    const layer = await make(weight, { factors: on.factors, strategy });
    weight.dispose();
    const merged = layer.mergedWeight();
    assertClose(t, merged, on.weight, tolerances.float64, `${name}, ${strategy}: merges without it`);
    const y = layer.apply(on.x);
    const expected = reference.linear(dense(on.x), dense(on.weight));
    assertClose(t, y, expected.data, tolerances.float64, `${name}, ${strategy}: and is applied`);
    disposeAll(merged, y);
    disposeLayer(layer);
    throwsSigma(t, () => layer.mergedBias(), 'DISPOSED', `${name}, ${strategy}: mergedBias of a disposed layer`);
    throwsSigma(t, () => layer.explain(1), 'DISPOSED', `${name}, ${strategy}: explain of a disposed layer`);
  }
});

t.test('a core that is frozen costs no gradient', async (t) => {
  // Merged: forward and dx, and W' once for all tokens; no gradient of W' is projected.
  using on = await bench({ name: 'square', out: 64, in: 64, tokens: 1 }, 'float64');
  for (const family of oneOfEach.filter(({ denseCore }) => !denseCore)) {
    const layer = await makeLayer(family, on, 'auto');
    const { rank } = layer;
    const core = layer.parameters.filter(({ name }) => name !== 'bias');
    const counts = [1, 16, 32, 33, 64, 128, 129, 6400];
    const before = counts.map((tokens) => layer.explain(tokens));
    for (const entry of core) entry.trainable = false;
    for (const tokens of counts) {
      const label = `${family.name}, ${tokens} tokens`;
      const plan = layer.explain(tokens);
      // The thin products cost 4 at full rank; the base plus half of the directions costs as much.
      const merged = 2 + rank / tokens;
      t.equal(plan.strategy === 'merged', merged < 4, `${label}: ${plan.strategy}`);
      t.ok(Math.abs(plan.gemms - Math.min(merged, 4)) < 1e-12, `${label}: ${plan.gemms} GEMMs`);
      t.equal(plan.savedBytes, 0, `${label}: nothing is kept`);
    }
    item(core, 0).trainable = true;
    t.same(
      counts.map((tokens) => layer.explain(tokens)),
      before,
      `${family.name}: as before once anything of the core is released`,
    );
    disposeLayer(layer);
  }
});

t.test('freezing the core changes no result', async (t) => {
  // 9 tokens: factored while the core is trained, merged while it is frozen.
  using on = await bench({ name: 'square', out: 12, in: 12, tokens: 9 }, 'float64');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    perturb(layer);
    const core = layer.parameters.filter(({ name }) => name !== 'bias');
    const operator = family.operator(layer, dense(on.weight), snapshot(on.bias));
    const expected = reference.backward(operator, dense(on.x), dense(on.dy));
    const plans = new Set<string>();
    for (const trainable of [true, false, true]) {
      const label = `${family.name}, ${trainable ? 'trained' : 'frozen'}`;
      for (const entry of core) entry.trainable = trainable;
      plans.add(layer.explain(on.shape.tokens).strategy);
      const pass = layer.forward(on.x);
      const dx = pass.backward(on.dy);
      assertClose(t, pass.y, reference.forward(operator, dense(on.x)).data, tolerances.float64, `${label}: y`);
      assertClose(t, dx, expected.dx.data, tolerances.float64, `${label}: dx`);
      for (const entry of layer.parameters) {
        if (!entry.trainable) t.equal(entry.grad, null, `${label}: ${entry.name} has no gradient`);
        else {
          const wanted = expectedGradient(entry, expected);
          assertClose(t, entry.grad ?? [], wanted, tolerances.float64, `${label}: ${entry.name}`);
        }
      }
      clearGradients(layer);
      disposeAll(pass.y, pass, dx);
    }
    t.equal(plans.size, 2, `${family.name}: by ${[...plans].join(' and ')}`);
    disposeLayer(layer);
  }
});
