/** Weights stored [in, out]: the layer of a transposed weight is that of the weight itself. */
import { type AdaptedLinear, type MatrixDType, type MatrixShape, type Svd, svft, type Tensor, tensor } from 'sigmatune';
import t from 'tap';
import {
  dtypes,
  type FamilyCase,
  families,
  isHalf,
  type LayerShape,
  matrixDTypes,
  oneOfEach,
  tolerances,
} from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  bytes,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  item,
  real,
  rejectsSigma,
  snapshot,
  values,
} from '../support/helpers.js';
import { type Bench, bench, dense, disposeLayer, gradientsOf, perturb, termsOf } from '../support/layer.js';
import { transpose } from '../support/reference.js';

const shapes: LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 5 },
  { name: 'tall', out: 20, in: 12, tokens: 7 },
  { name: 'wide', out: 9, in: 14, tokens: 3 },
];

const turned = <D extends MatrixDType>(given: Tensor<D>): Tensor<D> => {
  const { rows, columns, data } = transpose(dense(given));
  return tensor<D, MatrixShape>(data, [rows, columns], { dtype: given.dtype });
};

/** The weight as it would be stored [in, out], with the same singular vectors. */
function storedOf(on: Bench<MatrixDType>): { weight: Tensor; factors: Svd } {
  const { u, s, vt } = on.factors;
  return {
    weight: turned(on.weight as Tensor<MatrixDType>),
    factors: { u: turned(vt), s: real(snapshot(s), [s.size], s.dtype), vt: turned(u) },
  };
}

/** Top-k with parity has no meaning for a rectangular weight in this layout. */
const skips = (family: FamilyCase, { out, in: inputs }: LayerShape) =>
  (family.square === true || /topk|top-k/.test(family.name)) && out !== inputs;

async function pairs(
  use: (plain: AdaptedLinear, stored: AdaptedLinear, on: Bench, label: string) => void | Promise<void>,
): Promise<void> {
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      using on = await bench(shape, dtype);
      const { weight, factors } = storedOf(on);
      for (const family of families.filter((each) => !skips(each, shape))) {
        for (const strategy of family.strategies) {
          const common = { strategy, bias: on.bias };
          const plain = await family.make(on.weight, { ...common, factors: on.factors });
          const stored = await family.make(weight, { ...common, factors, layout: 'in-out' });
          const label = `${family.name}, ${strategy}, ${shape.name}, ${dtype}`;
          await use(plain, stored, on, label);
          disposeLayer(plain);
          disposeLayer(stored);
        }
      }
      weight.dispose();
      disposeSvd(factors);
    }
  }
}

t.test('results, gradients and merged weights are those of the plain layer', async (t) => {
  await expectNoLeak(t, 'layouts', () =>
    pairs(async (plain, stored, on, label) => {
      const tolerance = tolerances[on.dtype];
      t.same(
        [stored.outFeatures, stored.inFeatures, stored.rank],
        [plain.outFeatures, plain.inFeatures, plain.rank],
        label,
      );
      t.same(stored.explain(9), plain.explain(9), `${label}: the same plan`);
      for (const layer of [plain, stored]) perturb(layer);
      const both = [plain, stored].map((layer) => {
        const pass = layer.forward(on.x);
        const dx = pass.backward(on.dy);
        const again = layer.forward(on.x);
        const { gradients } = again.pullBack(on.dy, { inputGrad: false });
        return {
          y: pass.y,
          dx,
          applied: layer.apply(on.x),
          merged: layer.mergedWeight(),
          others: [again.y, ...gradients.values()],
        };
      });
      const [one, two] = [item(both, 0), item(both, 1)];
      for (const name of ['y', 'dx', 'applied', 'merged'] as const) {
        t.same(two[name].shape, one[name].shape, `${label}: shape of ${name}`);
        assertClose(t, two[name], values(one[name]), tolerance, `${label}: ${name}`);
      }
      const wanted = gradientsOf(plain);
      const size = (i: number) => termsOf(plain, wanted, i);
      for (const [i, tensor] of two.others.entries()) {
        const scale = size(i - 1); // the first is y
        assertClose(t, tensor, values(item(one.others, i)), tolerance, `${label}: pullBack ${i}`, scale);
      }
      for (const [i, gradient] of gradientsOf(stored).entries()) {
        assertClose(t, gradient, item(wanted, i), tolerance, `${label}: ${stored.parameters[i]?.name}`, size(i));
      }
      t.same(stored.telemetry(), plain.telemetry(), `${label}: telemetry`);
      const spectra = [await plain.spectrum(), await stored.spectrum()] as const;
      assertClose(t, spectra[1], values(spectra[0]), tolerance, `${label}: spectrum`);
      const of = 'change';
      const changes = [await plain.spectrum({ of }), await stored.spectrum({ of })] as const;
      assertClose(t, changes[1], values(changes[0]), tolerance, `${label}: spectrum of the change`);
      for (const { y, dx, applied, merged, others } of both) disposeAll(y, dx, applied, merged, ...others);
      disposeAll(...spectra, ...changes);
    }),
  );
});

t.test("in 16 bits by way of W'", async (t) => {
  await expectNoLeak(t, '16 bits', async () => {
    for (const dtype of matrixDTypes.filter(isHalf)) {
      using on = await bench(item(shapes, 1), dtype);
      const { weight, factors } = storedOf(on);
      for (const family of families.filter((each) => !skips(each, on.shape) && each.strategies.includes('merged'))) {
        const common = { strategy: 'merged', bias: on.bias } as const;
        const plain = await family.make(on.weight, { ...common, factors: on.factors });
        const stored = await family.make(weight, { ...common, factors, layout: 'in-out' });
        const [one, two] = [plain, stored].map((layer) => {
          perturb(layer);
          const pass = layer.forward(on.x);
          return [pass.y, pass.backward(on.dy)];
        }) as [Tensor[], Tensor[]];
        for (const [i, what] of ['y', 'dx'].entries()) {
          const label = `${family.name}, ${dtype}: ${what}`;
          assertClose(t, item(two, i), values(item(one, i)), tolerances[dtype], label);
        }
        const wanted = gradientsOf(plain);
        for (const [i, gradient] of gradientsOf(stored).entries()) {
          const label = `${family.name}, ${dtype}: gradient ${i}`;
          assertClose(t, gradient, item(wanted, i), tolerances.float32, label, termsOf(plain, wanted, i));
        }
        disposeAll(...one, ...two);
        disposeLayer(plain);
        disposeLayer(stored);
      }
      weight.dispose();
      disposeSvd(factors);
    }
  });
});

t.test('switched off it is the weight as it was', async (t) => {
  await expectNoLeak(t, 'switched off', () =>
    pairs((plain, stored, on, label) => {
      for (const layer of [plain, stored]) {
        perturb(layer);
        layer.enabled = false;
      }
      const [one, two] = [plain.apply(on.x), stored.apply(on.x)];
      assertClose(t, two, values(one), tolerances[on.dtype], `${label}: y`);
      const merged = stored.mergedWeight();
      assertSameBits(t, merged, on.weight, `${label}: W0`);
      const passes = [plain, stored].map((layer) => {
        const pass = layer.forward(on.x);
        const dx = pass.backward(on.dy);
        pass.y.dispose();
        return dx;
      });
      assertClose(t, item(passes, 1), values(item(passes, 0)), tolerances[on.dtype], `${label}: dx`);
      disposeAll(one, two, merged, ...passes);
    }),
  );
});

t.test('after the weight is gone', async (t) => {
  await expectNoLeak(t, 'gone', async () => {
    using on = await bench(item(shapes, 1), 'float64');
    for (const family of oneOfEach) {
      const { weight, factors } = storedOf(on);
      const stored = await family.make(weight, { bias: on.bias, factors, layout: 'in-out' });
      weight.dispose();
      const plain = await family.make(on.weight, { bias: on.bias, factors: on.factors });
      for (const layer of [plain, stored]) perturb(layer);
      const merged = [plain.mergedWeight(), stored.mergedWeight()] as const;
      assertClose(t, merged[1], values(merged[0]), tolerances.float64, family.name);
      disposeAll(...merged);
      for (const layer of [plain, stored]) disposeLayer(layer);
      disposeSvd(factors);
    }
  });
});

t.test('without given factors, and without a copy of the weight', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'own factors', async () => {
    using on = await bench({ name: 'large', out: 60, in: 40, tokens: 4 }, 'float32');
    const { weight, factors } = storedOf(on);
    for (const family of oneOfEach) {
      const before = bytes();
      const stored = await family.make(weight, { layout: 'in-out' });
      const held = bytes() - before;
      const again = await family.make(on.weight, {});
      t.equal(bytes() - before - held, held, `${family.name}: as many bytes as the plain layer`);
      const [one, two] = [stored.apply(on.x), again.apply(on.x)];
      assertClose(t, one, values(two), tolerances.float32, `${family.name}: y at the start`);
      disposeAll(one, two);
      for (const layer of [stored, again]) disposeLayer(layer);
    }
    weight.dispose();
    disposeSvd(factors);
  });
});

t.test('random patterns and bases are those of the plain layer', async (t) => {
  await expectNoLeak(t, 'parity', async () => {
    using on = await bench(item(shapes, 0), 'float32');
    const { weight, factors } = storedOf(on);
    const topk = { pattern: 'topk', offDiagonals: 1, parity: 'svft-ref' } as const;
    const one = await svft(on.weight, { factors: on.factors, ...topk });
    const two = await svft(weight, { factors, layout: 'in-out', ...topk });
    for (const layer of [one, two]) perturb(layer);
    const merged = [one.mergedWeight(), two.mergedWeight()] as const;
    assertClose(t, merged[1], values(merged[0]), tolerances.float32, 'top-k of the reference code');
    disposeAll(one, two, ...merged, weight);
    disposeSvd(factors);
  });
});

t.test('bad input', async (t) => {
  await expectNoLeak(t, 'bad input', async () => {
    using on = await bench(item(shapes, 1), 'float32');
    const { weight, factors } = storedOf(on);
    await rejectsSigma(
      t,
      () => svft(weight, { layout: 'in_out' as never }),
      'INVALID_ARGUMENT',
      'a name',
      'options.layout',
    );
    await rejectsSigma(
      t,
      () => svft(weight, { layout: 'in-out', bias: on.x }),
      'SHAPE_MISMATCH',
      'bias',
      'options.bias',
      '[20]',
    );
    const wrong = { layout: 'in-out', factors: on.factors } as const;
    await rejectsSigma(t, () => svft(weight, wrong), 'SHAPE_MISMATCH', 'factors of the transpose', 'options.factors');
    const topk = { pattern: 'topk', parity: 'svft-ref', layout: 'in-out' } as const;
    await rejectsSigma(t, () => svft(weight, { ...topk, factors }), 'UNSUPPORTED', 'parity', 'options.layout');
    weight.dispose();
    disposeSvd(factors);
  });
});
