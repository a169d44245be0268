/** Factors that the caller supplies: shared, truncated, with other signs, refused. */
import { type Real, type Svd, siva, svd, svft, type Tensor, vectorFit } from 'sigmatune';
import t from 'tap';
import { dtypes, layerShapes, oneOfEach, tolerances, truncated } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  item,
  real,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { bench, dense, disposeLayer, makeLayer, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);

t.test('layers share factors', async (t) => {
  await expectNoLeak(t, 'shared factors', async () => {
    using on = await bench(square, 'float64');
    const layers = await Promise.all(oneOfEach.map((family) => makeLayer(family, on, 'auto')));
    for (const layer of layers) perturb(layer);
    const first = item(layers, 0);
    const before = first.apply(on.x);
    for (const other of layers.slice(1)) disposeLayer(other);
    const after = first.apply(on.x);
    assertSameBits(t, after, before, 'disposing other layers leaves this one working');
    t.ok(
      !on.factors.u.disposed && !on.factors.s.disposed && !on.factors.vt.disposed,
      'borrowed factors are not disposed',
    );
    disposeAll(before, after);
    disposeLayer(first);
    t.ok(!on.weight.disposed && !on.bias.disposed, 'the weight and the bias are borrowed');
  });
});

t.test('truncated factors', async (t) => {
  await expectNoLeak(t, 'truncated factors', async () => {
    using on = await bench(square, 'float64');
    const factors = await svd(on.weight as Tensor<'float64'>, { rank: 4 });
    const options = { pattern: 'banded', offDiagonals: 1 } as const;
    for (const residual of ['keep', 'drop'] as const) {
      const sliced = await svft(on.weight, { ...options, residual, factors: on.factors, rank: 4 });
      const given = await svft(on.weight, { ...options, residual, factors });
      perturb(sliced);
      perturb(given);
      const [one, two] = [sliced.apply(on.x), given.apply(on.x)];
      t.equal(given.rank, 4, `svft, ${residual}: their rank is the layer's`);
      assertClose(t, two, one, tolerances.float64, `svft, ${residual}: as if sliced here`);
      disposeAll(one, two);
      disposeLayer(sliced);
      disposeLayer(given);
    }
    const truncatedCodes = ['SHAPE_MISMATCH', 'INVALID_ARGUMENT'] as const;
    // Without the tail these two families would silently compute another layer.
    await rejectsSigma(t, () => vectorFit(on.weight, { factors }), truncatedCodes, 'vectorFit', 'factors');
    await rejectsSigma(t, () => siva(on.weight, { factors, count: 2 }), truncatedCodes, 'siva', 'factors');
    disposeSvd(factors);
  });
});

t.test('construction refuses invalid names and factors', async (t) => {
  await expectNoLeak(t, 'refused', async () => {
    using on = await bench(tall, 'float32');
    await rejectsSigma(t, () => svft(on.weight, { name: '' }), 'INVALID_ARGUMENT', 'an empty name', 'name');
    const wide = gaussian(on.random, [tall.out, tall.in + 1], 'float32');
    const s = gaussian(on.random, [tall.in + 1], 'float32');
    const vt = gaussian(on.random, [tall.in + 1, tall.in], 'float32');
    await rejectsSigma(
      t,
      () => svft(on.weight, { factors: { u: wide, s, vt } }),
      'SHAPE_MISMATCH',
      'more triples than a weight has',
      'factors',
      String(tall.in),
      String(tall.in + 1),
    );
    disposeAll(wide, s, vt);
  });
});

/** Copies of factors with the sign of each odd pair of singular vectors flipped. */
function flipped({ u, s, vt }: Svd): Svd {
  const [q] = s.shape as readonly [number];
  const columns = vt.shape[1] ?? 1;
  const sign = (j: number): number => (j % 2 ? -1 : 1);
  return {
    u: real(
      snapshot(u).map((value, i) => sign(i % q) * value),
      u.shape,
      u.dtype,
    ),
    s: real(snapshot(s), s.shape, s.dtype),
    vt: real(
      snapshot(vt).map((value, i) => sign(Math.floor(i / columns)) * value),
      vt.shape,
      vt.dtype,
    ),
  };
}

t.test('factors of another weight are refused', async (t) => {
  for (const dtype of dtypes) {
    for (const shape of [square, tall, item(layerShapes, 2)]) {
      await expectNoLeak(t, 'foreign factors', async () => {
        using on = await bench(shape, dtype);
        using other = await bench(shape, dtype, 2);
        const { u, s, vt } = on.factors;
        const scaled = real(
          snapshot(s).map((value) => 1.01 * value),
          s.shape,
          dtype,
        );
        const swapped = real(snapshot(s).reverse(), s.shape, dtype);
        const nothing = real(new Float64Array(s.size), s.shape, dtype);
        for (const family of oneOfEach) {
          for (const [label, factors] of [
            ['another weight', other.factors],
            ['U of another', { u: other.factors.u, s, vt }],
            ['Vᵀ of another', { u, s, vt: other.factors.vt }],
            ['a hundredth more', { u, s: scaled, vt }],
            ['σ in another order', { u, s: swapped, vt }],
            ['σ of zero', { u, s: nothing, vt }],
          ] as const) {
            const make = () => family.make(on.weight, { factors });
            await rejectsSigma(
              t,
              make,
              'BASE_MISMATCH',
              `${family.name}, ${shape.name}, ${dtype}: ${label}`,
              'options.factors',
            );
          }
        }
        disposeAll(scaled, swapped, nothing);
      });
    }
  }
});

t.test('factors of the weight are accepted with any signs and any rank', async (t) => {
  await expectNoLeak(t, 'own factors', async () => {
    for (const dtype of dtypes) {
      using on = await bench(tall, dtype);
      const mirrored = flipped(on.factors);
      for (const family of oneOfEach) {
        const layer = await family.make(on.weight, { factors: mirrored });
        const y = layer.apply(on.x);
        const expected = reference.linear(dense(on.x), dense(on.weight));
        assertClose(t, y, expected.data, tolerances[dtype], `${family.name}, ${dtype}: flipped pairs`);
        y.dispose();
        disposeLayer(layer);
      }
      for (const rank of [1, 3, tall.in]) {
        const truncated = await svd(on.weight as Tensor<Real>, { rank });
        const mirroredToo = flipped(truncated);
        for (const factors of [truncated, mirroredToo]) {
          const layer = await svft(on.weight, { factors });
          t.equal(layer.rank, rank, `${dtype}: ${rank} triples`);
          disposeLayer(layer);
        }
        disposeSvd(truncated, mirroredToo);
      }
      disposeSvd(mirrored);

      const zero = real(new Float64Array(12), [4, 3], dtype);
      const factors = await svd(zero);
      for (const family of oneOfEach) {
        const layer = await family.make(zero, { factors });
        t.ok(layer.rank > 0, `${family.name}, ${dtype}: a weight of zeros`);
        disposeLayer(layer);
      }
      const one = real([1, 1, 1], [3], dtype);
      const made = () => svft(zero, { factors: { ...factors, s: one } });
      await rejectsSigma(t, made, 'BASE_MISMATCH', 'more than zeros for a weight of zeros', 'options.factors');
      disposeAll(zero, one);
      disposeSvd(factors);
    }
  });
});

t.test('factors and weights near overflow and underflow', async (t) => {
  for (const [scale, dtype] of [
    [1e160, 'float64'],
    [1e-165, 'float64'],
    [1e30, 'float32'],
    [1e-25, 'float32'],
  ] as const) {
    const scaled = (seed: number) => {
      const numbers = snapshot(gaussian(seeded(seed), [24, 24], 'float64'));
      return real(
        numbers.map((value) => scale * value),
        [24, 24],
        dtype,
      );
    };
    const [weight, other] = [scaled(1), scaled(2)];
    const factors = await svd(weight);
    const layer = await svft(weight, { factors });
    t.equal(layer.rank, 24, `${scale}: its own factors`);
    // Squares of these numbers overflow or underflow, which must not hide the difference.
    await rejectsSigma(t, () => svft(other, { factors }), 'BASE_MISMATCH', `${scale}: another's`, 'options.factors');
    disposeLayer(layer);
    disposeSvd(factors);
    disposeAll(weight, other);
  }
  const broken = real([1, Number.NaN, 3, 4], [2, 2], 'float64');
  const whole = real([1, 2, 3, 4], [2, 2], 'float64');
  const factors = await svd(whole);
  await rejectsSigma(t, () => svft(broken, { factors }), 'NON_FINITE', 'a weight with NaN', 'weight');
  disposeSvd(factors);
  disposeAll(broken, whole);
});

/** The same factors with some numbers changed. */
function altered(factors: Svd, parts: Partial<Record<keyof Svd, (value: number, i: number) => number>>): Svd {
  const change = (name: keyof Svd) => {
    const { shape, dtype } = factors[name];
    return real(snapshot(factors[name]).map(parts[name] ?? ((value) => value)), shape, dtype);
  };
  return { u: change('u'), s: change('s'), vt: change('vt') };
}

t.test('factors are checked on both sides of the weight', async (t) => {
  const given = { u: real([1, 0, 0, 1, 5, 0, 0, 7], [4, 2], 'float32'), s: real([3, 2], [2], 'float32') };
  const factors = { ...given, vt: real([1, 0, 0, 1], [2, 2], 'float32') };
  const weight = real([3, 0, 0, 2, 0, 0, 0, 0], [4, 2], 'float32');
  await rejectsSigma(
    t,
    () => vectorFit(weight, { factors }),
    'BASE_MISMATCH',
    'U outside the columns of W',
    'options.factors',
  );
  disposeAll(weight);
  disposeSvd(factors);

  for (const dtype of dtypes) {
    for (const shape of [tall, item(layerShapes, 2)]) {
      using on = await bench(shape, dtype);
      const q = on.factors.s.size;
      const columns = shape.in;
      const swap = (i: number, width: number) => (i % width === 0 ? 1 : i % width === 1 ? -1 : 0);
      const u = snapshot(on.factors.u);
      const vt = snapshot(on.factors.vt);
      const s = snapshot(on.factors.s);
      const exchanged = {
        u: (_: number, i: number) => at(u, i + swap(i, q)),
        s: (_: number, i: number) => at(s, i + swap(i, q)),
        vt: (value: number, i: number) =>
          i < columns ? at(vt, i + columns) : i < 2 * columns ? at(vt, i - columns) : value,
      };
      // Index of the last triple that a layer uses.
      const spoilt = (last: number) =>
        [
          ['an entry of U is off by 0.05', { u: (value: number, i: number) => (i === q ? value + 0.05 : value) }],
          ['an entry of Vᵀ is off by 0.05', { vt: (value: number, i: number) => (i === 3 ? value + 0.05 : value) }],
          ['U is 1 % longer, σ shorter', { u: (value: number) => value * 1.01, s: (value: number) => value / 1.01 }],
          ['the first two triples are exchanged', exchanged],
          [
            'a σ and its u are negative',
            {
              u: (value: number, i: number) => (i % q === last ? -value : value),
              s: (value: number, i: number) => (i === last ? -value : value),
            },
          ],
        ] as const;
      for (const family of oneOfEach) {
        for (const [label, parts] of spoilt((family.denseCore ? truncated(q) : q) - 1)) {
          const wrong = altered(on.factors, parts);
          const make = () => family.make(on.weight, { factors: wrong });
          await rejectsSigma(
            t,
            make,
            'BASE_MISMATCH',
            `${family.name}, ${shape.name}, ${dtype}: ${label}`,
            'options.factors',
          );
          disposeSvd(wrong);
        }
      }
      for (const name of ['u', 's', 'vt'] as const) {
        const broken = altered(on.factors, { [name]: (value: number, i: number) => (i === 1 ? Number.NaN : value) });
        const make = () => svft(on.weight, { factors: broken });
        await rejectsSigma(t, make, 'NON_FINITE', `NaN in ${name}, ${dtype}`, `options.factors.${name}`, 'NaN');
        disposeSvd(broken);
      }
    }
  }
});
