/** Conversions between dtypes. */
import { tensor } from 'sigmatune';
import t from 'tap';
import { assertSameBits, disposeAll, expectNoLeak } from '../support/helpers.js';

t.test('bfloat16 rounds to the nearest, ties to even', async (t) => {
  // Sign, 8 bits of exponent, 7 of fraction: 1 + 2⁻⁷ is the next number after 1.
  const pairs: [number, number][] = [
    [1, 0x3f80],
    [-2, 0xc000],
    [0, 0x0000],
    [-0, 0x8000],
    [1 + 2 ** -8, 0x3f80],
    [1 + 2 ** -8 + 2 ** -20, 0x3f81],
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -7, 0x3f81],
    [3.4e38, 0x7f80],
    [3.38e38, 0x7f7e],
    [Infinity, 0x7f80],
    [-Infinity, 0xff80],
    [2 ** -126, 0x0080],
    [2 ** -133, 0x0001],
    [2 ** -134, 0x0000],
    [2 ** -134 + 2 ** -140, 0x0001],
    [1e-45, 0x0000],
  ];
  for (const [value, bits] of pairs) {
    const rounded = tensor([value], [1], { dtype: 'bfloat16' });
    t.equal(rounded.dataSync()[0], bits, `${value} is 0x${bits.toString(16)}`);
    const single = tensor([value], [1]).cast('bfloat16');
    t.equal(single.dataSync()[0], bits, `${value}, cast from float32`);
    disposeAll(rounded, single);
  }
  // Just above a tie: rounding to float32 first would give the tie, which then rounds down.
  const above = tensor([1 + 2 ** -8 + 2 ** -40], [1], { dtype: 'float64' });
  const direct = tensor([1 + 2 ** -8 + 2 ** -40], [1], { dtype: 'bfloat16' });
  const cast = above.cast('bfloat16');
  t.same([direct.dataSync()[0], cast.dataSync()[0]], [0x3f81, 0x3f81], 'a float64 is rounded once');
  disposeAll(above, direct, cast);
  for (const nan of [
    new Float32Array(new Uint32Array([0x7f800001]).buffer),
    new Float32Array(new Uint32Array([0xffffffff]).buffer),
  ]) {
    const bits = tensor(nan, [1], { dtype: 'bfloat16' });
    const value = bits.dataSync()[0] ?? 0;
    t.ok((value & 0x7f80) === 0x7f80 && (value & 0x7f) !== 0, `NaN stays NaN: 0x${value.toString(16)}`);
    disposeAll(bits);
  }
  const given = tensor(new Uint16Array([0x3f80, 0x4049, 1]), [3], { dtype: 'bfloat16' });
  t.same([...given.dataSync()], [0x3f80, 0x4049, 1], 'a Uint16Array given as bfloat16 is bits');
  const wide = given.cast('float32');
  t.same([...wide.dataSync()], [1, 3.140625, 2 ** -133], 'and means those numbers');
  const plain = tensor(new Uint16Array([3]), [1]);
  t.same([plain.dtype, plain.dataSync()[0]], ['float32', 3], 'a Uint16Array given as anything else is numbers');
  disposeAll(given, wide, plain);
});

t.test('every bfloat16 survives the round trip through float32', async (t) => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const bits = tensor(all, [65536], { dtype: 'bfloat16' });
  const wide = bits.cast('float32');
  const back = wide.cast('bfloat16');
  const data = back.dataSync();
  const wrong = all.filter((value) => {
    const isNaN16 = (value & 0x7f80) === 0x7f80 && (value & 0x7f) !== 0;
    const found = data[value] ?? 0;
    return isNaN16 ? (found & 0x7f80) !== 0x7f80 || (found & 0x7f) === 0 : found !== value;
  });
  t.same([...wrong], []);
  disposeAll(bits, wide, back);
});

t.test('casts', async (t) => {
  await expectNoLeak(t, 'casts', () => {
    const double = tensor([0.1, -1e300, 2 ** -149, Number.NaN], [4], { dtype: 'float64' });
    const single = double.cast('float32');
    assertSameBits(t, single, [Math.fround(0.1), -Infinity, 2 ** -149, Number.NaN], 'float64 to float32');
    const again = single.cast('float64');
    assertSameBits(t, again, [Math.fround(0.1), -Infinity, 2 ** -149, Number.NaN], 'float32 to float64 is exact');
    const ints = tensor(new Int32Array([2 ** 31 - 1, -5]), [2]);
    const fromInts = ints.cast('float64');
    assertSameBits(t, fromInts, [2 ** 31 - 1, -5], 'int32 to float64');
    const own = double.cast('float64');
    own.dataSync()[0] = 7;
    t.equal(double.dataSync()[0], 0.1, 'a cast to the same type is a copy');
    t.same([own.shape, own.dtype], [[4], 'float64']);
    disposeAll(double, single, again, ints, fromInts, own);
  });
});
