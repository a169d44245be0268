/** `out`: the result goes into the caller's tensor. */
import { matmul, memory, SparsityPattern, sddmm, spmm, Tensor, tidy, zeros } from 'sigmatune';
import t from 'tap';
import {
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  seeded,
  throwsSigma,
} from '../support/helpers.js';

const random = seeded(4);
const pattern = SparsityPattern.banded(6, 1);
const [a, b, values] = [
  gaussian(random, [6, 5], 'float64'),
  gaussian(random, [6, 5], 'float64'),
  gaussian(random, [16], 'float64'),
];

const operations = {
  matmul: (out?: Tensor) => matmul(a, b, { transposeA: true, ...(out && { out }) }),
  spmm: (out?: Tensor) => spmm(pattern, values, a, out && { out }),
  'spmm, transposed': (out?: Tensor) => spmm(pattern, values, a, { transpose: true, ...(out && { out }) }),
  sddmm: (out?: Tensor) => sddmm(pattern, a, b, out && { out }),
};

for (const [name, run] of Object.entries(operations)) {
  t.test(name, async (t) => {
    await expectNoLeak(t, name, () => {
      const usual = run();
      const out = zeros(usual.shape as readonly number[], { dtype: 'float64' });
      fill(out, Number.NaN);
      const before = memory();
      const found = tidy(() => run(out));
      t.equal(found, out, 'is what comes back');
      t.same(memory(), before, 'nothing is allocated');
      assertSameBits(t, out, usual, 'has the same bits');

      const refused = (wrong: unknown, code: 'SHAPE_MISMATCH' | 'DTYPE_MISMATCH' | 'INVALID_ARGUMENT' | 'DISPOSED') =>
        throwsSigma(t, () => run(wrong as Tensor), code, code, 'options.out');
      const [larger, single] = [zeros([7, 7], { dtype: 'float64' }), zeros(usual.shape as readonly number[])];
      refused(larger, 'SHAPE_MISMATCH');
      refused(single, 'DTYPE_MISMATCH');
      refused(new Float64Array(3), 'INVALID_ARGUMENT');
      disposeAll(usual, out, larger, single);
      refused(out, 'DISPOSED');
    });
  });
}

t.test('out that overlaps an operand is refused', { skip: cpuOnly }, async (t) => {
  const buffer = new Float64Array(60);
  const left = Tensor.wrap(buffer.subarray(0, 36), [6, 6]);
  const into = Tensor.wrap(buffer.subarray(24, 60), [6, 6]);
  const apart = Tensor.wrap(buffer.subarray(36, 60), [6, 4]);
  throwsSigma(t, () => matmul(left, left, { out: left }), 'INVALID_ARGUMENT', 'the operand itself', 'options.out');
  throwsSigma(t, () => matmul(left, left, { out: into }), 'INVALID_ARGUMENT', 'a part of it', 'options.out');
  throwsSigma(t, () => spmm(pattern, values, left, { out: into }), 'INVALID_ARGUMENT', 'of spmm', 'options.out');
  const right = gaussian(random, [6, 4], 'float64');
  t.equal(matmul(left, right, { out: apart }), apart, 'the rest of one buffer is taken');
  disposeAll(left, into, apart, right);
});
