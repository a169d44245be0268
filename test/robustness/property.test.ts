/** Properties of every shape, pattern, type and strategy, checked with fast-check. */
import fc from 'fast-check';
import { matmul, type Real, SparsityPattern, sddmm, spmm, svd, svft, type Tensor } from 'sigmatune';
import t from 'tap';
import { families, parameterValue, strategies, svdAccuracy, tolerances } from '../support/cases.js';
import {
  at,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  item,
  seeded,
  snapshot,
  type Tolerance,
} from '../support/helpers.js';
import {
  clearGradients,
  dense,
  disposeLayer,
  expectedGradient,
  gradientsOf,
  parameter,
  perturb,
} from '../support/layer.js';
import * as reference from '../support/reference.js';

// A fixed seed gives the same examples on every run. Change it to try others.
const settings = { seed: 20_260, numRuns: 150 };

const dtypeOf = fc.constantFrom<Real>('float32', 'float64');
const side = fc.oneof(fc.constantFrom(1, 2, 3), fc.integer({ min: 1, max: 40 }));
const tokensOf = fc.oneof(fc.constantFrom(1, 2), fc.integer({ min: 1, max: 70 }));
const seedOf = fc.integer({ min: 0, max: 1 << 20 });

function near(found: ArrayLike<number>, wanted: ArrayLike<number>, { atol, rtol }: Tolerance, label: string): void {
  if (found.length !== wanted.length) throw new Error(`${label}: ${found.length} entries for ${wanted.length}`);
  let scale = 0;
  for (let i = 0; i < wanted.length; i++) scale = Math.max(scale, Math.abs(at(wanted, i)));
  for (let i = 0; i < wanted.length; i++) {
    const allowed = atol * scale + rtol * Math.abs(at(wanted, i));
    if (!(Math.abs(at(found, i) - at(wanted, i)) <= allowed))
      throw new Error(`${label}: ${found[i]} for ${wanted[i]} at ${i}`);
  }
}

const patternOf = (r: number): fc.Arbitrary<SparsityPattern> =>
  fc.oneof(
    fc.constant(SparsityPattern.diagonal(r)),
    fc.tuple(fc.nat(r + 2), fc.nat(r + 2)).map(([lower, upper]) => SparsityPattern.banded(r, { lower, upper })),
    fc.tuple(fc.nat(r * r - 1), seedOf).map(([z, seed]) => SparsityPattern.random(r, { entries: z + 1 }, { seed })),
    fc
      .tuple(fc.nat(3 * r), seedOf)
      .map(([z, seed]) => SparsityPattern.random(r, { entries: z + 1 }, { seed, replacement: true })),
    fc.array(fc.tuple(fc.nat(r - 1), fc.nat(r - 1)), { minLength: 1, maxLength: 50 }).map((pairs) =>
      SparsityPattern.fromCoordinates(
        pairs.map(([i]) => i),
        pairs.map(([, j]) => j),
        r,
      ),
    ),
  );

t.test('svd', async (t) => {
  await expectNoLeak(t, 'svd', () =>
    fc.assert(
      fc.asyncProperty(
        side,
        side,
        dtypeOf,
        seedOf,
        fc.integer({ min: -12, max: 12 }),
        async (m, n, dtype, seed, power) => {
          const a = gaussian(seeded(seed), [m, n], dtype, 10 ** power);
          const result = await svd(a);
          const [u, vt] = [dense(result.u), dense(result.vt)];
          const original = dense(a);
          const again = reference.matmul(reference.matmul(u, reference.diagonal(snapshot(result.s))), vt);
          const accuracy = svdAccuracy[dtype];
          const residual = reference.norm(reference.subtract(original, again)) / reference.norm(original);
          const unit = reference.identity(Math.min(m, n));
          const skew = reference.largest(reference.subtract(reference.matmul(reference.transpose(u), u), unit));
          disposeAll(a);
          disposeSvd(result);
          if (!(residual <= accuracy.residual && skew <= accuracy.orthogonality))
            throw new Error(`residual ${residual}, UᵀU ${skew}`);
        },
      ),
      settings,
    ),
  );
});

t.test('matmul', async (t) => {
  await expectNoLeak(t, 'matmul', () =>
    fc.assert(
      fc.property(
        side,
        side,
        side,
        dtypeOf,
        fc.boolean(),
        fc.boolean(),
        seedOf,
        (m, k, n, dtype, transposeA, transposeB, seed) => {
          const random = seeded(seed);
          const a = gaussian(random, transposeA ? [k, m] : [m, k], dtype);
          const b = gaussian(random, transposeB ? [n, k] : [k, n], dtype);
          const result = matmul(a, b, { transposeA, transposeB });
          const [left, right] = [dense(a), dense(b)];
          const expected = reference.matmul(
            transposeA ? reference.transpose(left) : left,
            transposeB ? reference.transpose(right) : right,
          );
          near(result.dataSync(), expected.data, tolerances[dtype], 'product');
          disposeAll(a, b, result);
        },
      ),
      settings,
    ),
  );
});

t.test('sparse products, and their gradients as adjoints', async (t) => {
  const sparse = side.chain((r) => fc.tuple(fc.constant(r), patternOf(r), tokensOf, dtypeOf, seedOf));
  await expectNoLeak(t, 'sparse', () =>
    fc.assert(
      fc.property(sparse, ([r, pattern, columns, dtype, seed]) => {
        const random = seeded(seed);
        const values = gaussian(random, [pattern.entries], dtype);
        const [a, b] = [gaussian(random, [r, columns], dtype), gaussian(random, [r, columns], dtype)];
        const product = spmm(pattern, values, b);
        const transposed = spmm(pattern, values, a, { transpose: true });
        const gradient = sddmm(pattern, a, b);
        near(product.dataSync(), reference.spmm(pattern, snapshot(values), dense(b)).data, tolerances[dtype], 'M · b');
        near(
          transposed.dataSync(),
          reference.spmm(pattern, snapshot(values), dense(a), true).data,
          tolerances[dtype],
          'Mᵀ · a',
        );
        near(gradient.dataSync(), reference.sddmm(pattern, dense(a), dense(b)), tolerances[dtype], 'sddmm');
        // ⟨a, M b⟩ = ⟨Mᵀ a, b⟩ = ⟨values, sddmm(a, b)⟩.
        const dot = (x: Tensor, y: Tensor): number => {
          const other = y.dataSync();
          return snapshot(x).reduce((sum, value, i) => sum + value * at(other, i), 0);
        };
        const [one, two, three] = [dot(a, product), dot(transposed, b), dot(values, gradient)];
        const size = Math.sqrt(dot(a, a) * dot(product, product)) + 1;
        const slack = (dtype === 'float32' ? 1e-5 : 1e-13) * size;
        if (Math.abs(one - two) > slack || Math.abs(one - three) > slack) throw new Error(`${one}, ${two}, ${three}`);
        disposeAll(values, a, b, product, transposed, gradient);
      }),
      settings,
    ),
  );
});

interface Shape {
  readonly out: number;
  readonly inFeatures: number;
  readonly tokens: number;
  readonly dtype: Real;
  readonly seed: number;
  readonly withBias: boolean;
}

const shapeOf = fc.record<Shape>({
  out: side,
  inFeatures: side,
  tokens: tokensOf,
  dtype: dtypeOf,
  seed: seedOf,
  withBias: fc.boolean(),
});
const loose = { float32: { atol: 1e-4, rtol: 1e-4 }, float64: { atol: 1e-11, rtol: 1e-11 } } as const;

t.test('svft: all strategies compute the same operator', async (t) => {
  const input = shapeOf.chain((shape) =>
    fc.tuple(fc.constant(shape), patternOf(Math.min(shape.out, shape.inFeatures)), fc.boolean()),
  );
  await expectNoLeak(t, 'svft', () =>
    fc.assert(
      fc.asyncProperty(input, async ([{ out, inFeatures, tokens, dtype, seed, withBias }, pattern, gate]) => {
        const random = seeded(seed);
        const weight = gaussian(random, [out, inFeatures], dtype, 1 / Math.sqrt(inFeatures));
        const bias = withBias ? gaussian(random, [out], dtype) : undefined;
        const x = gaussian(random, [tokens, inFeatures], dtype);
        const dy = gaussian(random, [tokens, out], dtype);
        const factors = await svd(weight);
        for (const strategy of strategies) {
          const layer = await svft(weight, { factors, pattern, gate, strategy, ...(bias && { bias }) });
          perturb(layer);
          const [m, gamma] = layer.parameters.map(({ value }) => snapshot(value));
          const operator: reference.Operator = {
            u: dense(factors.u),
            vt: dense(factors.vt),
            sigma: snapshot(factors.s),
            m: { pattern, values: m ?? [] },
            gate: gamma?.[0],
            bias: bias && snapshot(bias),
          };
          const gradients = reference.backward(operator, dense(x), dense(dy));
          const pass = layer.forward(x);
          const dx = pass.backward(dy);
          const [dm, dgamma] = gradientsOf(layer);
          near(pass.y.dataSync(), reference.forward(operator, dense(x)).data, loose[dtype], `${strategy}: y`);
          near(dx.dataSync(), gradients.dx.data, loose[dtype], `${strategy}: dx`);
          near(dm ?? [], gradients.m, loose[dtype], `${strategy}: dm`);
          // dγ is a sum that can cancel, so its terms set the scale.
          const terms = gradients.m.reduce((sum, value, p) => sum + Math.abs(value * at(m ?? [], p)), 0);
          if (gate && !(Math.abs((dgamma?.[0] ?? Number.NaN) - gradients.gate) <= loose[dtype].atol * (1 + terms)))
            throw new Error(`${strategy}: dγ`);
          disposeAll(pass.y, pass, dx);
          clearGradients(layer);
          disposeLayer(layer);
        }
        disposeAll(weight, bias, x, dy);
        disposeSvd(factors);
      }),
      settings,
    ),
  );
});

/** |found − wanted| within `loose`, or within the rounding of sums whose terms have the total size `size`. */
function nearSum(found: ArrayLike<number>, wanted: ArrayLike<number>, dtype: Real, size: number, label: string): void {
  if (found.length !== wanted.length) throw new Error(`${label}: ${found.length} entries for ${wanted.length}`);
  const largest = Array.from(wanted).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const allowed = loose[dtype].atol * largest + (dtype === 'float32' ? 1e-6 : 1e-14) * size;
  for (let i = 0; i < wanted.length; i++) {
    if (!(Math.abs(at(found, i) - at(wanted, i)) <= allowed))
      throw new Error(`${label}: ${found[i]} for ${wanted[i]} at ${i}`);
  }
}

t.test('every family: y, dx and every gradient, merged, and switched off', async (t) => {
  const drawn = fc.tuple(shapeOf, fc.constantFrom(...families), fc.nat());
  const seen = new Set<string>();
  await expectNoLeak(t, 'families', () =>
    fc.assert(
      fc.asyncProperty(drawn, async ([shape, family, choice]) => {
        const { tokens, dtype, seed, withBias } = shape;
        const inFeatures = family.square ? shape.out : shape.inFeatures;
        const strategy = item(family.strategies, choice % family.strategies.length);
        seen.add(family.name);
        const random = seeded(seed);
        const weight = gaussian(random, [shape.out, inFeatures], dtype, 1 / Math.sqrt(inFeatures));
        const bias = withBias ? gaussian(random, [shape.out], dtype) : undefined;
        const x = gaussian(random, [tokens, inFeatures], dtype);
        const dy = gaussian(random, [tokens, shape.out], dtype);
        const layer = await family.make(weight, { strategy, ...(bias && { bias }) });
        perturb(layer, seed);

        const operator = family.operator(layer, dense(weight), bias && snapshot(bias));
        const gradients = reference.backward(operator, dense(x), dense(dy));
        const wholeWeight = reference.mergedWeight(operator);
        const [sizeX, sizeDy, sizeW] = [dense(x), dense(dy), wholeWeight].map(reference.norm) as [
          number,
          number,
          number,
        ];
        const y = layer.apply(x);
        const pass = layer.forward(x);
        const dx = pass.backward(dy);
        const merged = layer.mergedWeight();
        const expected = reference.forward(operator, dense(x)).data;
        nearSum(y.dataSync(), expected, dtype, sizeX * sizeW, 'apply');
        nearSum(pass.y.dataSync(), expected, dtype, sizeX * sizeW, 'forward');
        nearSum(dx.dataSync(), gradients.dx.data, dtype, sizeDy * sizeW, 'dx');
        nearSum(merged.dataSync(), wholeWeight.data, dtype, sizeW, 'the merged weight');
        for (const entry of layer.parameters) {
          const wanted = expectedGradient(entry, gradients);
          // dγ sums over M; the others are at most ‖x‖ · ‖dy‖, or ‖dy‖ · √N for the bias.
          const length = Math.hypot(...(parameterValue(layer, 'm') ? snapshot(parameter(layer, 'm').value) : []));
          const size = sizeDy * Math.max(sizeX, Math.sqrt(tokens)) * (entry.name === 'gate' ? 1 + length : 1);
          nearSum(entry.grad?.dataSync() ?? [], wanted, dtype, size, `the gradient of ${entry.name}`);
        }

        layer.enabled = false;
        const off = layer.forward(x);
        const offDx = off.backward(dy);
        const base = layer.mergedWeight();
        const offset = layer.mergedBias();
        const size = reference.norm(dense(weight));
        const plain = reference.linear(dense(x), dense(weight), bias && snapshot(bias));
        nearSum(off.y.dataSync(), plain.data, dtype, sizeX * size, 'off: y');
        const dx0 = reference.matmul(dense(dy), dense(weight));
        nearSum(offDx.dataSync(), dx0.data, dtype, sizeDy * size, 'off: dx');
        near(base.dataSync(), weight.dataSync(), { atol: 0, rtol: 0 }, 'off: the merged weight');
        near(offset?.dataSync() ?? [], bias?.dataSync() ?? [], { atol: 0, rtol: 0 }, 'off: the merged bias');
        layer.enabled = true;
        const again = layer.apply(x);
        near(again.dataSync(), y.dataSync(), { atol: 0, rtol: 0 }, 'on again');
        disposeAll(weight, bias, x, dy, y, pass.y, pass, dx, merged, off.y, off, offDx, base, offset, again);
        disposeLayer(layer);
      }),
      { ...settings, numRuns: 400 },
    ),
  );
  t.same([...seen].sort(), families.map(({ name }) => name).sort(), 'no family was left out');
});

t.test('the singular values of the merged weight are those of the core', async (t) => {
  // Also checks that M is between U and Vᵀ, and that ‖ΔW‖ = g‖M‖.
  const input = side.chain((r) => fc.tuple(fc.constant(r), patternOf(r), seedOf));
  await fc.assert(
    fc.asyncProperty(input, async ([r, pattern, seed]) => {
      const weight = gaussian(seeded(seed), [r + 2, r], 'float64');
      const factors = await svd(weight);
      const layer = await svft(weight, { factors, pattern });
      perturb(layer, seed);
      const [m, gate] = layer.parameters.map(({ value }) => snapshot(value));
      const operator = {
        u: dense(factors.u),
        vt: dense(factors.vt),
        sigma: snapshot(factors.s),
        m: { pattern, values: m ?? [] },
        gate: gate?.[0],
      };
      const merged = layer.mergedWeight();
      near(
        reference.singularValues(dense(merged)),
        reference.singularValues(reference.core(operator)),
        { atol: 1e-12, rtol: 0 },
        'σ',
      );
      const update = reference.norm(reference.subtract(dense(merged), dense(weight)));
      const size = reference.sigmoid(gate?.[0] ?? 0) * reference.norm(reference.densify(pattern, m ?? []));
      if (Math.abs(update - size) > 1e-12 * (1 + reference.norm(dense(weight))))
        throw new Error(`‖ΔW‖ = ${update}, g‖M‖ = ${size}`);
      disposeAll(weight, merged);
      disposeSvd(factors);
      disposeLayer(layer);
    }),
    { ...settings, numRuns: 60 },
  );
  t.pass('σ(W′) = σ(C) and ‖ΔW‖ = g‖M‖');
});
