/** `family.from`: layers made synchronously from factors that are at hand. */
import {
  type AdaptedLinear,
  decompose,
  loraXs,
  matmul,
  Sgd,
  siva,
  svdiff,
  svft,
  type Tensor,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { dtypes, families, type LayerShape, oneOfEach, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  Findings,
  gaussian,
  snapshot,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { bench, clearGradients, disposeLayer, makeLayer, parameter, perturb } from '../support/layer.js';

const shapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 7 },
  { name: 'tall', out: 20, in: 6, tokens: 5 },
  { name: 'one by one', out: 1, in: 1, tokens: 3 },
];

/** All that two layers compute from one state, and the gradients: the same bits. */
function assertSameLayer(t: Findings, one: AdaptedLinear, other: AdaptedLinear, x: Tensor, dy: Tensor, label: string) {
  t.equal(String(one.parameters.map(({ name }) => name)), String(other.parameters.map(({ name }) => name)), label);
  for (const [i, { name, value }] of one.parameters.entries()) {
    assertSameBits(t, value, other.parameters[i]?.value ?? [], `${label}: the start of ${name}`);
  }
  for (const moved of [false, true]) {
    const [a, b] = [one, other].map((layer) => {
      if (moved) perturb(layer);
      const pass = layer.forward(x);
      const dx = pass.backward(dy);
      const merged = layer.mergedWeight();
      const found = [pass.y, dx, merged, layer.apply(x), ...layer.parameters.map(({ grad }) => grad as Tensor)];
      const numbers = found.map(snapshot);
      disposeAll(...found.slice(0, 4), pass);
      clearGradients(layer);
      return numbers;
    });
    for (const [i, numbers] of (a ?? []).entries()) {
      assertSameBits(t, numbers, b?.[i] ?? [], `${label}${moved ? ', trained' : ''}: result ${i}`);
    }
  }
}

t.test('with the weight, a layer from factors is the one that the family makes, to the bit', async (t) => {
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      await expectNoLeak(t, `${shape.name}, ${dtype}`, async () => {
        using on = await bench(shape, dtype);
        for (const family of families.filter(({ square }) => !square || shape.out === shape.in)) {
          const found = new Findings();
          for (const strategy of family.strategies) {
            const label = `${family.name}, ${shape.name}, ${dtype}, ${strategy}`;
            const wanted = await makeLayer(family, on, strategy);
            const layer = family.from(on.factors, { strategy, bias: on.bias, weight: on.weight });
            assertSameLayer(found, layer, wanted, on.x, on.dy, label);
            disposeAll(layer, wanted);
          }
          t.same(found.failures, [], `${family.name}, ${shape.name}, ${dtype}`);
        }
      });
    }
  }
});

t.test('top-k ranks in one go as in slices', async (t) => {
  using on = await bench(shapes[0] as LayerShape, 'float32');
  const options = { pattern: 'topk', offDiagonals: 2 } as const;
  const wanted = await svft(on.weight, { ...options, factors: on.factors });
  const layer = svft.from(on.factors, { ...options, weight: on.weight });
  const found = new Findings();
  assertSameLayer(found, layer, wanted, on.x, on.dy, 'topk');
  t.same(found.failures, []);
  disposeAll(layer, wanted);
});

t.test('without the weight, W0 is U diag(σ) Vᵀ', async (t) => {
  for (const shape of shapes) {
    await expectNoLeak(t, shape.name, async () => {
      using on = await bench(shape, 'float64');
      for (const family of families.filter(({ square }) => !square || shape.out === shape.in)) {
        const found = new Findings();
        for (const strategy of family.strategies) {
          const label = `${family.name}, ${strategy}`;
          const [layer, wanted] = [
            family.from(on.factors, { strategy, bias: on.bias }),
            family.from(on.factors, { strategy, bias: on.bias, weight: on.weight }),
          ];
          for (const each of [layer, wanted]) perturb(each);
          const [y, expected] = [layer.forward(on.x), wanted.forward(on.x)];
          const [dx, expectedDx] = [y.backward(on.dy), expected.backward(on.dy)];
          const [merged, expectedMerged] = [layer.mergedWeight(), wanted.mergedWeight()];
          assertClose(found, y.y, values(expected.y), tolerances.float64, `${label}: y`);
          assertClose(found, dx, values(expectedDx), tolerances.float64, `${label}: dx`);
          assertClose(found, merged, values(expectedMerged), tolerances.float64, `${label}: W'`);
          disposeAll(y.y, expected.y, y, expected, dx, expectedDx, merged, expectedMerged);
          disposeAll(layer, wanted);
        }
        t.same(found.failures, [], `${family.name}, ${shape.name}`);
      }
    });
  }
});

t.test("a layer that is switched off computes U diag(σ) Vᵀ's layer", async (t) => {
  using on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float64');
  const base = matmul(on.x as Tensor<'float64'>, on.weight as Tensor<'float64'>, { transposeB: true });
  for (const family of oneOfEach) {
    const layer = family.from(on.factors, {});
    perturb(layer);
    layer.enabled = false;
    const y = layer.apply(on.x);
    assertClose(t, y, values(base), tolerances.float64, family.name);
    disposeAll(y, layer);
  }
  base.dispose();
});

t.test('Factors, and the layout in-out', async (t) => {
  await expectNoLeak(t, 'Factors', async () => {
    using on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float32');
    using factors = await decompose(on.weight as Tensor<'float32'>);
    const bias = gaussian(on.random, [5], 'float32');
    const x = gaussian(on.random, [3, 9], 'float32');
    const layers: AdaptedLinear[] = [];
    for (const family of oneOfEach) {
      const layer = family.from(factors, { layout: 'in-out', bias });
      layers.push(layer);
      t.same([layer.outFeatures, layer.inFeatures], [5, 9], family.name);
      const wanted = await family.make(on.weight, { factors, layout: 'in-out', bias });
      const [y, expected] = [layer.apply(x), wanted.apply(x)];
      assertClose(t, y, values(expected), tolerances.float32, `${family.name}: y`);
      disposeAll(y, expected, wanted);
    }
    factors.dispose();
    for (const layer of layers) {
      const y = layer.apply(x);
      t.same(y.shape, [3, 5], `${layer.family}: the layer keeps what it uses`);
      disposeAll(y);
      disposeLayer(layer);
    }
    disposeAll(bias, x);
  });
});

t.test('truncated factors', async (t) => {
  await expectNoLeak(t, 'truncated', async () => {
    using on = await bench({ name: 'wide', out: 5, in: 9, tokens: 4 }, 'float64');
    using factors = await decompose(on.weight as Tensor<'float64'>, { rank: 3 });
    const missing = ['options.weight', '3 of 5'] as const;
    throwsSigma(t, () => svft.from(factors, { rank: 2 }), 'INVALID_ARGUMENT', 'a kept residual', ...missing);
    throwsSigma(t, () => loraXs.from(factors, { rank: 2 }), 'INVALID_ARGUMENT', 'LoRA-XS', ...missing);
    for (const family of [siva, vectorFit, svdiff] as const) {
      throwsSigma(t, () => family.from(factors), 'SHAPE_MISMATCH', family.name, 'factors', 'all 5', '3');
    }
    for (const residual of ['drop', 'orthonormal'] as const) {
      const layer = svft.from(factors, { residual });
      const wanted = await svft(on.weight, { factors, residual });
      const [y, expected] = [layer.apply(on.x), wanted.apply(on.x)];
      assertSameBits(t, y, expected, `residual '${residual}' needs no weight`);
      disposeAll(y, expected, layer, wanted);
    }
    const layer = svft.from(factors, { rank: 2, weight: on.weight });
    t.equal(layer.rank, 2);
    disposeAll(layer);
  });
});

t.test('what `from` refuses', async (t) => {
  await expectNoLeak(t, 'refused', async () => {
    using on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float32');
    const { u, s, vt } = on.factors;
    const other = gaussian(on.random, [9, 5], 'float32');
    const double = gaussian(on.random, [9, 5], 'float64');
    const any = (value: unknown) => value as never;
    for (const { from, name } of [svft, siva, vectorFit, svdiff, loraXs]) {
      const refuses = (
        label: string,
        body: () => unknown,
        code: Parameters<typeof throwsSigma>[2],
        ...parts: string[]
      ) => throwsSigma(t, body, code, `${name}: ${label}`, `${name}.from`, ...parts);
      refuses('nothing', () => from(any(undefined)), 'INVALID_ARGUMENT', 'factors', 'undefined');
      refuses('no factors', () => from(any(other)), 'INVALID_ARGUMENT', 'factors.u');
      refuses('factors, given twice', () => from(on.factors, any({ factors: on.factors })), 'INVALID_ARGUMENT');
      refuses('a signal', () => from(on.factors, any({ signal: AbortSignal.abort() })), 'INVALID_ARGUMENT', 'signal');
      refuses('another weight', () => from(on.factors, { weight: other }), 'BASE_MISMATCH', 'factors');
      refuses('another type', () => from(on.factors, any({ weight: double })), 'DTYPE_MISMATCH', 'factors.s');
      refuses('no weight', () => from(on.factors, any({ weight: 3 })), 'INVALID_ARGUMENT', 'options.weight');
      refuses('too many σ', () => from({ u: vt, s, vt: u }), 'SHAPE_MISMATCH', 'factors');
      const skew = gaussian(on.random, [9, 5], 'float32');
      refuses('vectors that are not orthonormal', () => from({ u: skew, s, vt }), 'BASE_MISMATCH', 'factors');
      skew.dispose();
      refuses('a disposed tensor', () => from({ u: skew, s, vt }), 'DISPOSED', 'factors.u');
    }
    disposeAll(other, double);
  });
});

t.test('a getter of the options that disposes the factors', async (t) => {
  await expectNoLeak(t, 'getter', async () => {
    const on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float32');
    const options = {
      get name() {
        disposeSvd(on.factors);
        return 'layer';
      },
    };
    throwsSigma(t, () => siva.from(on.factors, options), 'DISPOSED', 'siva.from', 'factors');
    on[Symbol.dispose]();
  });
});

t.test('an asynchronous construction that is aborted half-way leaves nothing behind', async (t) => {
  await expectNoLeak(t, 'aborted', async () => {
    using on = await bench({ name: 'square', out: 64, in: 64, tokens: 1 }, 'float32');
    const controller = new AbortController();
    const made = siva(on.weight, { factors: on.factors, basis: 'random', count: 32, signal: controller.signal });
    controller.abort();
    await t.rejects(made, { code: 'ABORTED' });
  });
});

t.test('a parameter in a tensor of the caller, on the device of the layer', async (t) => {
  await expectNoLeak(t, 'bind', async () => {
    using on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float32');
    const own = gaussian(on.random, [5], 'float32');
    const layer = vectorFit.from(on.factors, { weight: on.weight, bind: { sigma: own } });
    assertSameBits(t, own, on.factors.s, 'it gets the start');
    const twin = vectorFit.from(on.factors, { weight: on.weight });
    for (const each of [layer, twin]) {
      const pass = each.forward(on.x);
      disposeAll(pass.backward(on.dy), pass.y);
      new Sgd(each.parameters, { lr: 0.1 }).step();
      clearGradients(each);
    }
    assertSameBits(t, own, parameter(twin, 'sigma').value, 'and is trained');
    disposeAll(layer, twin);
    t.equal(own.disposed, false, "it is still the caller's");
    own.dispose();
  });
});

t.test('the trained parameter keeps its name', async (t) => {
  using on = await bench({ name: 'tall', out: 9, in: 5, tokens: 4 }, 'float32');
  const layer = vectorFit.from(on.factors, { name: 'q', weight: on.weight, bias: on.bias });
  t.same(
    layer.parameters.map(({ name }) => name),
    ['q.sigma', 'q.bias'],
  );
  t.ok(parameter(layer, 'sigma').trainable);
  layer.dispose();
});
