/** float16: the numbers of all bits, rounding, arrays that hold it, and files. */
import { join } from 'node:path';
import {
  adaptModel,
  decompose,
  matmul,
  openSafetensors,
  readSafetensors,
  svft,
  Tensor,
  tensor,
  toLike,
  vectorFit,
  writeSafetensors,
  zeros,
} from 'sigmatune';
import t from 'tap';
import {
  assertClose,
  assertSameBits,
  cpuOnly,
  disposeAll,
  gaussian,
  numberOfHalf,
  rejectsSigma,
  seeded,
  throwsSigma,
  values,
} from '../support/helpers.js';

const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
const isNaN16 = (bits: number) => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;

/** Numbers in an array that native code casts, or one by one, which JavaScript does. */
const ways = [
  ['native', (numbers: Float32Array | Float64Array | Uint16Array) => [numbers]],
  [
    'JavaScript',
    (numbers: Float32Array | Float64Array | Uint16Array) =>
      Array.from({ length: Math.ceil(numbers.length / 60) }, (_, i) => numbers.slice(60 * i, 60 * (i + 1))),
  ],
] as const;

t.test('float16', { skip: cpuOnly }, async (t) => {
  for (const [name, parts] of ways) {
    t.test(`every float16, ${name}`, async (t) => {
      for (const dtype of ['float32', 'float64', 'bfloat16'] as const) {
        const wrong: number[] = [];
        for (const part of parts(all)) {
          using bits = tensor(part, [part.length], { dtype: 'float16' });
          using wide = bits.cast(dtype);
          using back = wide.cast('float16');
          const [found, again] = [values(wide), back.dataSync()];
          for (const [i, half] of part.entries()) {
            const exact = numberOfHalf(half);
            const near = dtype === 'bfloat16' ? values(tensor([exact], [1], { dtype }))[0] : exact;
            const returns = isNaN16(half) ? isNaN16(again[i] as number) : dtype === 'bfloat16' || again[i] === half;
            if (!Object.is(found[i], near) || !returns) wrong.push(half);
          }
        }
        t.same(wrong.slice(0, 9), [], dtype);
      }
    });

    t.test(`rounds to nearest, ties to even, ${name}`, async (t) => {
      // Half-way between neighbours, and a little to either side, up to the threshold of infinity.
      const numbers: number[] = [];
      const wanted: number[] = [];
      for (let half = 0; half < 0x7c00; half++) {
        const [low, high] = [numberOfHalf(half), half === 0x7bff ? 65536 : numberOfHalf(half + 1)];
        const middle = (low + high) / 2;
        numbers.push(middle, middle * (1 + 2 ** -22), middle * (1 - 2 ** -22), -middle);
        const even = half % 2 === 0 ? half : half + 1;
        wanted.push(even, half + 1, half, even | 0x8000);
      }
      numbers.push(2 ** -26, 65519.996, 1e30, Infinity);
      wanted.push(0, 0x7bff, 0x7c00, 0x7c00);
      for (const Kind of [Float32Array, Float64Array]) {
        let first = 0;
        const wrong: unknown[] = [];
        for (const part of parts(Kind.from(numbers))) {
          using given = Tensor.wrap(part as Float32Array, [part.length]);
          using halves = given.cast('float16');
          for (const [i, half] of halves.dataSync().entries()) {
            if (half !== wanted[first + i]) wrong.push([numbers[first + i], half, wanted[first + i]]);
          }
          first += part.length;
        }
        t.same(wrong.slice(0, 5), [], Kind.name);
      }
      // Of two roundings the first would make a tie.
      const doubles = Float64Array.from({ length: 64 }, () => 1 + 2 ** -11 + 2 ** -40);
      for (const part of parts(doubles)) {
        using halves = tensor(part, [part.length], { dtype: 'float16' });
        t.ok(halves.dataSync().every((half) => half === 0x3c01));
      }
    });
  }

  t.test('arrays', async (t) => {
    using bits = tensor(Uint16Array.of(0x3c00, 0xc000, 1), [3], { dtype: 'float16' });
    t.same(
      [bits.dtype, Array.from(values(bits))],
      ['float16', [1, -2, 2 ** -24]],
      'a Uint16Array given as float16 is bits',
    );
    t.match(String(bits), 'float16 on cpu: 1, -2, 5.96e-8');
    using rounded = tensor([1, 65520, 1 / 3], [3], { dtype: 'float16' });
    t.same([...rounded.dataSync()], [0x3c00, 0x7c00, 0x3555], 'other numbers are rounded');
    rounded.assign(Uint16Array.of(7, 8, 9));
    t.same([...rounded.dataSync()], [7, 8, 9]);
    rounded.dataSync()[0] = 0x3c00;
    t.equal(values(rounded)[0], 1, 'data() is live memory');
    using none = zeros([2], { dtype: 'float16' });
    t.same([...none.dataSync()], [0, 0]);
    using whole = tensor([1.5, -2.5], [2], { dtype: 'float16' }).cast('int32');
    t.same([...whole.dataSync()], [1, -2]);

    const weight = gaussian(seeded(1), [6, 4], 'float32').cast('float16');
    const x = gaussian(seeded(2), [3, 4], 'float32').cast('float16');
    const layer = await svft(weight as Tensor<'float16'>);
    const y = layer.apply(x);
    t.same([layer.factors.u.dtype, layer.factors.s.dtype, y.dtype], ['float16', 'float32', 'float16']);
    const views = [
      { data: x.dataSync(), shape: [3, 4], dtype: 'float16' },
      { data: x.dataSync(), dims: [3, 4], type: 'float16' },
    ];
    const Half = Reflect.get(globalThis, 'Float16Array') as
      | (new (
          buffer: ArrayBufferLike,
          at: number,
          length: number,
        ) => never)
      | undefined;
    if (Half !== undefined) {
      const { buffer, byteOffset, length } = x.dataSync();
      views.push({ data: new Half(buffer, byteOffset, length), shape: [3, 4] } as never);
      using made = tensor(new Half(buffer, byteOffset, length), [3, 4]);
      t.same([made.dtype, made.dataSync()], ['float16', x.dataSync()] as never, 'a Float16Array');
      using wide = tensor(new Half(buffer, byteOffset, length), [3, 4], { dtype: 'float32' });
      assertSameBits(t, wide, x.cast('float32'), 'its numbers in another type');
      using wrapped = Tensor.wrap(new Half(buffer, byteOffset, length) as never, [3, 4]) as Tensor;
      t.same([wrapped.dtype, wrapped.dataSync()], ['float16', x.dataSync()] as never, 'its own memory');
      t.equal(wrapped.dataSync().buffer, buffer, 'without a copy');
    }
    for (const view of views) assertSameBits(t, layer.apply(view), y, 'a view');
    class Like {
      readonly given: unknown[];
      constructor(...given: unknown[]) {
        this.given = given;
      }
    }
    t.same(toLike(y, Like).given, ['float16', y.dataSync(), [3, 6]], 'toLike');
    const bare = { data: x.dataSync(), shape: [3, 4] };
    throwsSigma(t, () => layer.apply(bare), 'DTYPE_MISMATCH', 'bare bits', 'bfloat16 or float16', '`dtype`', 'x.data');
    throwsSigma(t, () => layer.apply(x.cast('bfloat16')), 'DTYPE_MISMATCH', 'bfloat16', 'x', 'float16');
    const named = () => layer.apply({ ...bare, dtype: 'bfloat16' });
    throwsSigma(t, named, 'DTYPE_MISMATCH', 'bits of another type', 'float16', 'bfloat16');
    throwsSigma(t, () => matmul(x, weight.cast('bfloat16') as never), 'DTYPE_MISMATCH', 'mixed', 'b', 'float16');
    disposeAll(layer, y, x, weight);
  });

  t.test('factors and models', async (t) => {
    using weight = gaussian(seeded(3), [30, 20], 'float32');
    using factors = await decompose(weight, { storage: 'float16' });
    t.same([factors.storage, factors.s.dtype, factors.bytes], ['float16', 'float32', 2 * 20 * 50 + 4 * 20]);
    t.ok(factors.error.residual > 1e-5 && factors.error.residual < 1e-3, `residual ${factors.error.residual}`);
    using narrow = weight.cast('float16');
    using coded = await decompose(weight, { storage: 'int8' });
    const layer = await vectorFit(narrow, { factors: coded });
    const x = gaussian(seeded(4), [3, 20], 'float32');
    using half = x.cast('float16');
    const single = await vectorFit(weight, { factors: coded });
    using y = layer.apply(half);
    using wanted = single.apply(x);
    assertClose(t, y, values(wanted), { atol: 1e-2, rtol: 2 ** -9 }, 'int8 factors next to float16');
    const model = await adaptModel({ w: weight }, { targets: 'all', family: 'vectorfit', storage: 'float16' });
    t.equal([...model.layers.values()][0]?.factors.u.dtype, 'float16');
    disposeAll(layer, single, x, model);
  });

  t.test('files', async (t) => {
    const path = join(t.testdir({}), 'halves.safetensors');
    using bits = tensor(all, [256, 256], { dtype: 'float16' });
    await writeSafetensors(path, [['w', bits]]);
    const file = await openSafetensors(path);
    t.equal(file.info('w').dtype, 'F16');
    using same = await file.read('w', { dtype: 'float16' });
    t.same([same.dtype, same.dataSync()], ['float16', all] as never);
    using wide = await file.read('w');
    t.equal(wide.dtype, 'float32');
    using double = await file.read('w', { dtype: 'float64' });
    t.equal(double.dtype, 'float64');
    assertSameBits(t, double, Float64Array.from(values(wide)), 'another type');
    await rejectsSigma(t, () => file.read('w', { dtype: 'F16' } as never), 'INVALID_ARGUMENT', 'F16', 'options.dtype');
    await file.close();
    const { tensors } = await readSafetensors(path);
    t.equal(tensors.get('w')?.dtype, 'float32', 'widened as before');
    disposeAll(...tensors.values());
  });
});
