/** `decompose`: the factors of a weight as an object that layers share, with its errors measured. */
import { inspect } from 'node:util';
import {
  decompose,
  type Factors,
  memory,
  type Real,
  siva,
  svd,
  svft,
  type Tensor,
  tensor,
  vectorFit,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { dtypes, svdAccuracy } from '../support/cases.js';
import {
  assertSameBits,
  bytes,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  gaussian,
  rejectsSigma,
  seeded,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { dense } from '../support/layer.js';
import { diagonal, identity, largest, type Matrix, matmul, norm, subtract, transpose } from '../support/reference.js';

/** Both errors in float64, from the factors as they are kept. */
function errorOf(weight: Tensor, { u, s, vt }: Factors) {
  const [left, right] = [u, vt].map((kept) => {
    using wide = kept.cast('float64');
    return dense(wide);
  }) as [Matrix, Matrix];
  const unit = identity(s.size);
  return {
    residual: norm(subtract(dense(weight), matmul(matmul(left, diagonal(values(s))), right))) / norm(dense(weight)),
    orthogonality: Math.max(
      largest(subtract(matmul(transpose(left), left), unit)),
      largest(subtract(matmul(right, transpose(right)), unit)),
    ),
  };
}

const shapes = [
  [1, 1],
  [1, 9],
  [9, 1],
  [24, 16],
  [16, 24],
  [150, 140],
] as const;

t.test('the errors are those of the factors as they are kept', async (t) => {
  await expectNoLeak(t, 'errors', async () => {
    for (const dtype of dtypes) {
      for (const [rows, columns] of shapes) {
        using weight = gaussian(seeded(rows), [rows, columns], dtype);
        for (const storage of ['float32', 'float64', 'bfloat16'] as const) {
          if (storage === 'float64' && dtype === 'float32') continue;
          using factors = await decompose(weight, { storage });
          // The products that measure an error have their own rounding.
          const rounding = svdAccuracy[storage === 'float64' ? 'float64' : 'float32'].residual;
          const wanted = errorOf(weight, factors);
          const label = `${dtype} [${rows}, ${columns}] as ${storage}`;
          for (const name of ['residual', 'orthogonality'] as const) {
            const off = Math.abs(factors.error[name] - wanted[name]);
            t.ok(
              off <= 4 * rounding + 1e-3 * wanted[name],
              `${label}: ${name} ${factors.error[name]}, is ${wanted[name]}`,
            );
          }
        }
      }
    }
  });
});

t.test('wide storage takes a wide decomposition', async (t) => {
  using weight = gaussian(seeded(3), [30, 20], 'float32');
  using factors = await decompose(weight, { storage: 'float64' });
  t.equal(factors.u.dtype, 'float64');
  t.equal(factors.s.dtype, 'float64');
  t.ok(factors.error.residual < 1e-14, `residual ${factors.error.residual}`);
  t.ok(factors.error.orthogonality < 1e-13, `orthogonality ${factors.error.orthogonality}`);
});

t.test('a truncated rank has the dropped σ in its residual', async (t) => {
  using weight = gaussian(seeded(4), [20, 30], 'float64');
  const whole = await svd(weight);
  using factors = await decompose(weight, { rank: 5 });
  const sigma = Array.from(values(whole.s));
  const wanted = Math.hypot(...sigma.slice(5)) / Math.hypot(...sigma);
  t.ok(Math.abs(factors.error.residual - wanted) < 1e-12, `${factors.error.residual}, Eckart and Young have ${wanted}`);
  t.same([factors.u.shape, factors.s.shape, factors.vt.shape], [[20, 5], [5], [5, 30]]);
  disposeAll(...Object.values(whole));
});

t.test('the same numbers as svd', async (t) => {
  for (const dtype of dtypes) {
    using weight = gaussian(seeded(5), [12, 20], dtype);
    const plain = await svd(weight);
    using factors = await decompose(weight);
    for (const name of ['u', 's', 'vt'] as const) assertSameBits(t, factors[name], plain[name], `${dtype}: ${name}`);
    t.equal(factors.storage, dtype);
    t.same([factors.outFeatures, factors.inFeatures], [12, 20]);
    const size = { float32: 4, float64: 8 }[dtype];
    t.equal(factors.bytes, size * (12 * 12 + 12 + 12 * 20), 'bytes');
    disposeAll(...Object.values(plain));
  }
});

t.test('extremes of the range', async (t) => {
  const cases: readonly [string, Real, number][] = [
    ['near the largest float32', 'float32', 1e37],
    ['near the smallest float32', 'float32', 1e-36],
    ['near the largest float64', 'float64', 1e306],
    ['near the smallest float64', 'float64', 1e-290],
  ];
  for (const [label, dtype, scale] of cases) {
    using weight = gaussian(seeded(6), [18, 12], dtype, scale);
    using factors = await decompose(weight);
    t.ok(factors.error.residual <= svdAccuracy[dtype].residual, `${label}: residual ${factors.error.residual}`);
  }
  using nothing = await decompose(zeros([5, 3]));
  t.equal(nothing.error.residual, 0, 'a weight of zeros');
  t.ok(nothing.error.orthogonality <= 1e-6, 'and its vectors are orthonormal');
});

t.test('layers share the memory, which is freed with the last owner', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'owners', async () => {
    using weight = gaussian(seeded(7), [24, 16], 'float32');
    const before = bytes();
    const factors = await decompose(weight);
    t.equal(bytes() - before, factors.bytes, 'what decompose holds');
    const layers = [await svft(weight, { factors }), await vectorFit(weight, { factors })];
    const trained = layers.flatMap(({ parameters }) => parameters).reduce((sum, { value }) => sum + 4 * value.size, 0);
    t.equal(bytes() - before, factors.bytes + trained, 'the layers add their parameters only');
    factors.dispose();
    factors.dispose();
    t.equal(bytes() - before, factors.bytes + trained, 'and keep what they use');
    layers.pop()?.dispose();
    t.equal(bytes() - before, factors.bytes + 4 * 17, 'the last one too');
    layers.pop()?.dispose();
    t.equal(bytes(), before, 'nothing is left');
  });
});

t.test('the caller may dispose the weight at once', async (t) => {
  await expectNoLeak(t, 'disposed', async () => {
    const weight = gaussian(seeded(8), [40, 30], 'float32');
    const running = decompose(weight);
    weight.dispose();
    using factors = await running;
    t.ok(factors.error.residual < 5e-6);
  });
});

t.test('bad input', async (t) => {
  await expectNoLeak(t, 'bad input', async () => {
    using weight = gaussian(seeded(9), [6, 4], 'float32');
    const wrong = (options: unknown) => () => decompose(weight, options as never);
    await rejectsSigma(t, wrong({ storage: 'int4' }), 'INVALID_ARGUMENT', 'int4', 'options.storage');
    await rejectsSigma(t, wrong({ rank: 5 }), 'INVALID_ARGUMENT', 'rank', 'options.rank');
    await rejectsSigma(t, wrong({ ranks: 5 }), 'INVALID_ARGUMENT', 'unknown option', 'options');
    await rejectsSigma(t, wrong({ signal: AbortSignal.abort() }), 'ABORTED', 'aborted', 'decompose');
    using broken = tensor([[1, Number.NaN]]);
    await rejectsSigma(t, () => decompose(broken), 'NON_FINITE', 'NaN', 'weight');
    using huge = tensor([[1e60]], undefined, { dtype: 'float64' });
    const narrow = () => decompose(huge, { storage: 'float32' });
    await rejectsSigma(t, narrow, 'NON_FINITE', 'σ beyond float32', 'options.storage', '1e+60');
    using stack = zeros([2, 3, 4]);
    await rejectsSigma(t, () => decompose(stack), 'SHAPE_MISMATCH', 'a stack', 'weight');
    await rejectsSigma(t, () => decompose([[1]] as never), 'INVALID_ARGUMENT', 'no tensor', 'weight');
    const factors = await decompose(weight);
    factors.dispose();
    await rejectsSigma(t, () => siva(weight, { factors }), 'DISPOSED', 'disposed factors', 'options.factors');
    using other = gaussian(seeded(10), [6, 4], 'float32');
    using own = await decompose(other);
    await rejectsSigma(
      t,
      () => siva(weight, { factors: own }),
      'BASE_MISMATCH',
      'of another weight',
      'options.factors',
    );
  });
});

t.test('an abort half-way leaves nothing', async (t) => {
  await expectNoLeak(t, 'abort', async () => {
    using weight = gaussian(seeded(11), [300, 300], 'float32');
    for (const delay of [0, 5, 20, 40]) {
      const controller = new AbortController();
      const running = decompose(weight, { signal: controller.signal });
      const timer = setTimeout(() => controller.abort(), delay);
      try {
        (await running).dispose();
      } catch (error) {
        t.equal((error as { code?: string }).code, 'ABORTED', `after ${delay} ms`);
      }
      clearTimeout(timer);
    }
  });
});

t.test('as an object', async (t) => {
  using weight = gaussian(seeded(12), [6, 4], 'float32');
  const factors = await decompose(weight);
  t.match(inspect(factors), /^Factors \[6, 4\] rank 4 float32 on \S+, 176 bytes, residual \d/);
  throwsSigma(t, () => JSON.stringify(factors), 'UNSUPPORTED', 'JSON', 'Factors.toJSON');
  t.throws(() => structuredClone(factors), 'a clone');
  t.ok(Object.isFrozen(factors.error));
  t.throws(() => new (factors.constructor as new (...a: unknown[]) => unknown)({}, {}), 'not made by hand');
  const { tensors } = memory();
  factors[Symbol.dispose]();
  t.equal(memory().tensors, tensors - 3);
  t.match(String(factors), /disposed/);
});

t.test('a bfloat16 weight keeps bfloat16 factors', async (t) => {
  using wide = gaussian(seeded(13), [20, 12], 'float32');
  using weight: Tensor<'bfloat16'> = wide.cast('bfloat16');
  using factors = await decompose(weight);
  t.same([factors.u.dtype, factors.s.dtype, factors.vt.dtype], ['bfloat16', 'float32', 'bfloat16']);
  t.ok(factors.error.residual > 1e-4 && factors.error.residual < 1e-2, `residual ${factors.error.residual}`);
});
