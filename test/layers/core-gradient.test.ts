import { type AdaptedLinear, coreGradient, decompose, SparsityPattern, svft, type Tensor, tensor } from 'sigmatune';
import t from 'tap';
import { dtypes, families, tolerances } from '../support/cases.js';
import {
  assertClose,
  at,
  disposeAll,
  expectNoLeak,
  gaussian,
  item,
  seeded,
  snapshot,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { bench, makeLayer, parameter, perturb } from '../support/layer.js';
import { type Matrix, matmul, matrix, transpose } from '../support/reference.js';

const shapes = [
  { name: 'square', out: 12, in: 12, tokens: 7 },
  { name: 'tall', out: 20, in: 6, tokens: 5 },
  { name: 'wide', out: 5, in: 19, tokens: 8 },
  { name: 'one by one', out: 1, in: 1, tokens: 3 },
  { name: 'many tokens', out: 19, in: 31, tokens: 1037 },
];

const matrixOf = (tensor: Tensor): Matrix => matrix(at(tensor.shape, 0), at(tensor.shape, 1), values(tensor));

/** (dY Uo)ᵀ (X Vi), with the vectors of the outputs' and of the inputs' side. */
function expected(layer: AdaptedLinear, x: Matrix, dy: Matrix, swapped = false): Matrix {
  const [u, vt] = [matrixOf(layer.factors.u), matrixOf(layer.factors.vt)];
  const [outputs, inputs] = swapped ? [transpose(vt), u] : [u, transpose(vt)];
  return matmul(transpose(matmul(dy, outputs)), matmul(x, inputs));
}

t.test('the gradient of every entry of the core', async (t) => {
  for (const dtype of dtypes) {
    for (const shape of shapes) {
      using on = await bench(shape, dtype);
      for (const family of families) {
        if (family.square && shape.out !== shape.in) continue;
        using layer = await makeLayer(family, on, 'auto');
        perturb(layer);
        const label = `${family.name}, ${shape.name}, ${dtype}`;
        const wanted = expected(layer, matrixOf(on.x), matrixOf(on.dy));
        const found = coreGradient(layer, on.x, on.dy);
        t.same(found.shape, [layer.rank, layer.rank], `${label}: shape`);
        assertClose(t, found, wanted.data, tolerances[dtype], label);
        const again = coreGradient(layer, on.x, on.dy, { into: found });
        t.equal(again, found, `${label}: the given tensor is returned`);
        assertClose(
          t,
          found,
          wanted.data.map((value) => 2 * value),
          tolerances[dtype],
          `${label}: adds`,
        );
        t.ok(
          layer.parameters.every(({ grad }) => grad === null),
          `${label}: no gradient of the layer changes`,
        );
        disposeAll(found);
      }
    }
  }
});

t.test('a weight that is stored [in, out]', async (t) => {
  for (const [out, inFeatures] of [
    [9, 5],
    [5, 9],
    [6, 6],
  ] as const) {
    const random = seeded(out);
    const weight = gaussian(random, [inFeatures, out], 'float64');
    const [x, dy] = [gaussian(random, [4, inFeatures], 'float64'), gaussian(random, [4, out], 'float64')];
    const layer = await svft(weight, { layout: 'in-out', gate: false });
    const found = coreGradient(layer, x, dy);
    assertClose(
      t,
      found,
      expected(layer, matrixOf(x), matrixOf(dy), true).data,
      tolerances.float64,
      `${out} × ${inFeatures}`,
    );
    // The gradient of plain M is the diagonal.
    disposeAll(layer.forward(x).backward(dy));
    const m = snapshot(parameter(layer, 'm').grad as Tensor);
    const diagonal = m.map((_, i) => at(values(found), i * (m.length + 1)));
    assertClose(t, diagonal, m, tolerances.float64, 'the diagonal is the gradient of a plain M');
    disposeAll(weight, x, dy, layer, found);
  }
});

t.test('inputs of any rank', async (t) => {
  using on = await bench(item(shapes, 1), 'float64');
  using layer = await svft(on.weight, { factors: on.factors });
  const [x, dy] = [
    tensor(values(on.x), [1, 5, 6], { dtype: 'float64' }),
    tensor(values(on.dy), [1, 5, 20], { dtype: 'float64' }),
  ];
  const [flat, deep] = [coreGradient(layer, on.x, on.dy), coreGradient(layer, x, dy)];
  t.same(values(deep), values(flat));
  disposeAll(x, dy, flat, deep);
});

t.test('a step along the chosen entries reduces the loss most', async (t) => {
  const random = seeded(4);
  const weight = gaussian(random, [16, 10], 'float64');
  const [x, dy] = [gaussian(random, [32, 10], 'float64'), gaussian(random, [32, 16], 'float64')];
  const factors = await decompose(weight);
  const gain = async (pattern: SparsityPattern) => {
    using layer = await svft(weight, { factors, pattern, gate: false });
    disposeAll(layer.forward(x).backward(dy));
    return snapshot(parameter(layer, 'm').grad as Tensor).reduce((sum, value) => sum + value * value, 0);
  };
  const probe = await svft(weight, { factors });
  const scores = coreGradient(probe, x, dy);
  const chosen = await gain(SparsityPattern.fromGradient(scores, { entries: 20 }));
  for (let seed = 0; seed < 10; seed++) {
    t.ok(chosen > (await gain(SparsityPattern.random(10, { entries: 20 }, { seed }))), `random pattern ${seed}`);
  }
  disposeAll(weight, x, dy, factors, probe, scores);
});

t.test('bad input', async (t) => {
  using on = await bench(item(shapes, 1), 'float32');
  using layer = await svft(on.weight, { factors: on.factors });
  const scores = coreGradient(layer, on.x, on.dy);
  const narrow = gaussian(seeded(1), [5, 5], 'float32');
  const double = gaussian(seeded(1), [6, 6], 'float64');
  throwsSigma(t, () => coreGradient({} as AdaptedLinear, on.x, on.dy), 'INVALID_ARGUMENT', 'no layer', 'layer');
  throwsSigma(t, () => coreGradient(layer, narrow, on.dy), 'SHAPE_MISMATCH', 'x', 'x', '6');
  throwsSigma(t, () => coreGradient(layer, on.x, on.x), 'SHAPE_MISMATCH', 'dy', 'dy', '20');
  throwsSigma(t, () => coreGradient(layer, on.x, on.dy, { into: narrow }), 'SHAPE_MISMATCH', 'into', 'options.into');
  throwsSigma(t, () => coreGradient(layer, on.x, on.dy, { into: double }), 'DTYPE_MISMATCH', 'into', 'options.into');
  const before = snapshot(layer.factors.vt);
  throwsSigma(
    t,
    () => coreGradient(layer, on.x, on.dy, { into: layer.factors.vt }),
    'INVALID_ARGUMENT',
    'the factors',
    'overlap',
  );
  t.same(snapshot(layer.factors.vt), before, 'nothing was written');
  await expectNoLeak(t, 'a failed call', () => {
    throwsSigma(t, () => coreGradient(layer, on.x, on.x), 'SHAPE_MISMATCH', 'dy again');
  });
  const gone = await svft(on.weight, { factors: on.factors });
  gone.dispose();
  throwsSigma(t, () => coreGradient(gone, on.x, on.dy), 'DISPOSED', 'a disposed layer', 'layer');
  disposeAll(scores, narrow, double);
});
