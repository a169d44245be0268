import { getEventListeners } from 'node:events';
import { type Real, type Svd, type SvdOptions, setThreads, svd, type Tensor, threads } from 'sigmatune';
import t from 'tap';
import { dtypes, svdAccuracy, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  at,
  type Check,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  item,
  put,
  real,
  rejectsSigma,
  seeded,
  sized,
  snapshot,
  withSpectrum,
} from '../support/helpers.js';
import {
  build,
  diagonal,
  identity,
  largest,
  type Matrix,
  matmul,
  matrix,
  norm,
  singularValues,
  subtract,
  transpose,
} from '../support/reference.js';

/** Checks the contract of `svd` by invariants, because singular vectors are only unique up to rotations. */
function checkSvd(
  t: Check,
  a: Matrix,
  result: { u: Matrix; s: Float64Array; vt: Matrix },
  dtype: Real,
  label: string,
): void {
  const accuracy = svdAccuracy[dtype];
  const { u, s, vt } = result;
  // Scales exactly to about 1, so that no check overflows.
  const top = largest(a);
  const scale = top === 0 ? 1 : 2 ** -Math.floor(Math.log2(top));
  const scaled = build(a.rows, a.columns, (i, j) => at(a.data, i * a.columns + j) * scale);
  const sigma = s.map((value) => value * scale);
  const residual = norm(subtract(scaled, matmul(matmul(u, diagonal(sigma)), vt)));
  t.ok(
    residual <= accuracy.residual * (norm(scaled) || 1),
    `${label}: ‖A − U S Vᵀ‖/‖A‖ is ${residual / (norm(scaled) || 1)}`,
  );
  const unit = identity(s.length);
  const inU = largest(subtract(matmul(transpose(u), u), unit));
  const inV = largest(subtract(matmul(vt, transpose(vt)), unit));
  t.ok(inU <= accuracy.orthogonality, `${label}: max|UᵀU − I| is ${inU}`);
  t.ok(inV <= accuracy.orthogonality, `${label}: max|VᵀV − I| is ${inV}`);
  t.ok(
    sigma.every((value, i) => value >= 0 && (i === 0 || value <= at(sigma, i - 1))),
    `${label}: s is descending and not negative`,
  );
  t.ok(obeysSignRule(u), `${label}: the largest entry of each column of u is positive`);
  const truth = singularValues(scaled).slice(0, s.length);
  const error = truth.reduce((most, value, i) => Math.max(most, Math.abs(value - at(sigma, i))), 0);
  t.ok(error <= accuracy.sigma * (at(truth, 0) || 1), `${label}: σ is off by ${error / (at(truth, 0) || 1)} · σ₁`);
}

/** Entries of u within a part of 1/2048 of the largest magnitude count as equal to it. */
function obeysSignRule(u: Matrix): boolean {
  for (let j = 0; j < u.columns; j++) {
    const column = Array.from({ length: u.rows }, (_, i) => at(u.data, i * u.columns + j));
    const least = column.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * (1 - 1 / 2048);
    const first = column.find((value) => Math.abs(value) >= least);
    if (first === undefined || !(first > 0)) return false;
  }
  return true;
}

/** The b-th matrix of a result, stacked or not. */
function slice({ u, s, vt }: Svd, rows: number, columns: number, b = 0): { u: Matrix; s: Float64Array; vt: Matrix } {
  const r = s.shape.at(-1) ?? 0;
  const part = (tensor: Tensor, length: number): Float64Array =>
    snapshot(tensor).subarray(b * length, (b + 1) * length);
  return {
    u: matrix(rows, r, part(u, rows * r)),
    s: part(s, r),
    vt: matrix(r, columns, part(vt, r * columns)),
  };
}

interface Input {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  make(dtype: Real): ArrayLike<number>;
}

const spectrum = (length: number, condition: number): Float64Array =>
  Float64Array.from({ length }, (_, i) => condition ** (-i / Math.max(1, length - 1)));

const gauss = (name: string, rows: number, columns: number, scale: (dtype: Real) => number = () => 1): Input => ({
  name,
  rows,
  columns,
  make: (dtype) => seeded(rows * 1000 + columns).normals(rows * columns, scale(dtype)),
});

const inputs: readonly Input[] = [
  gauss('square', 48, 48),
  gauss('odd square', 67, 67),
  gauss('tall', 90, 31),
  gauss('very tall', 300, 5),
  gauss('wide', 31, 90),
  gauss('very wide', 5, 300),
  gauss('1 × n', 1, 37),
  gauss('n × 1', 37, 1),
  gauss('1 × 1', 1, 1),
  gauss('2 × 2', 2, 2),
  gauss('larger', 150, 130),
  gauss('huge entries', 20, 24, (dtype) => (dtype === 'float32' ? 1e30 : 1e290)),
  gauss('tiny entries', 24, 20, (dtype) => (dtype === 'float32' ? 1e-30 : 1e-290)),
  { name: 'κ = 1e6', rows: 50, columns: 50, make: () => withSpectrum(seeded(1), 50, 50, spectrum(50, 1e6)) },
  { name: 'κ = 1e6, tall', rows: 80, columns: 24, make: () => withSpectrum(seeded(2), 80, 24, spectrum(24, 1e6)) },
  { name: 'rank 5', rows: 40, columns: 30, make: () => withSpectrum(seeded(3), 40, 30, spectrum(5, 10)) },
  { name: 'zero', rows: 12, columns: 17, make: () => new Float64Array(12 * 17) },
  { name: 'identity', rows: 15, columns: 15, make: () => identity(15).data },
  { name: 'all ones', rows: 9, columns: 14, make: () => new Float64Array(9 * 14).fill(1) },
  { name: 'a negative number', rows: 1, columns: 1, make: () => [-2.5] },
  // If entries of u are equal to the last bit, the first one is positive.
  { name: 'equal entries, 3 × 1', rows: 3, columns: 1, make: () => [0, 1, -1] },
  { name: 'equal entries, 2 × 2', rows: 2, columns: 2, make: () => [3, 0, -3, 0] },
  {
    name: 'equal entries, 8 × 2',
    rows: 8,
    columns: 2,
    make: () => [1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1],
  },
  {
    name: 'one entry',
    rows: 6,
    columns: 5,
    make: () => Float64Array.from({ length: 30 }, (_, i) => (i === 13 ? -3 : 0)),
  },
];

for (const dtype of dtypes) {
  t.test(`one matrix, ${dtype}`, async (t) => {
    for (const { name, rows, columns, make } of inputs) {
      await expectNoLeak(t, name, async () => {
        const a = real(make(dtype), [rows, columns], dtype);
        const before = snapshot(a);
        const result = await svd(a);
        const r = Math.min(rows, columns);
        t.same(
          [result.u.shape, result.s.shape, result.vt.shape],
          [[rows, r], [r], [r, columns]],
          `${name}: thin shapes`,
        );
        t.same([result.u.dtype, result.s.dtype, result.vt.dtype], [dtype, dtype, dtype], `${name}: keeps its type`);
        checkSvd(t, matrix(rows, columns, before), slice(result, rows, columns), dtype, name);
        assertSameBits(t, a, before, `${name}: the input is left alone`);
        disposeAll(a);
        disposeSvd(result);
      });
    }
  });

  t.test(`a stack, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'stack', async () => {
      for (const [b, m, n] of [
        [1, 6, 4],
        [5, 18, 23],
        [7, 23, 18],
        [9, 1, 1],
      ] as const) {
        const a = gaussian(seeded(b), [b, m, n], dtype);
        const result = await svd(a);
        const r = Math.min(m, n);
        t.same(
          [result.u.shape, result.s.shape, result.vt.shape],
          [
            [b, m, r],
            [b, r],
            [b, r, n],
          ],
          'the batch axis comes first',
        );
        const all = snapshot(a);
        for (let i = 0; i < b; i++) {
          const one = matrix(m, n, all.subarray(i * m * n, (i + 1) * m * n));
          checkSvd(t, one, slice(result, m, n, i), dtype, `stack [${b}, ${m}, ${n}], matrix ${i}`);
        }
        disposeAll(a);
        disposeSvd(result);
      }
    });
  });

  t.test(`a ragged list, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'list', async () => {
      const shapes = [
        [3, 40],
        [1, 1],
        [25, 25],
        [60, 2],
        [25, 25],
      ] as const;
      const list = shapes.map((shape, i) => gaussian(seeded(i), shape, dtype));
      const results = await svd(list);
      t.equal(results.length, shapes.length);
      shapes.forEach(([m, n], i) => {
        const result = item(results, i);
        t.same(
          [result.u.shape, result.vt.shape],
          [
            [m, Math.min(m, n)],
            [Math.min(m, n), n],
          ],
          `list entry ${i} has its own shape`,
        );
        checkSvd(t, matrix(m, n, snapshot(item(list, i))), slice(result, m, n), dtype, `list entry ${i}`);
      });
      disposeAll(...list);
      disposeSvd(...results);
    });
  });

  t.test(`rank, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'rank', async () => {
      const a = gaussian(seeded(4), [14, 10], dtype);
      const full = await svd(a);
      for (const rank of [1, 4, 10]) {
        const part = await svd(a, { rank });
        t.same([part.u.shape, part.s.shape, part.vt.shape], [[14, rank], [rank], [rank, 10]], `rank ${rank}: shapes`);
        const whole = slice(full, 14, 10);
        const leading = build(14, rank, (i, j) => at(whole.u.data, i * 10 + j));
        assertClose(t, part.u, leading.data, tolerances[dtype], `rank ${rank}: the leading columns of u`);
        assertClose(t, part.s, whole.s.subarray(0, rank), tolerances[dtype], `rank ${rank}: the largest σ`);
        assertClose(
          t,
          part.vt,
          whole.vt.data.subarray(0, rank * 10),
          tolerances[dtype],
          `rank ${rank}: the leading rows of vt`,
        );
        disposeSvd(part);
      }
      for (const rank of [0, -1, 11, 2.5, Number.NaN]) {
        await rejectsSigma(
          t,
          () => svd(a, { rank }),
          ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'],
          `rank ${rank}`,
          'rank',
          String(rank),
        );
      }
      disposeAll(a);
      disposeSvd(full);
    });
  });

  t.test(`NaN and Infinity, ${dtype}`, async (t) => {
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      for (const where of [0, 13, 29]) {
        await expectNoLeak(t, `${bad} at ${where}`, async () => {
          const data = seeded(6).normals(30);
          data[where] = bad;
          const a = real(data, [5, 6], dtype);
          const before = snapshot(a);
          await rejectsSigma(t, () => svd(a), 'NON_FINITE', `${bad} at ${where}`);
          assertSameBits(t, a, before, 'the input is left alone');
          const good = gaussian(seeded(7), [4, 4], dtype);
          await rejectsSigma(t, () => svd([good, a]), 'NON_FINITE', `${bad} in a list`);
          disposeAll(a, good);
        });
      }
    }
  });
}

t.test('drivers of a device', async (t) => {
  const a = gaussian(seeded(8), [22, 17], 'float32');
  const ofCpu = ['auto', 'gesdd', 'gesvd'] as const;
  const ofCuda = ['auto', 'gesvdj', 'gesvdp', 'gesvd', 'gram64'] as const;
  const [here, elsewhere] = cpuOnly ? [ofCuda, ofCpu] : [ofCpu, ofCuda];
  for (const driver of here) {
    const result = await svd(a, { driver });
    checkSvd(t, matrix(22, 17, snapshot(a)), slice(result, 22, 17), 'float32', driver);
    disposeSvd(result);
  }
  for (const driver of elsewhere) {
    if (!here.some((name) => name === driver))
      await rejectsSigma(t, () => svd(a, { driver }), 'UNSUPPORTED', driver, driver);
  }
  const unknown = { driver: 'qr' } as unknown as SvdOptions;
  await rejectsSigma(t, () => svd(a, unknown), 'INVALID_ARGUMENT', 'an unknown driver', 'driver', 'qr', 'gesdd');
  disposeAll(a);
});

t.test('progress', async (t) => {
  for (const count of [1, 2, 9]) {
    const list = Array.from({ length: count }, (_, i) => gaussian(seeded(i), [20, 20], 'float32'));
    const calls: [number, number][] = [];
    const results = await svd(list, { onProgress: (done, total) => calls.push([done, total]) });
    t.ok(calls.length > 0, `${count} matrices: reports`);
    t.ok(
      calls.every(([, total]) => total === item(calls, 0)[1]),
      'the total stays',
    );
    t.equal(item(calls, 0)[1], count, 'the total is the number of matrices');
    t.ok(
      calls.every(([done], i) => i === 0 || done > item(calls, i - 1)[0]),
      'done grows',
    );
    t.same(calls.at(-1), [count, count], 'ends at the total, before the promise is fulfilled');
    disposeAll(...list);
    disposeSvd(...results);
  }
  const stack = gaussian(seeded(1), [6, 8, 8], 'float64');
  let last: [number, number] | undefined;
  const result = await svd(stack, {
    onProgress: (done, total) => {
      last = [done, total];
    },
  });
  t.same(last, [6, 6], 'a stack counts its matrices');
  disposeAll(stack);
  disposeSvd(result);
});

t.test('abort', async (t) => {
  await expectNoLeak(t, 'abort', async () => {
    const list = Array.from({ length: 24 }, (_, i) => gaussian(seeded(i), [150, 150], 'float64'));
    const one = item(list, 0);
    await rejectsSigma(t, () => svd(one, { signal: AbortSignal.abort() }), 'ABORTED', 'already aborted');
    await rejectsSigma(t, () => svd(list, { signal: AbortSignal.abort() }), 'ABORTED', 'already aborted, a list');

    const atOnce = new AbortController();
    const promise = svd(list, { signal: atOnce.signal });
    atOnce.abort();
    await rejectsSigma(t, () => promise, 'ABORTED', 'aborted right after the call');

    const between = new AbortController();
    let reports = 0;
    const onProgress = (): void => {
      reports++;
      between.abort();
    };
    await rejectsSigma(
      t,
      () => svd(list, { signal: between.signal, onProgress }),
      'ABORTED',
      'aborted between matrices',
    );
    t.ok(reports < list.length, 'the remaining matrices are not computed');

    const never = new AbortController();
    const result = await svd(one, { signal: never.signal });
    checkSvd(t, matrix(150, 150, snapshot(one)), slice(result, 150, 150), 'float64', 'after aborted calls');
    t.equal(getEventListeners(never.signal, 'abort').length, 0, 'no listener stays on the signal');
    t.equal(getEventListeners(between.signal, 'abort').length, 0, 'no listener stays on an aborted signal');
    never.abort();
    disposeAll(...list);
    disposeSvd(result);
  });
});

t.test('svd refuses invalid arguments', async (t) => {
  const vector = gaussian(seeded(1), [6], 'float32');
  const cube = gaussian(seeded(1), [2, 2, 2, 2], 'float32');
  const single = gaussian(seeded(1), [3, 3], 'float32');
  const double = gaussian(seeded(1), [3, 3], 'float64');
  await rejectsSigma(t, () => svd(vector), 'SHAPE_MISMATCH', 'a vector', '[6]');
  await rejectsSigma(t, () => svd(cube), 'SHAPE_MISMATCH', 'four axes', '[2,2,2,2]');
  await rejectsSigma(t, () => svd([single, vector]), 'SHAPE_MISMATCH', 'a vector in a list', '[6]');
  await rejectsSigma(
    t,
    () => svd([single, double] as unknown as Tensor<Real>[]),
    'DTYPE_MISMATCH',
    'mixed types',
    'float32',
    'float64',
  );
  const integers = single.cast('int32') as unknown as Tensor<'float32'>;
  await rejectsSigma(t, () => svd(integers), 'DTYPE_MISMATCH', 'int32', 'int32', 'float32', 'float64');
  disposeAll(vector, cube, single, double, integers);
});

t.test('a bfloat16 matrix is decomposed in float32, on any device', async (t) => {
  // Small ones, and those that are copied in time slices.
  for (const shape of [
    [6, 4],
    [3, 900, 400],
    [1100, 960],
  ]) {
    await expectNoLeak(t, `${shape}`, async () => {
      const exact = gaussian(seeded(2), shape, 'float32');
      const narrow = exact.cast('bfloat16');
      const wide = narrow.cast('float32');
      const bits = snapshot(narrow);
      const [found, wanted] = [await svd(narrow), await svd(wide)];
      for (const name of ['u', 's', 'vt'] as const) {
        t.equal(found[name].dtype, 'float32', name);
        assertSameBits(t, found[name], wanted[name], `${shape}: ${name}`);
      }
      assertSameBits(t, narrow, bits, 'the matrix stays as it is');
      disposeAll(exact, narrow, wide);
      disposeSvd(found, wanted);
    });
  }
});

t.test('the error names the matrix with the NaN', async (t) => {
  const [good, bad, worse] = [0, 1, 2].map((i) => gaussian(seeded(i), [5, 6], 'float32')) as [
    Tensor<'float32'>,
    Tensor<'float32'>,
    Tensor<'float32'>,
  ];
  put(bad, 13, Number.NaN);
  put(worse, 0, Infinity);
  await rejectsSigma(t, () => svd([good, bad, worse]), 'NON_FINITE', 'a list', 'a[1]', 'NaN at row 2, column 1');
  await rejectsSigma(t, () => svd([good, good, worse]), 'NON_FINITE', 'a list', 'a[2]', 'Infinity at row 0, column 0');
  const stack = real([...snapshot(good), ...snapshot(bad)], [2, 5, 6], 'float32');
  await rejectsSigma(t, () => svd(stack), 'NON_FINITE', 'a stack', 'a[1]', 'NaN');
  disposeAll(good, bad, worse, stack);
});

t.test('abort during the last matrix', async (t) => {
  const a = gaussian(seeded(1), [40, 40], 'float64');
  const controller = new AbortController();
  const promise = svd(a, { signal: controller.signal });
  controller.abort('enough');
  await rejectsSigma(t, () => promise, 'ABORTED', 'no result comes after an abort');
  disposeAll(a);
});

t.test('onProgress is not called after a failure', async (t) => {
  const before = threads();
  // Two calls of one matrix each: the second ends after the first has failed.
  setThreads(2);
  const list = Array.from({ length: 6 }, (_, i) => gaussian(seeded(i), [120, 120], 'float64'));
  let reports = 0;
  const failure = new Error('of the caller');
  const onProgress = (): void => {
    reports++;
    throw failure;
  };
  const outcome = await svd(list, { onProgress }).catch((error: unknown) => error);
  setThreads(before);
  t.equal(outcome, failure);
  t.equal(reports, 1);
  disposeAll(...list);
});

t.test('matrices for which the accuracy probe is hard', async (t) => {
  const long = sized(1e5, 1e4);
  const cases: [string, Tensor<Real>, number][] = [
    ['long ones', real(new Float32Array(2 * long).fill(1), [long, 2], 'float32'), Math.sqrt(2 * long)],
    ['long ones, float64', real(new Float64Array(2 * long).fill(1), [long, 2], 'float64'), Math.sqrt(2 * long)],
    ['square ones', real(new Float64Array(9e4).fill(1), [300, 300], 'float64'), 300],
    ['denormal', real([1e-42, 1e-42], [2, 1], 'float32'), Math.SQRT2 * 1e-42],
    ['denormal, float64', real([3e-311, 4e-311], [1, 2], 'float64'), 5e-311],
    ['large', real([2e38, 0, 0, 2e38], [2, 2], 'float32'), 2e38],
  ];
  for (const [label, a, first] of cases) {
    const { u, s, vt } = await svd(a);
    t.ok(Math.abs(at(s.dataSync(), 0) / first - 1) < 1e-3, `${label}: ${s.dataSync()[0]} for ${first}`);
    t.ok(
      [u, s, vt].every((each) => each.dataSync().every(Number.isFinite)),
      `${label}: finite`,
    );
    disposeAll(a, u, s, vt);
  }
  const large = real(new Float32Array(4).fill(3.4e38), [2, 2], 'float32');
  await rejectsSigma(t, () => svd(large), 'NOT_CONVERGED', 'σ beyond float32', 'a', 'too large');
  large.dispose();
});

const namedDrivers = cpuOnly ? (['auto'] as const) : (['auto', 'gesdd', 'gesvd'] as const);

t.test('a long matrix of similar numbers is as accurate as a short matrix', async (t) => {
  const long = sized(1000, 50);
  for (const [m, n] of [
    [40 * long, 5],
    [5, 40 * long],
    [30 * long, 2],
    [20 * long, 1],
    [9 * long, 40],
    [70, 20 * long],
  ] as const) {
    for (const dtype of dtypes) {
      const numbers = seeded(m + n).normals(m * n, 1e-3);
      for (const [kind, value] of [
        ['around 1', (i: number) => 1 + at(numbers, i)],
        ['constant columns', (i: number) => 0.1 * (1 + (i % n))],
      ] as const) {
        const a = real(
          Float64Array.from(numbers, (_, i) => value(i)),
          [m, n],
          dtype,
        );
        for (const driver of namedDrivers) {
          const result = await svd(a, { driver });
          checkLong(t, snapshot(a), result, m, n, dtype, `${kind}, ${m} × ${n}, ${dtype}, ${driver}`);
          disposeSvd(result);
        }
        a.dispose();
      }
    }
  }
});

/** Checks the contract of `svd` for a matrix with one long side. Sums are blocked, to limit their own rounding. */
function checkLong(
  t: Check,
  a: Float64Array,
  { u, s, vt }: Svd,
  m: number,
  n: number,
  dtype: Real,
  label: string,
): void {
  const { residual, orthogonality, sigma } = svdAccuracy[dtype];
  const r = Math.min(m, n);
  const [left, values, right] = [snapshot(u), snapshot(s), snapshot(vt)];
  const blocked = (count: number, term: (i: number) => number): number => {
    let sum = 0;
    for (let begin = 0; begin < count; begin += 256) {
      let part = 0;
      for (let i = begin; i < Math.min(count, begin + 256); i++) part += term(i);
      sum += part;
    }
    return sum;
  };
  const off = (p: number): number => {
    const [i, j] = [Math.floor(p / n), p % n];
    let value = -at(a, p);
    for (let k = 0; k < r; k++) value += at(left, i * r + k) * at(values, k) * at(right, k * n + j);
    return value ** 2;
  };
  const size = Math.sqrt(blocked(m * n, (p) => at(a, p) ** 2));
  const wrong = Math.sqrt(blocked(m * n, off)) / size;
  t.ok(wrong <= residual, `${label}: ‖A − U S Vᵀ‖/‖A‖ is ${wrong}`);
  const total = Math.sqrt(blocked(r, (k) => at(values, k) ** 2)) / size - 1;
  t.ok(Math.abs(total) <= sigma, `${label}: ‖σ‖ is off by ${total}`);
  let worst = 0;
  for (let k = 0; k < r; k++) {
    for (let l = k; l < r; l++) {
      const inU = blocked(m, (i) => at(left, i * r + k) * at(left, i * r + l)) - Number(k === l);
      const inV = blocked(n, (j) => at(right, k * n + j) * at(right, l * n + j)) - Number(k === l);
      worst = Math.max(worst, Math.abs(inU), Math.abs(inV));
    }
  }
  t.ok(worst <= orthogonality, `${label}: max|UᵀU − I|, |VᵀV − I| is ${worst}`);
}

t.test('a driver selected by name scales and checks like auto', async (t) => {
  for (const driver of namedDrivers) {
    for (const [numbers, dtype] of [
      [[3e38, 3e38, 3e38, -3e38], 'float32'],
      [[1.5e308, 1.5e308, 1.5e308, -1.5e308], 'float64'],
    ] as const) {
      const beyond = real(numbers, [2, 2], dtype);
      await rejectsSigma(
        t,
        () => svd(beyond, { driver }),
        'NOT_CONVERGED',
        `${driver}, ${dtype}: σ beyond the type`,
        'a',
        'too large',
      );
      beyond.dispose();
    }
    for (const [scale, dtype] of [
      [1e37, 'float32'],
      [1e-37, 'float32'],
      [1e-40, 'float32'],
      [1e306, 'float64'],
      [1e-306, 'float64'],
      [1e-310, 'float64'],
    ] as const) {
      for (const [m, n] of [
        [2, 2],
        [30, 31],
        [600, 3],
      ] as const) {
        // Rank one with entries scale / √(m n): the only singular value is `scale`, to rounding.
        const a = real(new Float64Array(m * n).fill(scale / Math.sqrt(m * n)), [m, n], dtype);
        const result = await svd(a, { driver });
        const least = dtype === 'float32' ? 2 ** -149 : 2 ** -1074;
        const error = Math.abs(at(snapshot(result.s), 0) - scale);
        t.ok(
          error <= 2e-6 * scale + m * n * least,
          `${driver}, ${m} × ${n} of σ = ${scale}, ${dtype}: off by ${error}`,
        );
        t.ok(snapshot(result.u).every(Number.isFinite) && snapshot(result.vt).every(Number.isFinite), 'finite vectors');
        disposeSvd(result);
        a.dispose();
      }
    }
  }
});

t.test('rounding does not decide the sign if the largest entries are equal', async (t) => {
  // Second differences: the entries of u are sin(i k π / (n + 1)), several of which are largest.
  const n = 20;
  const differences = build(n, n, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0));
  const signs: string[] = [];
  for (const dtype of dtypes) {
    for (const driver of namedDrivers) {
      const a = real(differences.data, [n, n], dtype);
      const result = await svd(a, { driver });
      const u = matrix(n, n, snapshot(result.u));
      for (let j = 0; j < n; j++) {
        const column = Array.from({ length: n }, (_, i) => at(u.data, i * n + j));
        const largest = Math.max(...column.map(Math.abs));
        const first = column.find((value) => Math.abs(value) >= largest * (1 - 1e-4)) ?? 0;
        t.ok(first > 0, `${dtype}, ${driver}: the first of the equal largest entries of column ${j}`);
      }
      signs.push(u.data.map(Math.sign).slice(0, n).join());
      disposeSvd(result);
      a.dispose();
    }
  }
  t.equal(new Set(signs).size, 1, 'types and drivers agree');
});

t.test('a stack of many small matrices leaves the event loop free between slices', async (t) => {
  const count = sized(20000, 2000);
  const stack = real(new Float64Array(count).fill(2), [count, 1, 1], 'float32');
  let reports = 0;
  const result = await svd(stack, { onProgress: () => reports++ });
  t.ok(cpuOnly || reports >= count / 256, `${reports} native calls, each prepared in a turn of its own`);
  t.ok(
    snapshot(result.s).every((value) => value === 2),
    'all of them are right',
  );
  disposeSvd(result);
  stack.dispose();
});

t.test('a large matrix is copied in slices', async (t) => {
  const a = gaussian(seeded(5), [1100, 1000], 'float32');
  let turns = 0;
  let waiting = true;
  const count = (): void => {
    turns++;
    if (waiting) setImmediate(count);
  };
  setImmediate(count);
  const promise = svd(a, { rank: 1 });
  a.dispose();
  const result = await promise;
  waiting = false;
  t.ok(turns > 2, 'the event loop turns meanwhile');
  t.equal(result.s.size, 1, 'a tensor that is disposed meanwhile is decomposed');
  disposeSvd(result);
});

t.test('a list with one invalid matrix', async (t) => {
  const [large, small] = [gaussian(seeded(1), [4, 4], 'float32'), gaussian(seeded(2), [2, 2], 'float32')];
  await expectNoLeak(t, 'refused', () =>
    rejectsSigma(t, () => svd([large, small], { rank: 3 }), 'INVALID_ARGUMENT', 'rank', 'rank', '2', '3'),
  );
  disposeAll(large, small);
});
