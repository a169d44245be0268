/** `enabled`: a layer that is switched off computes the pretrained layer; switched on again, it is unchanged. */
import { AdamW, type AdaptedLinear, siva, svft, type Tensor, tidy, vectorFit } from 'sigmatune';
import t from 'tap';
import {
  dtypes,
  type FamilyCase,
  families,
  type LayerShape,
  layerShapes,
  oneOfEach,
  tolerances,
} from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  bytes,
  type Check,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  item,
  real,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import {
  type Bench,
  bench,
  clearGradients,
  dense,
  disposeLayer,
  gradientsOf,
  makeLayer,
  perturb,
} from '../support/layer.js';
import * as reference from '../support/reference.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);
const wide = item(layerShapes, 2);
const shapes: readonly LayerShape[] = [square, tall, wide, { name: 'one by one', out: 1, in: 1, tokens: 1 }];

/** Cases that drop the part beyond `rank` and do not keep the weight. */
const leavesOut = (family: FamilyCase): boolean =>
  ['svft, truncated, residual dropped', 'svft, truncated, orthonormal fill'].includes(family.name);

/** The pretrained layer: y, dx and the bias. */
function base(on: Bench) {
  const [x, dy, weight] = [dense(on.x), dense(on.dy), dense(on.weight)];
  return { y: reference.linear(x, weight, snapshot(on.bias)).data, dx: reference.matmul(dy, weight).data };
}

/** y and dx of a layer that is off; no gradient may change. */
function checkPasses(t: Check, layer: AdaptedLinear, on: Bench, label: string): void {
  const expected = base(on);
  const tolerance = tolerances[on.dtype];
  const before = layer.parameters.map(({ grad }) => grad);
  const sums = gradientsOf(layer);
  const y = layer.apply(on.x);
  assertClose(t, y, expected.y, tolerance, `${label}: apply`);
  const pass = layer.forward(on.x);
  assertSameBits(t, pass.y, y, `${label}: forward`);
  const dx = pass.backward(on.dy);
  t.same([dx.shape, dx.dtype], [on.x.shape, on.dtype], `${label}: shape and type of dx`);
  assertClose(t, dx, expected.dx, tolerance, `${label}: dx = dy W0`);
  const second = layer.forward(on.x);
  t.equal(second.backward(on.dy, { inputGrad: false }), undefined, `${label}: without dx`);
  throwsSigma(t, () => second.backward(on.dy), 'CONSUMED', `${label}: once only`);
  t.ok(
    layer.parameters.every(({ grad }, i) => grad === before[i]),
    `${label}: no gradient appears`,
  );
  for (const [i, sum] of gradientsOf(layer).entries()) assertSameBits(t, sum, sums[i] ?? [], `${label}: nor grows`);
  disposeAll(y, pass.y, pass, dx, second.y, second);
}

for (const dtype of dtypes) {
  for (const shape of shapes) {
    t.test(`off and on, ${shape.name}, ${dtype}`, async (t) => {
      await expectNoLeak(t, 'off and on', async () => {
        using on = await bench(shape, dtype);
        for (const family of families) {
          for (const strategy of family.strategies) {
            const findings = new Findings();
            const layer = await makeLayer(family, on, strategy);
            findings.equal(layer.enabled, true, 'on at first');
            perturb(layer);
            const warm = layer.forward(on.x);
            const dx = warm.backward(on.dy);
            const gradients = gradientsOf(layer);
            const [weight, bias] = [layer.mergedWeight(), layer.mergedBias()];

            layer.enabled = false;
            findings.equal(layer.enabled, false, 'off');
            checkPasses(findings, layer, on, 'with gradients');
            clearGradients(layer);
            checkPasses(findings, layer, on, 'without gradients');
            const [offWeight, offBias] = [layer.mergedWeight(), layer.mergedBias()];
            assertSameBits(findings, offWeight, on.weight, 'the bits of W0');
            assertSameBits(findings, offBias ?? [], on.bias, 'the bits of the bias as it was');

            layer.enabled = true;
            findings.equal(layer.enabled, true, 'on again');
            const again = layer.forward(on.x);
            assertSameBits(findings, again.y, warm.y, 'y is as before');
            const dxAgain = again.backward(on.dy);
            assertSameBits(findings, dxAgain, dx, 'dx is as before');
            const same = gradientsOf(layer);
            for (const [i, sum] of gradients.entries()) assertSameBits(findings, same[i] ?? [], sum, 'a gradient too');
            const [onWeight, onBias] = [layer.mergedWeight(), layer.mergedBias()];
            assertSameBits(findings, onWeight, weight, 'the merged weight too');
            assertSameBits(findings, onBias ?? [], bias ?? [], 'the merged bias too');
            t.same(findings.failures, [], `${family.name}, ${strategy}`);
            disposeAll(warm.y, warm, dx, weight, bias, offWeight, offBias, again.y, again, dxAgain, onWeight, onBias);
            disposeLayer(layer);
          }
        }
      });
    });
  }
}

t.test('no parameter is read while off', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of families) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      layer.enabled = false;
      for (const { value } of layer.parameters) fill(value, Number.NaN);
      const findings = new Findings();
      checkPasses(findings, layer, on, 'NaN everywhere');
      t.same(findings.failures, [], `${family.name}, ${strategy}`);
      disposeLayer(layer);
    }
  }
});

t.test('a layer without a bias', async (t) => {
  using on = await bench(tall, 'float64');
  const expected = reference.linear(dense(on.x), dense(on.weight));
  for (const family of oneOfEach) {
    const layer = await family.make(on.weight, { factors: on.factors });
    perturb(layer);
    layer.enabled = false;
    const y = layer.apply(on.x);
    assertClose(t, y, expected.data, tolerances.float64, family.name);
    t.equal(layer.mergedBias(), undefined, `${family.name}: still has none`);
    y.dispose();
    disposeLayer(layer);
  }
  const created = await vectorFit(on.weight, { factors: on.factors, createBias: true });
  perturb(created);
  created.enabled = false;
  const y = created.apply(on.x);
  assertClose(t, y, expected.data, tolerances.float64, 'a bias that was created is gone');
  t.equal(created.mergedBias(), undefined, 'and not merged');
  created.enabled = true;
  const merged = created.mergedBias();
  t.equal(merged?.size, tall.out, 'until the layer is on');
  disposeAll(y, merged);
  disposeLayer(created);
});

t.test('mergedWeight of a layer that is off is a new tensor', async (t) => {
  using on = await bench(square, 'float32');
  const [w0, b0] = [snapshot(on.weight), snapshot(on.bias)];
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    layer.enabled = false;
    const [weight, bias] = [layer.mergedWeight(), layer.mergedBias()];
    fill(weight, 9);
    bias?.dataSync().fill(9);
    disposeAll(weight, bias);
    const [again, biasAgain] = [layer.mergedWeight(), layer.mergedBias()];
    assertSameBits(t, again, w0, `${family.name}: W0`);
    assertSameBits(t, biasAgain ?? [], b0, `${family.name}: b0`);
    assertSameBits(t, on.weight, w0, `${family.name}: the caller's weight`);
    assertSameBits(t, on.bias, b0, `${family.name}: the caller's bias`);
    disposeAll(again, biasAgain);
    disposeLayer(layer);
  }
});

t.test('merge, then unmerge', async (t) => {
  using on = await bench(square, 'float32');
  const w0 = snapshot(on.weight);
  for (const family of families) {
    for (const strategy of family.strategies) {
      const label = `${family.name}, ${strategy}`;
      const layer = await makeLayer(family, on, strategy);
      perturb(layer);
      const merged = layer.mergedWeight();
      const update = reference.norm(reference.subtract(dense(merged), dense(on.weight)));
      t.ok(update > 1e-3, `${label}: training moved the weight by ${update}`);
      assertSameBits(t, on.weight, w0, `${label}: not the base tensor`);
      layer.enabled = false;
      const unmerged = layer.mergedWeight();
      assertSameBits(t, unmerged, w0, `${label}: the base, to the bit`);
      disposeAll(merged, unmerged);
      disposeLayer(layer);
    }
  }
});

for (const dtype of dtypes) {
  t.test(`after the caller has disposed the weight, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'disposed weight', async () => {
      for (const shape of [square, tall, wide]) {
        using on = await bench(shape, dtype);
        const w0 = snapshot(on.weight);
        for (const family of families) {
          for (const strategy of family.strategies) {
            const label = `${family.name}, ${shape.name}, ${strategy}`;
            const own: Tensor = real(w0, on.weight.shape, dtype);
            const layer = await makeLayer(family, { ...on, weight: own }, strategy);
            perturb(layer);
            const y = layer.apply(on.x);
            layer.enabled = false;
            const pass = layer.forward(on.x);
            own.dispose();
            const dx = pass.backward(on.dy);
            assertClose(t, dx, base(on).dx, tolerances[dtype], `${label}: a pass that was recorded before`);
            disposeAll(pass.y, pass, dx);

            if (leavesOut(family)) {
              for (const [name, use] of [
                ['apply', () => layer.apply(on.x)],
                ['forward', () => layer.forward(on.x)],
                ['mergedWeight', () => layer.mergedWeight()],
              ] as const) {
                throwsSigma(t, use, 'DISPOSED', `${label}: ${name}`, 'weight', 'switched off');
              }
            } else {
              const findings = new Findings();
              checkPasses(findings, layer, on, 'off');
              const weight = layer.mergedWeight();
              assertClose(findings, weight, w0, tolerances[dtype], 'W0');
              if (layer.explain(1).strategy !== 'base') findings.ok(false, 'explains the base');
              t.same(findings.failures, [], label);
              weight.dispose();
            }
            const bias = layer.mergedBias();
            assertSameBits(t, bias ?? [], on.bias, `${label}: the bias`);
            layer.enabled = true;
            const again = layer.apply(on.x);
            // From now on W' is rebuilt without W0.
            assertClose(t, again, y, tolerances[dtype], `${label}: on again`);
            disposeAll(y, again, bias);
            disposeLayer(layer);
          }
        }
      }
    });
  });
}

t.test('layers that keep the weight still give its bits', async (t) => {
  using on = await bench(square, 'float64');
  const w0 = snapshot(on.weight);
  const keepers: readonly [string, (weight: Tensor) => Promise<AdaptedLinear>][] = [
    ['svft, a kept residual', (weight) => svft(weight, { rank: 4 })],
    ['svft, a kept residual, merged', (weight) => svft(weight, { rank: 4, strategy: 'merged' })],
    ['svft, low rank', (weight) => svft(weight, { strategy: 'lowrank' })],
    ['siva, low rank', (weight) => siva(weight, { count: 2, strategy: 'lowrank' })],
    ['siva, merged', (weight) => siva(weight, { count: 2, strategy: 'merged' })],
    ['siva, a random basis', (weight) => siva(weight, { count: 2, basis: 'random' })],
  ];
  for (const [label, make] of keepers) {
    await expectNoLeak(t, label, async () => {
      const own = real(w0, on.weight.shape, 'float64');
      const layer = await make(own);
      perturb(layer);
      own.dispose();
      layer.enabled = false;
      const weight = layer.mergedWeight();
      assertSameBits(t, weight, w0, label);
      weight.dispose();
      disposeLayer(layer);
    });
  }
});

t.test('the bias stays when the caller disposes it', async (t) => {
  using on = await bench(tall, 'float64');
  for (const family of oneOfEach) {
    const bias = real(snapshot(on.bias), on.bias.shape, 'float64');
    const layer = await makeLayer(family, { ...on, bias }, 'auto');
    perturb(layer);
    bias.dispose();
    layer.enabled = false;
    const findings = new Findings();
    checkPasses(findings, layer, on, 'off');
    t.same(findings.failures, [], family.name);
    disposeLayer(layer);
  }
});

t.test('a pass uses the state of the layer at its forward', async (t) => {
  await expectNoLeak(t, 'across the switch', async () => {
    using on = await bench(tall, 'float64');
    for (const family of families) {
      for (const strategy of family.strategies) {
        const findings = new Findings();
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const plain = layer.forward(on.x);
        const dx = plain.backward(on.dy);
        const gradients = gradientsOf(layer);
        clearGradients(layer);

        const recordedOn = layer.forward(on.x);
        layer.enabled = false;
        const recordedOff = layer.forward(on.x);
        for (const { value } of layer.parameters) fill(value, 3);
        const late = recordedOn.backward(on.dy);
        assertSameBits(findings, late, dx, 'recorded on, pulled back off: dx of its forward');
        const sums = gradientsOf(layer);
        for (const [i, sum] of sums.entries()) assertSameBits(findings, sum, gradients[i] ?? [], 'and its gradients');
        layer.enabled = true;
        const offDx = recordedOff.backward(on.dy);
        assertClose(findings, offDx, base(on).dx, tolerances.float64, 'recorded off, pulled back on: dy W0');
        for (const [i, sum] of gradientsOf(layer).entries())
          assertSameBits(findings, sum, sums[i] ?? [], 'adds nothing');
        t.same(findings.failures, [], `${family.name}, ${strategy}`);
        disposeAll(plain.y, plain, dx, recordedOn.y, recordedOn, recordedOff.y, recordedOff, late, offDx);
        disposeLayer(layer);
      }
    }
  });
});

t.test('a pass recorded while the layer was off', async (t) => {
  await expectNoLeak(t, 'passes', async () => {
    using on = await bench(tall, 'float32');
    for (const family of oneOfEach) {
      const layer = await makeLayer(family, on, 'auto');
      layer.enabled = false;
      const before = bytes();
      const unused = layer.forward(on.x);
      unused.y.dispose();
      t.equal(bytes(), before, `${family.name}: keeps nothing of its own`);
      unused.dispose();
      throwsSigma(t, () => unused.backward(on.dy), 'DISPOSED', `${family.name}: after dispose`);
      const short = real(new Float64Array(tall.out), [1, tall.out], 'float32');
      const pass = layer.forward(on.x);
      throwsSigma(t, () => pass.backward(short), 'SHAPE_MISMATCH', `${family.name}: dy of other tokens`, 'dy');
      throwsSigma(t, () => layer.apply(on.dy), 'SHAPE_MISMATCH', `${family.name}: x of other features`, 'x');
      tidy(() => {
        const inner = layer.forward(on.x);
        inner.backward(on.dy);
        layer.mergedWeight();
        layer.mergedBias();
      });
      disposeAll(short, pass.y, pass);
      layer.dispose();
      for (const use of [() => layer.apply(on.x), () => layer.forward(on.x), () => layer.mergedWeight()])
        throwsSigma(t, use, 'DISPOSED', `${family.name}: a disposed layer that is off`);
      throwsSigma(t, () => layer.mergedBias(), 'DISPOSED', `${family.name}: its bias`);
      throwsSigma(t, () => layer.explain(1), 'DISPOSED', `${family.name}: its plan`);
    }
  });
});

t.test('an optimiser step changes nothing while the layer is off', async (t) => {
  using on = await bench(tall, 'float64');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    perturb(layer);
    const before = layer.parameters.map(({ value }) => snapshot(value));
    layer.enabled = false;
    const optimizer = new AdamW(layer.parameters, { lr: 0.1 });
    const pass = layer.forward(on.x);
    disposeAll(pass.backward(on.dy), pass.y, pass);
    optimizer.step();
    for (const [i, { name, value }] of layer.parameters.entries())
      assertSameBits(t, value, before[i] ?? [], `${family.name}: ${name} stays, without decay`);
    disposeLayer(layer);
  }
});

t.test('explain', async (t) => {
  using on = await bench(tall, 'float32');
  for (const family of families) {
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      const before = [1, 64].map((tokens) => layer.explain(tokens));
      layer.enabled = false;
      for (const tokens of [1, 64]) {
        const { why, ...plan } = layer.explain(tokens);
        t.same(plan, { strategy: 'base', gemms: 2, savedBytes: 0 }, `${family.name}, ${strategy}`);
        t.match(why, /off/, `${family.name}: says why`);
      }
      for (const tokens of [0, 1.5, Number.NaN])
        throwsSigma(t, () => layer.explain(tokens), 'INVALID_ARGUMENT', `${tokens} tokens`, 'tokens');
      layer.enabled = true;
      t.same(
        [1, 64].map((tokens) => layer.explain(tokens)),
        before,
        `${family.name}, ${strategy}: on again`,
      );
      disposeLayer(layer);
    }
  }
});

t.test('enabled takes a boolean only', async (t) => {
  using on = await bench(square, 'float32');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    for (const state of [true, false]) {
      layer.enabled = state;
      for (const bad of [0, 1, Number.NaN, '', 'false', null, undefined, {}, Object(false), () => true]) {
        const set = () => {
          layer.enabled = bad as boolean;
        };
        throwsSigma(t, set, 'INVALID_ARGUMENT', `${family.name}: ${String(bad)}`, 'enabled');
        t.equal(layer.enabled, state, `${family.name}: ${String(bad)} leaves it as it was`);
      }
    }
    disposeLayer(layer);
  }
});

t.test('layers that share factors are switched separately', async (t) => {
  await expectNoLeak(t, 'shared factors', async () => {
    using on = await bench({ name: 'square', out: 24, in: 24, tokens: 3 }, 'float64');
    const triples = 8 * (on.factors.u.size + on.factors.s.size + on.factors.vt.size);
    for (const [label, make] of [
      ['svft', () => svft(on.weight, { factors: on.factors, bias: on.bias, pattern: 'banded', offDiagonals: 1 })],
      ['vectorfit', () => vectorFit(on.weight, { factors: on.factors, bias: on.bias })],
    ] as const) {
      const start = bytes();
      const [one, two] = [await make(), await make()];
      const grown = bytes() - start;
      // The layer also keeps a copy of the pretrained bias.
      const kept = label === 'vectorfit' ? 2 * on.bias.size : 0;
      const parameters = 8 * (one.parameterCount + two.parameterCount + kept);
      t.ok(grown <= parameters && grown < triples, `${label}: ${grown} bytes for two, ${parameters} of parameters`);

      perturb(one, 5);
      perturb(two, 6);
      const [first, second] = [one.apply(on.x), two.apply(on.x)];
      t.notSame(snapshot(first), snapshot(second), `${label}: two adapters`);
      one.enabled = false;
      t.same([one.enabled, two.enabled], [false, true], `${label}: one is off`);
      const [off, still] = [one.apply(on.x), two.apply(on.x)];
      assertClose(t, off, base(on).y, tolerances.float64, `${label}: and is the base`);
      assertSameBits(t, still, second, `${label}: the other works on`);
      two.enabled = false;
      one.enabled = true;
      const [back, away] = [one.apply(on.x), two.apply(on.x)];
      assertSameBits(t, back, first, `${label}: swapped`);
      assertSameBits(t, away, off, `${label}: swapped, the other`);
      disposeLayer(one);
      two.enabled = true;
      const alone = two.apply(on.x);
      assertSameBits(t, alone, second, `${label}: without the first`);
      two.enabled = false;
      const base0 = two.apply(on.x);
      assertSameBits(t, base0, off, `${label}: without the first, off`);
      disposeLayer(two);
      disposeAll(first, second, off, still, back, away, alone, base0);
      t.ok(!on.factors.u.disposed && at(snapshot(on.factors.s), 0) > 0, `${label}: the factors are the caller's`);
    }
  });
});

t.test('residual drop at full rank drops nothing', async (t) => {
  // residual 'drop' (parity's default) has no effect if every direction is kept.
  using on = await bench(square, 'float64');
  const own = real(snapshot(on.weight), on.weight.shape, 'float64');
  const layer = await svft(own, { bias: on.bias, parity: 'svft-ref' });
  own.dispose();
  layer.enabled = false;
  try {
    const findings = new Findings();
    checkPasses(findings, layer, on, 'off');
    t.same(findings.failures, []);
  } catch (error) {
    t.fail(String(error));
  }
  disposeLayer(layer);
});
