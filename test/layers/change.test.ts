/** What training has changed in a layer, by position and by rank, compared with a brute-force SVD of W' − W0. */
import {
  type AdaptedLinear,
  effectiveRank,
  numericalRank,
  SparsityPattern,
  type SpectrumOptions,
  siva,
  svd,
  svft,
  type Tensor,
  tidy,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { dtypes, families, layerShapes, oneOfEach } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  gaussian,
  item,
  put,
  real,
  rejectsSigma,
  seeded,
  snapshot,
  throwsSigma,
  write,
} from '../support/helpers.js';
import {
  atZero,
  bench,
  dense,
  disposeLayer,
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
const single = { name: 'one by one', out: 1, in: 1, tokens: 1 };

const ofChange = { of: 'change' } as const;

const slack = { float32: { atol: 3e-6, rtol: 0 }, float64: { atol: 1e-13, rtol: 0 } } as const;

t.test('the spectrum of ΔW', async (t) => {
  await expectNoLeak(t, 'spectra', async () => {
    for (const dtype of dtypes) {
      for (const shape of [square, tall, wide, single]) {
        using on = await bench(shape, dtype);
        for (const family of families) {
          for (const strategy of family.strategies) {
            const findings = new Findings();
            const layer = await makeLayer(family, on, strategy);
            if (family.startsAtBase) {
              const start = await layer.spectrum(ofChange);
              findings.same([...snapshot(start)], Array(Math.min(shape.out, shape.in)).fill(0), 'zeros at step 0');
              start.dispose();
            }
            perturb(layer);
            const found = await layer.spectrum(ofChange);
            const change = reference.subtract(mergedOf(layer), untrained(family, layer, on));
            findings.same([found.shape, found.dtype], [[Math.min(shape.out, shape.in)], dtype], 'shape and type');
            assertClose(findings, found, reference.singularValues(change), slack[dtype], 'the values, descending');
            const norm = layer.telemetry().change ?? Number.NaN;
            assertClose(findings, [Math.hypot(...snapshot(found))], [norm], slack[dtype], 'its norm is `change`');
            layer.enabled = false;
            const off = await layer.spectrum(ofChange);
            assertSameBits(findings, off, found, 'also if the layer is switched off');
            t.same(findings.failures, [], `${family.name}, ${shape.name}, ${strategy}, ${dtype}`);
            disposeAll(found, off);
            disposeLayer(layer);
          }
        }
      }
    }
  });
});

t.test('the spectrum of ΔW with directions that are not orthonormal', async (t) => {
  for (const residual of ['orthonormal', 'drop', 'keep'] as const) {
    const weight = gaussian(seeded(5), [10, 8], 'float64');
    const layer = await svft(weight, { rank: 3, residual, parity: 'svft-ref', init: 'kaiming', pattern: 'banded' });
    perturb(layer);
    const found = await layer.spectrum(ofChange);
    const change = reference.subtract(mergedOf(layer), atZero(layer));
    assertClose(t, found, reference.singularValues(change), slack.float64, residual);
    t.equal(layer.telemetry().change === undefined, residual === 'orthonormal', `${residual}: as change says`);
    disposeAll(found, weight);
    disposeLayer(layer);
  }
  // Factors with other vectors for σ = 0: their fill need not be orthogonal.
  const n = 6;
  const weight = real([...seeded(6).normals(2 * n), ...Array(n * (n - 2)).fill(0)], [n, n], 'float64');
  const { u, s, vt } = await svd(weight as Tensor<'float64'>);
  for (let i = 0; i < n; i++) put(u, i * n + n - 1, i === 2 ? 2 : 0);
  const layer = await svft(weight, { factors: { u, s, vt }, pattern: 'banded', residual: 'drop' });
  perturb(layer);
  const found = await layer.spectrum(ofChange);
  const change = reference.subtract(mergedOf(layer), atZero(layer));
  assertClose(t, found, reference.singularValues(change), slack.float64, 'a fill of the caller');
  t.equal(layer.telemetry().change, undefined, 'which is not orthonormal');
  disposeAll(found, weight, u, s, vt);
  disposeLayer(layer);
});

t.test('the rank of ΔW', async (t) => {
  using on = await bench(square, 'float64');
  const rankOf = async (layer: AdaptedLinear): Promise<number> => {
    const sigma = await layer.spectrum(ofChange);
    const rank = numericalRank(sigma);
    sigma.dispose();
    disposeLayer(layer);
    return rank;
  };
  const trained = async (made: Promise<AdaptedLinear>): Promise<AdaptedLinear> => {
    const layer = await made;
    perturb(layer);
    return layer;
  };
  const { weight, factors } = on;
  t.equal(await rankOf(await vectorFit(weight, { factors })), 0, 'nothing has happened');
  t.equal(await rankOf(await trained(siva(weight, { factors, count: 5 }))), 5, 'SiVA: k');
  t.equal(await rankOf(await trained(siva(weight, { factors, count: 4, basis: 'random' }))), 4, 'a random basis: k');
  t.equal(await rankOf(await trained(vectorFit(weight, { factors }))), 12, 'VectorFit: r');
  // SVFT's lemma: at most the number of entries. Here the entries share rows and columns.
  const pattern = SparsityPattern.fromCoordinates([0, 0, 1, 1, 7], [2, 3, 2, 3, 2], 12);
  t.equal(await rankOf(await trained(svft(weight, { factors, pattern }))), 2, 'SVFT: the rank of M');
});

t.test('the effective rank of a layer with a random basis', async (t) => {
  using on = await bench(tall, 'float64');
  const layer = await siva(on.weight, { factors: on.factors, count: 3, basis: 'random' });
  perturb(layer);
  const [all, change] = [await layer.spectrum(), await layer.spectrum(ofChange)];
  const wanted = reference.effectiveRank(reference.singularValues(mergedOf(layer)));
  assertClose(t, [effectiveRank(all)], [wanted], slack.float64, "of W'");
  const s = snapshot(parameter(layer, 's').value).map(Math.abs);
  assertClose(t, [effectiveRank(change)], [reference.effectiveRank(s)], slack.float64, 'of ΔW: that of s');
  disposeAll(all, change);
  disposeLayer(layer);
});

t.test('the diagonal of the core', async (t) => {
  await expectNoLeak(t, 'diagonals', async () => {
    for (const dtype of dtypes) {
      for (const shape of [square, tall, wide, single]) {
        using on = await bench(shape, dtype);
        const sigma = reference.singularValues(dense(on.weight));
        for (const family of families) {
          for (const strategy of family.strategies) {
            const findings = new Findings();
            const layer = await makeLayer(family, on, strategy);
            perturb(layer);
            const found = layer.coreDiagonal();
            const { before, after } = found;
            const known = /dropped|fill/.test(family.name) ? layer.coreDiagonal().before.length : sigma.length;
            const wanted = Float64Array.from({ length: known }, (_, i) =>
              /dropped|fill/.test(family.name) && i >= Math.max(1, Math.floor(sigma.length / 2)) ? 0 : at(sigma, i),
            );
            assertClose(findings, before, wanted, slack[dtype], 'before');
            if (/random basis/.test(family.name)) findings.equal(after, undefined, 'no directions of W0');
            else {
              // Of all directions that the layer knows, W' has this diagonal.
              const { u, vt } = /fill/.test(family.name) ? layer.factors : on.factors;
              const full = reference.matmul(
                reference.matmul(reference.transpose(dense(u)), mergedOf(layer)),
                reference.transpose(dense(vt)),
              );
              const entries = Float64Array.from({ length: known }, (_, i) => reference.entry(full, i, i));
              assertClose(findings, after ?? [], entries, slack[dtype], 'after');
            }
            if (layer.telemetry().exact && after?.length === sigma.length) {
              const sorted = after.map(Math.abs).sort().reverse();
              const spectrum = await layer.spectrum();
              assertClose(findings, spectrum, sorted, slack[dtype], 'sorted, it is the spectrum');
              spectrum.dispose();
            }
            before.fill(-1);
            after?.fill(-1);
            const again = layer.coreDiagonal();
            assertClose(findings, again.before, wanted, slack[dtype], 'new arrays each time');
            findings.same(structuredClone(again), again, 'plain data');
            findings.same(
              tidy(() => layer.coreDiagonal()),
              again,
              'in tidy',
            );
            t.same(findings.failures, [], `${family.name}, ${shape.name}, ${strategy}, ${dtype}`);
            disposeLayer(layer);
          }
        }
      }
    }
  });
});

t.test('the diagonal keeps positions and signs', async (t) => {
  using on = await bench(tall, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors });
  const trained = [1, -5, 0, 2, -3, 9];
  write(parameter(layer, 'sigma').value, trained);
  const { before, after } = layer.coreDiagonal();
  assertClose(t, before, snapshot(on.factors.s), { atol: 0, rtol: 0 }, 'before: the bits of σ');
  assertClose(t, after ?? [], trained, { atol: 1e-15, rtol: 1e-15 }, 'after: a small direction became the largest');
  disposeLayer(layer);
});

t.test('distances of the parameters', async (t) => {
  for (const dtype of dtypes) {
    using on = await bench(tall, dtype);
    for (const family of families) {
      const layer = await makeLayer(family, on, 'auto', { name: 'blocks.0' });
      if (family.startsAtBase) {
        const start = Object.values(layer.telemetry().distances);
        t.same(
          start,
          start.map(() => 0),
          `${family.name}: 0 at step 0`,
        );
      }
      perturb(layer);
      const starts: Record<string, Float64Array> = { sigma: snapshot(on.factors.s), bias: snapshot(on.bias) };
      const expected = layer.parameters
        .filter(({ name }) => name !== 'blocks.0.gate')
        .map(({ name, value }) => {
          const start = starts[name.slice('blocks.0.'.length)];
          const numbers = snapshot(value).map((each, i) => Math.abs(each - (start === undefined ? 0 : at(start, i))));
          return [name, numbers.reduce((sum, each) => sum + each, 0) / numbers.length] as const;
        });
      const { distances } = layer.telemetry();
      t.same(Object.keys(distances).sort(), expected.map(([name]) => name).sort(), `${family.name}: names`);
      const found = expected.map(([name]) => distances[name] ?? Number.NaN);
      const wanted = expected.map(([, distance]) => distance);
      assertClose(t, found, wanted, { atol: 1e-14, rtol: 1e-13 }, `${family.name}, ${dtype}`);
      disposeLayer(layer);
    }
  }
});

t.test('distances of a new bias, and of values that are not finite', async (t) => {
  using on = await bench(square, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors, createBias: true });
  fill(parameter(layer, 'bias').value, -2);
  t.equal(layer.telemetry().distances['bias'], 2, 'from zeros');
  put(parameter(layer, 'sigma').value, 3, Number.NaN);
  t.same(layer.telemetry().distances['sigma'], Number.NaN, 'NaN is told, not hidden');
  fill(parameter(layer, 'bias').value, 1e308);
  const found = layer.telemetry().distances['bias'] ?? 0;
  t.ok(Math.abs(found / 1e308 - 1) < 1e-14, 'the sum does not overflow');
  disposeLayer(layer);
});

t.test('a later write does not change the spectrum of ΔW in progress', async (t) => {
  await expectNoLeak(t, 'spectra', async () => {
    using on = await bench(square, 'float64');
    for (const family of families) {
      const layer = await makeLayer(family, on, 'auto');
      perturb(layer);
      const change = reference.subtract(mergedOf(layer), untrained(family, layer, on));
      const running = layer.spectrum(ofChange);
      for (const { value } of layer.parameters) fill(value, 7);
      disposeLayer(layer);
      const found = await running;
      assertClose(t, found, reference.singularValues(change), slack.float64, family.name);
      found.dispose();
    }
  });
});

t.test('refusals', async (t) => {
  using on = await bench(square, 'float32');
  for (const family of oneOfEach) {
    const layer = await makeLayer(family, on, 'auto');
    await expectNoLeak(t, family.name, async () => {
      for (const of of ['both', 'Change', 5, ['change']] as unknown[]) {
        const options = { of } as SpectrumOptions;
        await rejectsSigma(t, () => layer.spectrum(options), 'INVALID_ARGUMENT', `${of}`, 'options.of', "'change'");
      }
      const signal = AbortSignal.abort();
      await rejectsSigma(t, () => layer.spectrum({ of: 'change', signal }), 'ABORTED', family.name);
      const { value } = item(layer.parameters, 0);
      put(value, 0, Number.NaN);
      await rejectsSigma(t, () => layer.spectrum(ofChange), 'NON_FINITE', family.name, 'parameters', 'NaN');
    });
    layer.dispose();
    throwsSigma(t, () => layer.coreDiagonal(), 'DISPOSED', family.name);
    await rejectsSigma(t, () => layer.spectrum(ofChange), 'DISPOSED', family.name);
  }
});

t.test('numbers that are finite in float64 only', async (t) => {
  using on = await bench(square, 'float32');
  const layer = await svft(on.weight, { factors: on.factors, gate: false });
  const m = parameter(layer, 'm').value;
  fill(m, 3.4e38);
  const found = await layer.spectrum(ofChange);
  t.ok(
    snapshot(found).every((value) => value > 3.3e38 && value < 3.5e38),
    'the largest float32',
  );
  const scaled = await vectorFit(on.weight, { factors: on.factors });
  fill(parameter(scaled, 'sigma').value, -3.4e38);
  const change = await scaled.spectrum(ofChange);
  t.ok(snapshot(change).every(Number.isFinite), 'σ rounds away');
  disposeAll(found, change);
  disposeLayer(layer);
  disposeLayer(scaled);
  const twice = SparsityPattern.fromCoordinates([0, 0], [0, 0], 12);
  const doubled = await svft(on.weight, { factors: on.factors, gate: false, pattern: twice });
  fill(parameter(doubled, 'm').value, 3e38);
  for (const of of ['weight', 'change'] as const) {
    await rejectsSigma(t, () => doubled.spectrum({ of }), 'NON_FINITE', `${of}: a sum`, 'parameters', 'float32');
  }
  disposeLayer(doubled);
});
