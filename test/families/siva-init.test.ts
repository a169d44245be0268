/** SiVA's `init: { energy }`: Theorem 1's perturbation, the steepest ascent of the spectrum's entropy. */
import { type SivaOptions, siva, svd, type Tensor } from 'sigmatune';
import t from 'tap';
import { dtypes, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  orthonormal,
  real,
  rejectsSigma,
  seeded,
  snapshot,
  withSpectrum,
} from '../support/helpers.js';
import { dense, diagonalWeight, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';

const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;
const entropy = (s: ArrayLike<number>): number => Math.log(reference.effectiveRank(s));
const energyOf = (s: ArrayLike<number>): number => Array.from(s).reduce((sum, value) => sum + value * value, 0);

/** A layer's initial s. */
async function startOf(weight: Tensor, options: SivaOptions): Promise<Float64Array> {
  const layer = await siva(weight, options);
  const s = snapshot(parameter(layer, 's').value);
  disposeLayer(layer);
  return s;
}

/** s as a change of all singular values. */
function moved(spectrum: ArrayLike<number>, s: ArrayLike<number>, first: number): Float64Array {
  return Float64Array.from(spectrum, (sigma, i) => sigma + (s[i - first] ?? 0));
}

const spectra: readonly (readonly number[])[] = [
  [8, 7, 6, 5, 4, 3, 2, 1],
  [100, 10, 3, 1, 0.5, 0.2],
  [5, 5, 5, 1, 1, 1],
  [2, 1],
  [9, 0.01, 0.01],
];

t.test('the perturbation has the requested energy and the steepest direction', async (t) => {
  for (const spectrum of spectra) {
    const { weight, factors } = diagonalWeight(spectrum);
    // dH/dσᵢ by finite differences, independent of the closed form.
    const slopes = spectrum.map((sigma, i) => {
      const step = 1e-5 * sigma;
      const by = (change: number): number => entropy(spectrum.map((other, j) => (j === i ? other + change : other)));
      return (by(step) - by(-step)) / (2 * step);
    });
    for (const select of ['lowest', 'top'] as const) {
      for (let count = 1; count <= spectrum.length; count++) {
        for (const energy of [1e-10, 0.25, 40]) {
          const label = `[${spectrum}], ${count} ${select}, energy ${energy}`;
          const s = await startOf(weight, { factors, count, select, init: { energy } });
          const first = select === 'top' ? 0 : spectrum.length - count;
          const wanted = slopes.slice(first, first + count);
          const length = Math.hypot(...wanted);
          assertClose(t, [energyOf(s)], [energy], { atol: 0, rtol: 1e-12 }, `${label}: Σ s²`);
          assertClose(
            t,
            s,
            wanted.map((slope) => (Math.sqrt(energy) * slope) / length),
            { atol: 1e-7, rtol: 1e-7 },
            `${label}: along the gradient`,
          );
        }
      }
    }
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('the perturbation equals the closed form', async (t) => {
  for (const spectrum of spectra) {
    const { weight, factors } = diagonalWeight(spectrum);
    const sum = spectrum.reduce((total, sigma) => total + sigma, 0);
    const h = entropy(spectrum);
    const c = spectrum.map((sigma) => -(Math.log(sigma / sum) + h) / sum);
    const scale = Math.sqrt(2) / Math.hypot(...c);
    const s = await startOf(weight, { factors, count: spectrum.length, init: { energy: 2 } });
    assertClose(
      t,
      s,
      c.map((value) => scale * value),
      { atol: 1e-12, rtol: 1e-12 },
      `[${spectrum}]`,
    );
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('no other change of that size raises the entropy more', async (t) => {
  const random = seeded(11);
  const energy = 1e-10;
  for (const spectrum of spectra) {
    const { weight, factors } = diagonalWeight(spectrum);
    for (const select of ['lowest', 'top'] as const) {
      for (const count of [1, Math.ceil(spectrum.length / 2), spectrum.length]) {
        const label = `[${spectrum}], ${count} ${select}`;
        const first = select === 'top' ? 0 : spectrum.length - count;
        const s = await startOf(weight, { factors, count, select, init: { energy } });
        const gain = entropy(moved(spectrum, s, first)) - entropy(spectrum);
        t.ok(gain > 0, `${label}: rises by ${gain}`);
        let best = -Infinity;
        for (let trial = 0; trial < 400; trial++) {
          const other = random.normals(count);
          // Half of the trials are close to the answer, where a better one would most likely be.
          if (trial % 2) for (let i = 0; i < count; i++) other[i] = at(s, i) * 1e5 + 0.1 * at(other, i);
          const length = Math.sqrt(energyOf(other));
          const scaled = other.map((value) => (Math.sqrt(energy) * value) / length);
          best = Math.max(best, entropy(moved(spectrum, scaled, first)) - entropy(spectrum));
        }
        // Terms of second order, and the rounding of H.
        t.ok(best <= gain * (1 + 1e-2) + 1e-14, `${label}: the best of 400 others gains ${best} for ${gain}`);
      }
    }
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('init with a weight that siva decomposes itself', async (t) => {
  for (const dtype of dtypes) {
    for (const [rows, columns] of [
      [9, 6],
      [6, 9],
      [7, 7],
    ] as const) {
      const n = Math.min(rows, columns);
      const spectrum = Array.from({ length: n }, (_, i) => 3 * 0.6 ** i);
      const weight = real(withSpectrum(seeded(n), rows, columns, spectrum), [rows, columns], dtype);
      const { weight: exact, factors } = diagonalWeight(spectrum);
      for (const options of [{ count: 3 }, { perc: 0.8 }, { count: n, select: 'top' }] as const) {
        const label = `${rows} × ${columns}, ${JSON.stringify(options)}, ${dtype}`;
        const energy = 1e-4;
        const layer = await siva(weight, { ...options, init: { energy } });
        const s = snapshot(parameter(layer, 's').value);
        const wanted = await startOf(exact, { ...options, factors, init: { energy } });
        const close = dtype === 'float64' ? 1e-11 : 1e-5;
        assertClose(t, s, wanted, { atol: close, rtol: 0 }, `${label}: by the spectrum alone`);
        const before = reference.effectiveRank(reference.singularValues(dense(weight)));
        const merged = layer.mergedWeight();
        const after = reference.effectiveRank(reference.singularValues(dense(merged)));
        t.ok(after > before, `${label}: the effective rank rises from ${before} to ${after}`);
        const update = reference.norm(reference.subtract(dense(merged), dense(weight)));
        t.ok(Math.abs(update - 0.01) < (dtype === 'float64' ? 1e-12 : 1e-6), `${label}: ‖ΔW‖ = √energy: ${update}`);
        merged.dispose();
        disposeLayer(layer);
      }
      disposeAll(weight, exact);
      disposeSvd(factors);
    }
  }
});

t.test('every strategy has the same start', async (t) => {
  for (const dtype of dtypes) {
    const weight = gaussian(seeded(2), [10, 8], dtype);
    const factors = await svd(weight);
    const x = gaussian(seeded(3), [4, 8], dtype);
    for (const count of [2, 6, 8]) {
      const first = await siva(weight, { factors, count, init: { energy: 0.5 } });
      const s = snapshot(parameter(first, 's').value);
      const y = first.apply(x);
      t.ok(Math.abs(energyOf(s) - 0.5) < 1e-6, `${dtype}, ${count}: Σ s² = 0.5`);
      for (const strategy of strategies) {
        const layer = await siva(weight, { factors, count, strategy, init: { energy: 0.5 } });
        assertSameBits(t, parameter(layer, 's').value, s, `${dtype}, ${count}, ${strategy}: s`);
        const found = layer.apply(x);
        assertClose(t, found, y, tolerances[dtype], `${dtype}, ${count}, ${strategy}: y`);
        found.dispose();
        disposeLayer(layer);
      }
      y.dispose();
      disposeLayer(first);
    }
    disposeAll(weight, x);
    disposeSvd(factors);
  }
});

t.test('zeros are the default', async (t) => {
  const weight = gaussian(seeded(4), [6, 5], 'float64');
  for (const options of [{}, { init: 'zeros' }, { init: 'zeros', basis: 'random' }, { basis: 'random' }] as const) {
    const s = await startOf(weight, { count: 4, ...options });
    t.same([...s], [0, 0, 0, 0], JSON.stringify(options));
  }
  weight.dispose();
});

t.test('spectra with zeros', async (t) => {
  for (const [spectrum, count] of [
    [[3, 2, 0, 0], 4],
    [[3, 2, 0, 0], 2],
    [[1, 0, 0], 2],
    [[4, 1e-300, 0], 3],
  ] as const) {
    const { weight, factors } = diagonalWeight(spectrum);
    const label = `[${spectrum}], ${count} lowest`;
    const s = await startOf(weight, { factors, count, init: { energy: 0.01 } });
    t.ok(s.every(Number.isFinite), `${label}: finite: ${s}`);
    assertClose(t, [energyOf(s)], [0.01], { atol: 0, rtol: 1e-12 }, `${label}: Σ s²`);
    const first = spectrum.length - count;
    t.ok(
      reference.effectiveRank(moved(spectrum, s, first)) > reference.effectiveRank(spectrum),
      `${label}: the effective rank rises`,
    );
    const zeros = Array.from(s).filter((_, i) => at(spectrum, first + i) < 1e-200);
    t.ok(
      zeros.every((value) => value > 0 && Math.abs(value - at(zeros, 0)) < 1e-12),
      `${label}: zeros rise alike: ${zeros}`,
    );
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('a weight of zeros', async (t) => {
  for (const dtype of dtypes) {
    const weight = real(new Float64Array(20), [5, 4], dtype);
    for (const options of [{ count: 4 }, { count: 3, select: 'top' }, { count: 1 }] as const) {
      const s = await startOf(weight, { ...options, init: { energy: 0.36 } });
      const even = new Float64Array(options.count).fill(Math.sqrt(0.36 / options.count));
      assertClose(t, s, even, { atol: 0, rtol: 1e-7 }, `${dtype}, ${JSON.stringify(options)}: all alike`);
    }
    weight.dispose();
  }
});

t.test('a flat spectrum gives zeros', async (t) => {
  for (const n of [1, 2, 3, 7]) {
    const { weight, factors } = diagonalWeight(new Array(n).fill(2.5));
    for (let count = 1; count <= n; count++) {
      const s = await startOf(weight, { factors, count, init: { energy: 1 } });
      t.ok(
        s.every((value) => value === 0),
        `${count} of ${n}: ${s}`,
      );
    }
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('a spectrum that is flat to rounding gives zeros', async (t) => {
  for (const dtype of dtypes) {
    for (const n of [2, 5, 12, 40, 80]) {
      for (let seed = 1; seed <= 4; seed++) {
        const weight = real(orthonormal(seeded(seed), n, n), [n, n], dtype);
        for (const count of [1, n]) {
          const s = await startOf(weight, { count, init: { energy: 1 } });
          t.ok(
            s.every((value) => value === 0),
            `${count} of ${n}, seed ${seed}, ${dtype}: Σ s² = ${energyOf(s)}`,
          );
        }
        weight.dispose();
      }
    }
  }
});

t.test('the perturbation does not depend on the scale of the weight', async (t) => {
  // Scaling a weight keeps the direction of c.
  const spectrum = [5, 3, 1, 0.2];
  const { weight, factors } = diagonalWeight(spectrum);
  const wanted = await startOf(weight, { factors, count: 4, init: { energy: 1 } });
  for (const scale of [1e150, 1e-150, 7]) {
    const scaled = diagonalWeight(spectrum.map((sigma) => scale * sigma));
    const s = await startOf(scaled.weight, { factors: scaled.factors, count: 4, init: { energy: 1 } });
    assertClose(t, s, wanted, tolerances.float64, `${scale}`);
    disposeAll(scaled.weight);
    disposeSvd(scaled.factors);
  }
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('init refuses invalid values', async (t) => {
  const weight = gaussian(seeded(1), [6, 5], 'float32');
  await expectNoLeak(t, 'refused', async () => {
    const refused: [unknown, ...string[]][] = [
      [{ energy: 0 }, 'init.energy', '0'],
      [{ energy: -1 }, 'init.energy', '-1'],
      [{ energy: Number.NaN }, 'init.energy', 'NaN'],
      [{ energy: Infinity }, 'init.energy', 'Infinity'],
      [{ energy: '1' }, 'init.energy', "'1'"],
      [{ energy: undefined }, 'init.energy'],
      [{}, 'init.energy'],
      [{ energy: 1, seed: 2 }, 'init', 'seed'],
      [{ enrgy: 1 }, 'init', 'enrgy'],
      ['energy', 'init', 'energy'],
      ['kaiming', 'init', 'kaiming'],
      [null, 'init'],
      [[1], 'init'],
      [1, 'init', '1'],
      [true, 'init', 'true'],
    ];
    for (const [init, ...parts] of refused) {
      const options = { init } as unknown as SivaOptions;
      await rejectsSigma(t, () => siva(weight, options), 'INVALID_ARGUMENT', JSON.stringify(init), ...parts);
    }
    await rejectsSigma(
      t,
      () => siva(weight, { basis: 'random', init: { energy: 1 } }),
      'INVALID_ARGUMENT',
      'a random basis',
      'init',
      'random',
    );
  });
  weight.dispose();
});

t.test('an energy that overflows the dtype', async (t) => {
  const weight = real(withSpectrum(seeded(2), 6, 6, [6, 5, 4, 3, 2, 1]), [6, 6], 'float32');
  await expectNoLeak(t, 'refused', () =>
    rejectsSigma(
      t,
      () => siva(weight, { init: { energy: 1e300 } }),
      'INVALID_ARGUMENT',
      'too large',
      'energy',
      'float32',
    ),
  );
  weight.dispose();
});
