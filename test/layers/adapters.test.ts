/** The contract of every family, with every strategy, over the case table. */
import t from 'tap';
import {
  type AdapterCase,
  adapterCases,
  families,
  layerShapes,
  matrixDTypes,
  oneOfEach,
  tolerances,
  vectorsOf,
} from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  item,
  snapshot,
} from '../support/helpers.js';
import { bench, dense, disposeLayer, expectedGradient, makeLayer, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

/** Cases of the same shape and type share data and factors. */
const groups = new Map<string, AdapterCase[]>();
for (const entry of adapterCases) {
  const key = `${entry.shape.name}, ${entry.dtype}`;
  groups.set(key, [...(groups.get(key) ?? []), entry]);
}

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);

for (const [name, group] of groups) {
  t.test(`forward and backward, ${name}`, async (t) => {
    await expectNoLeak(t, name, async () => {
      const { shape, dtype } = item(group, 0);
      using on = await bench(shape, dtype);
      const given = [on.weight, on.bias, on.x, on.dy, on.factors.u, on.factors.s, on.factors.vt];
      const before = given.map(snapshot);
      const [x, dy] = [dense(on.x), dense(on.dy)];
      for (const { family, strategy, tolerance, ...accuracy } of group) {
        const findings = new Findings();
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const operator = family.operator(layer, dense(on.weight), snapshot(on.bias));
        const expected = reference.forward(operator, x);
        const gradients = reference.backward(operator, x, dy);

        const y = layer.apply(on.x);
        findings.same([y.shape, y.dtype], [[shape.tokens, shape.out], dtype], `shape and type of y`);
        assertClose(findings, y, expected.data, tolerance, `apply`);
        const pass = layer.forward(on.x);
        assertClose(findings, pass.y, expected.data, tolerance, `forward`);
        const dx = pass.backward(on.dy);
        findings.same([dx.shape, dx.dtype], [[shape.tokens, shape.in], dtype], `shape and type of dx`);
        assertClose(findings, dx, gradients.dx.data, tolerance, `dx`);
        for (const entry of layer.parameters) {
          const { name, value, grad } = entry;
          findings.same(
            [grad?.shape, grad?.dtype],
            [value.shape, vectorsOf(dtype)],
            `the gradient of ${name} is like it`,
          );
          const wanted = expectedGradient(entry, gradients);
          const size = name === 'gate' ? gradients.gateSize : 0;
          assertClose(findings, grad ?? [], wanted, accuracy.gradients, `the gradient of ${name}`, size);
        }

        const weight = layer.mergedWeight();
        const bias = layer.mergedBias();
        findings.same(
          [weight.shape, weight.dtype],
          [[shape.out, shape.in], dtype],
          `shape and type of the merged weight`,
        );
        assertClose(findings, weight, reference.mergedWeight(operator).data, tolerance, `the merged weight`);
        assertClose(findings, bias ?? [], operator.bias ?? [], { atol: 0, rtol: 0 }, `the merged bias`);
        const merged = reference.linear(x, dense(weight), bias && snapshot(bias));
        assertClose(findings, y, merged.data, tolerance, `x · W'ᵀ + b' is apply(x)`);
        t.same(findings.failures, [], `${family.name}, ${strategy}`);
        disposeAll(y, pass.y, dx, pass, weight, bias);
        disposeLayer(layer);
      }
      given.forEach((tensor, i) => {
        assertSameBits(t, tensor, before[i] ?? [], 'what was given is never written');
      });
    });
  });
}

for (const dtype of matrixDTypes) {
  t.test(`step 0 is the base layer, ${dtype}`, async (t) => {
    for (const shape of [square, tall]) {
      using on = await bench(shape, dtype);
      const expected = reference.linear(dense(on.x), dense(on.weight), snapshot(on.bias));
      for (const family of families.filter(({ startsAtBase }) => startsAtBase)) {
        for (const strategy of family.strategies) {
          const layer = await makeLayer(family, on, strategy);
          const y = layer.apply(on.x);
          assertClose(t, y, expected.data, tolerances[dtype], `${family.name}, ${strategy}`);
          const merged = layer.mergedWeight();
          assertClose(t, merged, on.weight, tolerances[dtype], `${family.name}, ${strategy}: merged`);
          disposeAll(y, merged);
          disposeLayer(layer);
        }
      }
    }
  });
}

t.test('a merged weight keeps the bits of the base if nothing was trained', async (t) => {
  // W0 + U (C − diag σ) Vᵀ, not U C Vᵀ.
  for (const dtype of matrixDTypes) {
    using on = await bench(square, dtype);
    for (const family of oneOfEach) {
      for (const strategy of family.strategies) {
        const label = `${family.name}, ${dtype}, ${strategy}`;
        const layer = await makeLayer(family, on, strategy);
        const merged = layer.mergedWeight();
        assertSameBits(t, merged, on.weight, label);
        fill(merged, 7);
        const again = layer.mergedWeight();
        assertSameBits(t, again, on.weight, `${label}: each merged weight is a new tensor`);
        disposeAll(merged, again);
        disposeLayer(layer);
      }
    }
  }
});
