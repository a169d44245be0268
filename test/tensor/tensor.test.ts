import { type DType, matmul, memory, Tensor, type TensorOptions, tensor, zeros } from 'sigmatune';
import t from 'tap';
import {
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  rejectsSigma,
  seeded,
  throwsSigma,
} from '../support/helpers.js';

t.test('wrap takes the array as its own memory', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'wrap', async () => {
    for (const array of [
      new Float32Array([1, 2, 3, 4, 5, 6]),
      new Float64Array([1, 2, 3, 4, 5, 6]),
      new Int32Array([1, 2, 3, 4, 5, 6]),
    ]) {
      const wrapped = Tensor.wrap(array, [2, 3]);
      t.same([wrapped.shape, wrapped.size, wrapped.device, wrapped.disposed], [[2, 3], 6, 'cpu', false]);
      t.equal(
        wrapped.dtype,
        array instanceof Float32Array ? 'float32' : array instanceof Float64Array ? 'float64' : 'int32',
      );
      array[4] = 50;
      t.equal(wrapped.dataSync()[4], 50, 'a write to the array shows in the tensor');
      wrapped.dataSync()[0] = -1;
      t.equal(array[0], -1, 'a write to the tensor shows in the array');
      t.equal((await wrapped.data()).buffer, array.buffer, 'data() is the same memory');
      wrapped.dispose();
      t.equal(array[4], 50, "disposing leaves the caller's array alone");
    }
  });
  const part = new Float32Array(new Float32Array([0, 1, 2, 3, 4, 5]).buffer, 8, 3);
  const wrapped = Tensor.wrap(part, [3]);
  t.same([...wrapped.dataSync()], [2, 3, 4], 'a part of a buffer');
  wrapped.dispose();
});

t.test('tensor copies', async (t) => {
  await expectNoLeak(t, 'tensor', () => {
    const source = new Float64Array([1, 2, 3, 4]);
    const made = tensor(source, [2, 2]);
    t.equal(made.dtype, 'float64', 'the type follows a typed array');
    source[0] = 9;
    t.equal(made.dataSync()[0], 1, 'a copy');
    disposeAll(made);

    for (const [data, shape] of [
      [[1, 2, 3], [3]],
      [
        [
          [1, 2, 3],
          [4, 5, 6],
        ],
        [2, 3],
      ],
      [
        [
          [[1], [2]],
          [[3], [4]],
        ],
        [2, 2, 1],
      ],
      [
        [new Float32Array([1, 2]), [3, 4]],
        [2, 2],
      ],
    ] as [readonly unknown[], readonly number[]][]) {
      const nested = tensor(data);
      t.same(nested.shape, shape, `nested arrays give the shape ${shape}`);
      t.equal(nested.dtype, 'float32', 'float32 by default');
      t.same(
        [...nested.dataSync()],
        Array.from({ length: nested.size }, (_, i) => i + 1),
        'row by row',
      );
      nested.dispose();
    }
    const ints = tensor(new Int32Array([1, -2]), [2]);
    t.equal(ints.dtype, 'int32');
    const cast = tensor(new Float64Array([0.1]), [1], { dtype: 'float32' });
    t.equal(cast.dataSync()[0], Math.fround(0.1), 'another type is rounded to');
    const flat = tensor([1, 2, 3, 4, 5, 6], [3, 2], { dtype: 'float64' });
    t.same([flat.shape, flat.dtype, [...flat.dataSync()]], [[3, 2], 'float64', [1, 2, 3, 4, 5, 6]]);
    const bytes = tensor(new Uint8Array([200, 3]), [2]);
    t.same([bytes.dtype, [...bytes.dataSync()]], ['float32', [200, 3]], 'an array of another kind becomes float32');
    disposeAll(ints, cast, flat, bytes);
  });
});

t.test('zeros', async (t) => {
  const kinds: [DType, new () => ArrayLike<number>][] = [
    ['float32', Float32Array],
    ['float64', Float64Array],
    ['int32', Int32Array],
    ['bfloat16', Uint16Array],
  ];
  if (cpuOnly === false) kinds.push(['float16', Uint16Array]); // devices do not have it
  for (const [dtype, kind] of kinds) {
    const made = zeros([2, 1, 3], { dtype });
    t.same([made.shape, made.size, made.dtype], [[2, 1, 3], 6, dtype]);
    t.ok(made.dataSync() instanceof kind, `${dtype} is held in its own kind of array`);
    t.ok(made.dataSync().every((value) => value === 0));
    made.dispose();
  }
  const plain = zeros([4]);
  t.equal(plain.dtype, 'float32', 'float32 by default');
  plain.dispose();
});

t.test('reshape', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'reshape', () => {
    const flat = tensor([1, 2, 3, 4, 5, 6], [6]);
    const grid = flat.reshape([2, 3]);
    t.same([grid.shape, grid.size, grid.dtype, flat.shape], [[2, 3], 6, 'float32', [6]], 'a new handle');
    grid.dataSync()[5] = 60;
    t.equal(flat.dataSync()[5], 60, 'on the same memory');
    throwsSigma(t, () => flat.reshape([4, 2]), 'SHAPE_MISMATCH', 'another size', 'shape', '[4,2]', '6');
    flat.dispose();
    t.equal(grid.dataSync()[5], 60, 'and outlives the first');
    grid.dispose();
  });
});

t.test('to', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'to', async () => {
    const first = tensor([1, 2], [2]);
    const second = await first.to('cpu');
    t.not(second, first, 'a new handle');
    second.dataSync()[0] = 5;
    t.equal(first.dataSync()[0], 5, 'on the same memory');
    first.dispose();
    t.same([...second.dataSync()], [5, 2], 'and outlives the first');
    second.dispose();
  });
});

t.test('dispose', async (t) => {
  const gone = tensor([1, 2], [2]);
  t.equal(gone.disposed, false);
  gone.dispose();
  gone.dispose();
  gone[Symbol.dispose]();
  t.equal(gone.disposed, true, 'as often as one likes');
  t.same([gone.shape, gone.dtype, gone.size], [[2], 'float32', 2], 'what it was is still known');
  throwsSigma(t, () => gone.dataSync(), 'DISPOSED', 'dataSync');
  throwsSigma(t, () => gone.cast('float64'), 'DISPOSED', 'cast');
  throwsSigma(t, () => gone.reshape([1, 2]), 'DISPOSED', 'reshape');
  await rejectsSigma(t, () => gone.data(), 'DISPOSED', 'data');
  await rejectsSigma(t, () => gone.to('cpu'), 'DISPOSED', 'to');
  let inside: Tensor | undefined;
  {
    using scoped = tensor([1], [1]);
    inside = scoped;
  }
  t.ok(inside.disposed, 'using disposes at the end of the block');
});

t.test('memory', { skip: cpuOnly }, async (t) => {
  const before = memory();
  const first = zeros([10, 10], { dtype: 'float64' });
  const second = tensor(new Float32Array(7), [7]);
  const during = memory();
  t.equal(during.tensors - before.tensors, 2, 'counts tensors');
  t.equal((during.bytes['cpu'] ?? 0) - (before.bytes['cpu'] ?? 0), 800 + 28, 'and their bytes, by device');
  disposeAll(first);
  t.equal((memory().bytes['cpu'] ?? 0) - (before.bytes['cpu'] ?? 0), 28);
  disposeAll(first, second);
  t.same(memory(), before, 'and is back where it was');
});

t.test('properties of a tensor cannot change', async (t) => {
  const shape = [2, 2];
  const own = zeros(shape);
  shape[0] = 50;
  t.same(own.shape, [2, 2], "the caller's shape is copied");
  try {
    (own.shape as number[])[0] = 1000;
  } catch {
    // A frozen object throws, or ignores the write.
  }
  t.same(own.shape, [2, 2], "the tensor's shape cannot be written");
  own.dispose();
});

t.test('a tensor with a forged size cannot reach other memory', async (t) => {
  const liar = zeros([2, 2]);
  try {
    Object.assign(liar, { shape: [3000, 3000], size: 9_000_000 });
  } catch {
    // Frozen.
  }
  try {
    const product = matmul(liar, liar);
    t.same(product.dataSync().length, 4, 'the lie is ignored');
    product.dispose();
  } catch (error) {
    t.match(error, { name: 'SigmaError', code: /INVALID_ARGUMENT|SHAPE_MISMATCH/ }, 'the lie is noticed');
  }
  liar.dispose();
});

t.test('tensors refuse invalid data', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'failed calls', () => {
    const loose = tensor as (data: unknown, shape?: unknown, options?: unknown) => Tensor;
    const wrap = Tensor.wrap as (memory: unknown, shape: unknown) => Tensor;
    const lengths = ['SHAPE_MISMATCH', 'INVALID_ARGUMENT'] as const;
    throwsSigma(t, () => loose([1, 2, 3], [2, 2]), lengths, 'too few numbers', '3', '[2,2]');
    throwsSigma(t, () => wrap(new Float32Array(5), [2, 3]), lengths, 'too short an array', '5', '6');
    throwsSigma(t, () => loose([[1, 2], [3]]), lengths, 'ragged rows');
    throwsSigma(t, () => loose([[1, 2], 3]), lengths, 'mixed depths');
    throwsSigma(
      t,
      () =>
        loose(
          [
            [1, 2],
            [3, 4],
          ],
          [3, 2],
        ),
      lengths,
      'nested arrays that contradict the shape',
    );
    for (const bad of [[0], [2, 0], [-1], [1.5], [Number.NaN], ['2'], [2 ** 40, 2 ** 40]]) {
      throwsSigma(t, () => zeros(bad as number[]), 'INVALID_ARGUMENT', `shape [${bad}]`, 'shape');
      throwsSigma(t, () => loose([1], bad), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'], `tensor of shape [${bad}]`);
      throwsSigma(
        t,
        () => wrap(new Float32Array(1), bad),
        ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'],
        `wrap of shape [${bad}]`,
      );
    }
    throwsSigma(t, () => loose([], [0]), 'INVALID_ARGUMENT', 'no numbers');
    throwsSigma(t, () => loose([]), 'INVALID_ARGUMENT', 'an empty list');
    throwsSigma(t, () => loose([1, 'two', 3]), 'INVALID_ARGUMENT', 'a string', 'data', 'two');
    throwsSigma(t, () => loose([1, undefined]), 'INVALID_ARGUMENT', 'a hole', 'data');
    for (const bad of [
      undefined,
      null,
      5,
      'abc',
      {},
      () => 1,
      new BigInt64Array(1),
      new DataView(new ArrayBuffer(4)),
    ]) {
      throwsSigma(t, () => loose(bad, [1]), 'INVALID_ARGUMENT', `data ${String(bad)}`, 'data');
    }
    for (const bad of [
      undefined,
      null,
      5,
      'x',
      [1, 2],
      new Uint8Array(4),
      new DataView(new ArrayBuffer(4)),
      new ArrayBuffer(4),
    ]) {
      throwsSigma(t, () => wrap(bad, [1]), 'INVALID_ARGUMENT', `wrap ${String(bad)}`, 'memory');
    }
    for (const bad of [undefined, null, 5, 'x', {}]) {
      throwsSigma(t, () => zeros(bad as unknown as number[]), 'INVALID_ARGUMENT', `zeros(${String(bad)})`, 'shape');
    }
    throwsSigma(
      t,
      () => zeros([1], { dtype: 'float8' } as unknown as TensorOptions),
      'INVALID_ARGUMENT',
      'an unknown type',
      'dtype',
      'float8',
      'float32',
    );
    throwsSigma(
      t,
      () => zeros([1], { device: 'tpu' } as unknown as TensorOptions),
      'INVALID_ARGUMENT',
      'an unknown device',
      'device',
      'tpu',
    );
    throwsSigma(
      t,
      () => zeros([1], 'float32' as unknown as TensorOptions),
      'INVALID_ARGUMENT',
      'options that are none',
      'options',
    );
    const one = zeros([1]);
    throwsSigma(
      t,
      () => one.cast('int4' as unknown as 'int32'),
      'INVALID_ARGUMENT',
      'a cast to an unknown type',
      'dtype',
      'int4',
    );
    throwsSigma(
      t,
      () => one.reshape([0] as unknown as [1]),
      ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'],
      'reshape to nothing',
      'shape',
    );
    one.dispose();
  });
});

t.test('random numbers survive every way to make a tensor', async (t) => {
  const numbers = [...seeded(1).normals(24)];
  const nested = [0, 1].map((i) => [0, 1, 2].map((j) => numbers.slice(i * 12 + j * 4, i * 12 + j * 4 + 4)));
  const ways = [
    tensor(numbers, [2, 3, 4], { dtype: 'float64' }),
    tensor(nested, undefined, { dtype: 'float64' }),
    tensor(Float64Array.from(numbers), [2, 3, 4]),
    Tensor.wrap(Float64Array.from(numbers), [2, 3, 4]),
  ];
  for (const way of ways) assertSameBits(t, way, numbers, 'the same bits');
  disposeAll(...ways);
});

t.test('assign', async (t) => {
  const [single, double] = [zeros([2, 2]), zeros([3], { dtype: 'float64' })];
  const [half, whole] = [zeros([2], { dtype: 'bfloat16' }), zeros([2], { dtype: 'int32' })];
  single.assign([1, 2, 3, 0.1]);
  t.same([...single.dataSync()], [1, 2, 3, Math.fround(0.1)], 'rounded to the type');
  double.assign(Float32Array.of(1, -0, Number.NaN));
  t.same([...double.dataSync()], [1, -0, Number.NaN], 'from another type');
  half.assign([1, -2]);
  t.same([...half.dataSync()], [0x3f80, 0xc000], 'numbers are rounded to bfloat16');
  half.assign(Uint16Array.of(7, 8));
  t.same([...half.dataSync()], [7, 8], 'bits stay bits');
  whole.assign([1.9, -1.9]);
  t.same([...whole.dataSync()], [1, -1], 'truncated');
  const view = single.reshape([4]);
  view.assign([5, 6, 7, 8]);
  t.same([...single.dataSync()], [5, 6, 7, 8], 'seen by all who share the memory');
  throwsSigma(t, () => single.assign([1, 2]), 'SHAPE_MISMATCH', 'too few', 'data', '4', '2');
  for (const bad of [5, null, undefined, {}, new BigInt64Array(4), ['1', 2, 3, 4]] as unknown as number[][]) {
    throwsSigma(t, () => single.assign(bad), 'INVALID_ARGUMENT', `${bad}`, 'data');
  }
  t.same([...single.dataSync()], [5, 6, 7, 8], 'a refused call writes nothing');
  disposeAll(single, view, double, half, whole);
  throwsSigma(t, () => view.assign([1, 2, 3, 4]), 'DISPOSED', 'after dispose');
});
