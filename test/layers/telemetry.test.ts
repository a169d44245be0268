/** The telemetry of a layer, compared with a brute-force SVD of its merged weight. */
import { type AdaptedLinear, effectiveRankGradient, SparsityPattern, siva, svft, tidy, vectorFit } from 'sigmatune';
import t from 'tap';
import { dtypes, type FamilyCase, families, layerShapes, oneOfEach, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  type Check,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  gaussian,
  item,
  put,
  real,
  rejectsSigma,
  rewrite,
  seeded,
  snapshot,
  throwsSigma,
  withSpectrum,
} from '../support/helpers.js';
import {
  bench,
  dense,
  disposeLayer,
  gradientsOf,
  makeLayer,
  mergedOf,
  parameter,
  perturb,
  untrained,
} from '../support/layer.js';
import * as reference from '../support/reference.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);
const wide = item(layerShapes, 2);

/** Whether the core is diagonal, so that only σ changes. */
const diagonalCore = (family: FamilyCase): boolean =>
  !family.denseCore && (family.family !== 'svft' ? !/random/.test(family.name) : family.name === 'svft, diagonal');

const within = (t: Check, found: number | undefined, wanted: number, slack: number, label: string): void => {
  t.ok(Math.abs((found ?? Number.NaN) - wanted) <= slack * (1 + Math.abs(wanted)), `${label}: ${found} for ${wanted}`);
};

/** |u_iᵀ ΔW v_i| for the layer's own directions. */
function alongFactors(layer: AdaptedLinear, update: reference.Matrix): Float64Array {
  const [u, vt] = [dense(layer.factors.u), dense(layer.factors.vt)];
  const core = reference.matmul(reference.matmul(reference.transpose(u), update), reference.transpose(vt));
  return Float64Array.from({ length: core.rows }, (_, i) => Math.abs(reference.entry(core, i, i)));
}

t.test('against the merged weight', async (t) => {
  await expectNoLeak(t, 'telemetry', async () => {
    for (const dtype of dtypes) {
      const slack = dtype === 'float64' ? 1e-10 : 3e-5;
      for (const shape of [square, tall, wide]) {
        using on = await bench(shape, dtype);
        const sigma = reference.singularValues(dense(on.weight));
        for (const family of families) {
          for (const strategy of family.strategies) {
            const findings = new Findings();
            const layer = await makeLayer(family, on, strategy);
            perturb(layer);
            const merged = mergedOf(layer);
            const told = layer.telemetry();
            // Without its tail W' has only the `rank` largest σ; orthonormal directions add zeros.
            const truncatedRank = /dropped|fill/.test(family.name)
              ? Math.max(1, Math.floor(sigma.length / 2))
              : undefined;
            const before = sigma.subarray(0, truncatedRank ?? sigma.length);
            within(findings, told.effectiveRank.before, reference.effectiveRank(before), slack, 'before');
            const update = reference.norm(reference.subtract(merged, untrained(family, layer, on)));
            within(findings, told.change, update, slack, 'change');
            findings.equal(told.exact, diagonalCore(family), 'exact');
            if (/random basis/.test(family.name)) {
              findings.equal(told.effectiveRank.after, undefined, 'after is not known');
              findings.equal(told.drift, undefined, 'nor is drift');
            } else findings.ok(told.drift !== undefined, 'drift');
            const { after } = told.effectiveRank;
            // Off the diagonal it is defined for small changes only, and never exceeds the number of values.
            findings.ok(
              after === undefined || (after >= 1 - slack && after <= sigma.length + slack),
              `after: ${after}`,
            );
            if (diagonalCore(family)) {
              const exact = reference.effectiveRank(reference.singularValues(merged));
              within(findings, after, exact, slack, 'after');
            }
            if (told.drift) {
              // uᵢᵀ W' vᵢ for the layer's directions; untrained directions do not change.
              const moved = alongFactors(layer, reference.subtract(merged, untrained(family, layer, on)));
              within(findings, told.drift.max, Math.max(...moved), slack, 'the largest drift');
              const known = /orthonormal/.test(family.name) ? sigma.length : before.length;
              const mean = moved.reduce((sum, value) => sum + value, 0) / known;
              within(findings, told.drift.mean, mean, slack, 'the mean drift');
            }
            const gate = layer.parameters.find(({ name }) => name === 'gate');
            if (gate) within(findings, told.gate, reference.sigmoid(at(snapshot(gate.value), 0)), 1e-15, 'the gate');
            else findings.equal(told.gate, undefined, 'no gate');
            findings.same(told.frozen, [], 'no parameter is frozen');
            t.same(findings.failures, [], `${family.name}, ${shape.name}, ${strategy}, ${dtype}`);
            disposeLayer(layer);
          }
        }
      }
    }
  });
});

t.test('at step 0', async (t) => {
  for (const dtype of dtypes) {
    for (const shape of [square, tall]) {
      using on = await bench(shape, dtype);
      for (const family of families.filter(({ name, startsAtBase }) => startsAtBase || /truncated/.test(name))) {
        for (const strategy of family.strategies) {
          const layer = await makeLayer(family, on, strategy);
          const { effectiveRank: rank, drift, change } = layer.telemetry();
          const known = !/random basis/.test(family.name);
          const label = `${family.name}, ${shape.name}, ${strategy}, ${dtype}`;
          t.same([drift, change], [known ? { mean: 0, max: 0 } : undefined, 0], label);
          if (known) within(t, rank.after, rank.before, 1e-14, `${label}: nothing has happened`);
          disposeLayer(layer);
        }
      }
    }
  }
});

t.test('telemetry does not depend on the strategy', async (t) => {
  using on = await bench(tall, 'float64');
  for (const family of families) {
    const told = [];
    for (const strategy of family.strategies) {
      const layer = await makeLayer(family, on, strategy);
      perturb(layer);
      const { effectiveRank: rank, drift, change, gate, exact, frozen } = layer.telemetry();
      told.push({ numbers: [rank.before, rank.after, drift?.mean, drift?.max, change, gate], exact, frozen });
      disposeLayer(layer);
    }
    const first = item(told, 0);
    for (const other of told) {
      t.same([other.exact, other.frozen], [first.exact, first.frozen], family.name);
      const numbers = (list: readonly (number | undefined)[]) => list.map((value) => value ?? -1);
      assertClose(t, numbers(other.numbers), numbers(first.numbers), tolerances.float64, family.name);
    }
  }
});

t.test('a truncated layer with a diagonal core', async (t) => {
  using on = await bench(square, 'float64');
  const rank = 5;
  for (const residual of ['keep', 'drop', 'orthonormal'] as const) {
    const layer = await svft(on.weight, { factors: on.factors, rank, residual });
    const start = mergedOf(layer);
    perturb(layer);
    const merged = mergedOf(layer);
    const told = layer.telemetry();
    const all = reference.singularValues(dense(on.weight));
    const before = residual === 'keep' ? all : all.subarray(0, rank);
    within(t, told.effectiveRank.before, reference.effectiveRank(before), 1e-10, `${residual}: before`);
    const after = reference.singularValues(merged);
    within(t, told.effectiveRank.after, reference.effectiveRank(after), 1e-10, `${residual}: after`);
    within(t, told.change, reference.norm(reference.subtract(merged, start)), 1e-10, `${residual}: change`);
    t.equal(told.exact, true, `${residual}: exact`);
    disposeLayer(layer);
  }
});

t.test('off-diagonal entries count to second order', async (t) => {
  // The singular values differ by 1, so that the neglected terms are of higher order in M.
  const spectrum = [8, 7, 6, 5, 4, 3, 2, 1];
  const weight = real(withSpectrum(seeded(3), 11, 8, spectrum), [11, 8], 'float64');
  const sizes = [4e-2, 2e-2, 1e-2];
  for (const [label, pattern] of [
    ['banded', SparsityPattern.banded(8, 2)],
    ['one side', SparsityPattern.banded(8, { lower: 0, upper: 3 })],
    ['random', SparsityPattern.random(8, { entries: 30 }, { seed: 1, includeDiagonal: true })],
    ['duplicates', SparsityPattern.random(8, { entries: 40 }, { seed: 2, replacement: true, includeDiagonal: true })],
  ] as const) {
    const errors: number[] = [];
    for (const size of sizes) {
      const layer = await svft(weight, { pattern, init: { m: seeded(9).normals(pattern.entries, size), gate: 0.7 } });
      const { effectiveRank: rank, exact } = layer.telemetry();
      t.equal(exact, false, `${label}: says that it is not exact`);
      const after = reference.effectiveRank(reference.singularValues(mergedOf(layer)));
      errors.push(Math.abs((rank.after ?? Number.NaN) - after));
      disposeLayer(layer);
    }
    for (const [j, size] of sizes.slice(1).entries()) {
      const ratio = at(errors, j) / at(errors, j + 1);
      t.ok(ratio > 6, `${label}, ${size}: half of M leaves about an eighth: ${ratio}`);
    }
  }
  weight.dispose();
});

t.test('gate and frozen parameters', async (t) => {
  using on = await bench(square, 'float64');
  const layer = await svft(on.weight, { factors: on.factors, name: 'blocks.0.q' });
  t.equal(layer.telemetry().gate, 0.5, 'γ = 0');
  for (const gamma of [-2.5, 1, 40, 800, -800]) {
    put(parameter(layer, 'gate').value, 0, gamma);
    within(t, layer.telemetry().gate, reference.sigmoid(gamma), 1e-15, `γ = ${gamma}`);
  }
  parameter(layer, 'm').trainable = false;
  t.same(layer.telemetry().frozen, ['blocks.0.q.m']);
  parameter(layer, 'gate').trainable = false;
  t.same(layer.telemetry().frozen, ['blocks.0.q.m', 'blocks.0.q.gate']);
  parameter(layer, 'm').trainable = true;
  t.same(layer.telemetry().frozen, ['blocks.0.q.gate']);
  disposeLayer(layer);
  const plain = await svft(on.weight, { factors: on.factors, gate: false });
  t.equal(plain.telemetry().gate, undefined, 'no gate');
  disposeLayer(plain);
  const fit = await vectorFit(on.weight, { factors: on.factors, bias: on.bias });
  parameter(fit, 'bias').trainable = false;
  t.same(fit.telemetry().frozen, ['bias'], 'a bias too');
  const { change, drift } = fit.telemetry();
  fill(parameter(fit, 'bias').value, 99);
  t.same([fit.telemetry().change, fit.telemetry().drift], [change, drift], 'the bias is no part of the weight');
  disposeLayer(fit);
});

t.test('σ below zero', async (t) => {
  using on = await bench(square, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors });
  const sigma = parameter(layer, 'sigma').value;
  const before = snapshot(sigma);
  rewrite(sigma, (value) => -value);
  const { effectiveRank: rank, drift, change } = layer.telemetry();
  within(t, rank.after, rank.before, 1e-12, 'magnitudes count');
  within(t, drift?.max, 2 * at(before, 0), 1e-12, 'through zero and out on the other side');
  within(t, change, 2 * reference.norm(dense(on.weight)), 1e-12, '‖−W0 − W0‖');
  disposeLayer(layer);
});

t.test('reading changes nothing', async (t) => {
  await expectNoLeak(t, 'reading', async () => {
    using on = await bench(tall, 'float32');
    for (const family of families) {
      for (const strategy of family.strategies) {
        const findings = new Findings();
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        const before = layer.apply(on.x);
        const pass = layer.forward(on.x);
        const dx = pass.backward(on.dy);
        const [values, gradients] = [layer.parameters.map(({ value }) => snapshot(value)), gradientsOf(layer)];
        const told = layer.telemetry();
        await expectNoLeak(findings, 'telemetry', () => {
          findings.same(layer.telemetry(), told, 'twice the same');
          findings.same(
            tidy(() => layer.telemetry()),
            told,
            'in tidy',
          );
        });
        findings.same(structuredClone(told), told, 'plain data');
        for (const [i, { value }] of layer.parameters.entries())
          assertSameBits(findings, value, values[i] ?? [], 'the parameters');
        for (const [i, sum] of gradientsOf(layer).entries())
          assertSameBits(findings, sum, gradients[i] ?? [], 'the gradients');
        const y = layer.apply(on.x);
        assertSameBits(findings, y, before, 'y');
        const copy = structuredClone(told);
        for (const { value } of layer.parameters) fill(value, 0.25);
        findings.same(told, copy, 'what was told stays');
        t.same(findings.failures, [], `${family.name}, ${strategy}`);
        disposeAll(before, pass.y, pass, dx, y);
        disposeLayer(layer);
      }
    }
  });
});

t.test('a disposed layer', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    layer.dispose();
    throwsSigma(t, () => layer.telemetry(), 'DISPOSED', `${family.name}: telemetry`);
    await rejectsSigma(t, () => layer.spectrum(), 'DISPOSED', `${family.name}: spectrum`);
  }
});

t.test('non-finite values', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    put(item(layer.parameters, 0).value, 0, Number.NaN);
    const { effectiveRank: rank, change, drift } = layer.telemetry();
    const told = [change, ...(drift ? [drift.mean, drift.max, rank.after] : [])];
    t.same(
      told,
      told.map(() => Number.NaN),
      `${family.name}: are told, not hidden`,
    );
    disposeLayer(layer);
  }
});

t.test('telemetry near overflow and underflow', async (t) => {
  const told = async (scale: number) => {
    const weight = real(
      snapshot(gaussian(seeded(8), [9, 7], 'float64')).map((value) => scale * value),
      [9, 7],
      'float64',
    );
    const pattern = SparsityPattern.banded(7, 1);
    const layer = await svft(weight, { pattern, init: { m: seeded(9).normals(pattern.entries, scale / 10) } });
    const { effectiveRank: rank, change, drift } = layer.telemetry();
    weight.dispose();
    disposeLayer(layer);
    return [rank.before, rank.after ?? Number.NaN, (change ?? Number.NaN) / scale, (drift?.max ?? Number.NaN) / scale];
  };
  const usual = await told(1);
  for (const scale of [1e160, 1e-100, 1e-200])
    assertClose(t, await told(scale), usual, { atol: 1e-10, rtol: 0 }, `${scale}: as at 1`);
});

t.test('non-finite values off the diagonal', async (t) => {
  using on = await bench(square, 'float64');
  const layer = await svft(on.weight, { factors: on.factors, pattern: 'banded', offDiagonals: 1 });
  put(parameter(layer, 'm').value, 0, Number.NaN);
  await rejectsSigma(t, () => layer.spectrum(), 'NON_FINITE', 'NaN in M');
  disposeLayer(layer);
});

t.test('non-finite values on the diagonal', async (t) => {
  using on = await bench(square, 'float64');
  for (const family of oneOfEach.filter(diagonalCore)) {
    const layer = await makeLayer(family, on, 'auto');
    put(item(layer.parameters, 0).value, 0, Number.NaN);
    await rejectsSigma(t, () => layer.spectrum(), 'NON_FINITE', family.name);
    disposeLayer(layer);
  }
});

t.test('directions that are not orthonormal', async (t) => {
  // The fill of parity is not orthonormal, and the fill of supplied factors need not be.
  const weight = gaussian(seeded(5), [10, 8], 'float64');
  const layer = await svft(weight, { rank: 3, residual: 'orthonormal', parity: 'svft-ref', init: 'zeros' });
  const start = mergedOf(layer);
  fill(parameter(layer, 'm').value, 1);
  const merged = mergedOf(layer);
  const sigma = reference.singularValues(merged);
  const found = await layer.spectrum();
  assertClose(t, found, sigma, { atol: 1e-13, rtol: 0 }, 'the spectrum');
  const told = layer.telemetry();
  const update = reference.norm(reference.subtract(merged, start));
  t.ok(Math.abs((told.change ?? update) - update) < 1e-10, `change: ${told.change} for ${update}`);
  const after = reference.effectiveRank(sigma);
  const near = Math.abs((told.effectiveRank.after ?? 0) - after) < 1e-10;
  t.ok(near || !told.exact, `after: ${told.effectiveRank.after} for ${after}, and said to be exact`);
  found.dispose();
  weight.dispose();
  disposeLayer(layer);
});

t.test('training towards a higher effective rank', async (t) => {
  // The gradient's purpose: added to the gradient of σ it raises erank(W').
  using on = await bench(tall, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors });
  const sigma = parameter(layer, 'sigma').value;
  const ranks = [layer.telemetry().effectiveRank.before];
  for (let step = 0; step < 20; step++) {
    const gradient = effectiveRankGradient(sigma);
    rewrite(sigma, (before, i) => before + 0.02 * at(gradient, i));
    ranks.push(layer.telemetry().effectiveRank.after ?? Number.NaN);
  }
  t.ok(
    ranks.every((rank, i) => i === 0 || rank > at(ranks, i - 1)),
    `it rises: ${ranks.at(0)} to ${ranks.at(-1)}`,
  );
  disposeLayer(layer);
});

t.test('siva with an energy: telemetry at step 0', async (t) => {
  using on = await bench(square, 'float64');
  for (const strategy of ['auto', 'factored', 'merged', 'lowrank'] as const) {
    const layer = await siva(on.weight, { factors: on.factors, count: 6, init: { energy: 0.09 }, strategy });
    within(t, layer.telemetry().change, 0.3, 1e-12, `${strategy}: ‖ΔW‖ = √energy`);
    disposeLayer(layer);
  }
});

t.test('after is undefined if the pair approximation fails', async (t) => {
  // Directions of σ = 0 that M couples do not act as independent pairs.
  const spectrum = Array.from({ length: 24 }, (_, i) => (i < 4 ? 1 : 0));
  const weight = real(withSpectrum(seeded(5), 24, 24, spectrum), [24, 24], 'float64');
  const layer = await svft(weight, { pattern: 'random', offDiagonals: 6, seed: 1 });
  fill(parameter(layer, 'm').value, 0.2);
  t.equal(layer.telemetry().effectiveRank.after, undefined, 'a weight of low rank, a large M');
  fill(parameter(layer, 'm').value, 0);
  const { before, after } = layer.telemetry().effectiveRank;
  t.equal(after, before, 'nothing has happened: to the bit');
  weight.dispose();
  disposeLayer(layer);
});
