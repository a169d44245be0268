import { checkBoolean, checkOptions, rejectInstance } from '../runtime/check.js';
import { native } from '../runtime/native.js';
import { type DType, type MatrixDType, type Real, vectorType } from '../tensor/dtype.js';
import { checkBeside, checkMatrix, checkReal, checkSupported, memoryOf, outputInto } from '../tensor/operand.js';
import type { MatrixShape, Shape, Tensor, VectorShape } from '../tensor/tensor.js';
import type { BesideDType, OfRank, SameDType, VectorDType } from '../tensor/typing.js';
import type { TensorLike, View } from '../tensor/view.js';
import { SparsityPattern } from './pattern.js';

function checkPattern(op: string, pattern: unknown): SparsityPattern {
  if (!SparsityPattern.is(pattern)) rejectInstance(op, 'pattern', 'SparsityPattern', pattern);
  return pattern;
}

/**
 * SpMM: M · dense, or Mᵀ · dense with `transpose`. M is the r x r matrix with `values` on the pattern.
 *
 * @param values [entries] in CSR order, float32 or float64
 * @param dense [r, N], of the type of `values`; or bfloat16 with float32 values
 * @param options `out` [r, N] receives the result and is returned; it must not overlap the operands
 * @returns [r, N], of the type of `dense`
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY,
 * UNSUPPORTED if the device has no kernel for the type of `dense`
 * @example
 * const pattern = SparsityPattern.banded(3, 1);
 * const y = spmm(pattern, zeros([pattern.entries]), zeros([3, 8])); // [3, 8]
 */
export function spmm<D extends DType, E extends DType, V extends Shape = Shape, S extends Shape = Shape>(
  pattern: SparsityPattern,
  values: Tensor<D, V> & OfRank<V, 1>,
  dense: Tensor<E, S> & OfRank<S, 2> & BesideDType<D, E>,
  options?: { transpose?: boolean; out?: TensorLike },
): Tensor<Exclude<E, 'int32'>, MatrixShape>;
/** The same for objects of a tensor's form. */
export function spmm(
  pattern: SparsityPattern,
  values: View,
  dense: TensorLike,
  options?: { transpose?: boolean; out?: TensorLike },
): Tensor<MatrixDType, MatrixShape>;
export function spmm(
  pattern: SparsityPattern,
  values: TensorLike,
  dense: View,
  options?: { transpose?: boolean; out?: TensorLike },
): Tensor<MatrixDType, MatrixShape>;
export function spmm(
  pattern: SparsityPattern,
  values: unknown,
  dense: unknown,
  options?: { transpose?: boolean; out?: TensorLike },
): Tensor<MatrixDType, MatrixShape> {
  const op = 'spmm';
  const given = checkOptions(op, 'options', options, ['transpose', 'out']);
  const transpose = checkBoolean(op, 'options.transpose', given.transpose ?? false);
  const { entries, shape, handle } = checkPattern(op, pattern);
  const m = checkReal(op, 'values', values, { shape: [entries], dtype: undefined, device: undefined });
  const x = checkBeside(op, 'dense', dense, m.dtype, { shape: [shape[0], null], dtype: undefined, device: m.device });
  checkSupported(op, 'dense', x, 'spmm', x.device);
  const y = outputInto(op, given.out, x, x.shape as MatrixShape, [m, x]);
  const tokens = x.shape[1] as number;
  native.spmm(op, handle, memoryOf(op, 'values', m), memoryOf(op, 'dense', x), y.memory, tokens, transpose);
  return y.tensor();
}

/**
 * SDDMM: values[p] = Σ_t a[i_p, t] · b[j_p, t] for every entry p = (i_p, j_p) of the pattern. With a = dY and b = X
 * this is the gradient of `spmm` with respect to its values. The order of summation is fixed, whatever the number of
 * threads.
 *
 * @param a [r, N], float32, float64 or bfloat16
 * @param b [r, N], the type and device of a
 * @param options `out` [entries] receives the result and is returned; it must not overlap the operands
 * @returns [entries] in CSR order; float32 for bfloat16 operands
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY,
 * UNSUPPORTED if the device has no kernel for the type of `a`
 * @example
 * const pattern = SparsityPattern.banded(3, 1);
 * const gradient = sddmm(pattern, zeros([3, 8]), zeros([3, 8])); // [pattern.entries]
 */
export function sddmm<D extends DType, E extends DType, A extends Shape = Shape, B extends Shape = Shape>(
  pattern: SparsityPattern,
  a: Tensor<D, A> & OfRank<A, 2>,
  b: Tensor<E, B> & OfRank<B, 2> & SameDType<D, E>,
  options?: { out?: TensorLike },
): Tensor<VectorDType<D>, VectorShape>;
/** The same for objects of a tensor's form. */
export function sddmm(
  pattern: SparsityPattern,
  a: View,
  b: TensorLike,
  options?: { out?: TensorLike },
): Tensor<Real, VectorShape>;
export function sddmm(
  pattern: SparsityPattern,
  a: TensorLike,
  b: View,
  options?: { out?: TensorLike },
): Tensor<Real, VectorShape>;
export function sddmm(
  pattern: SparsityPattern,
  a: unknown,
  b: unknown,
  options?: { out?: TensorLike },
): Tensor<Real, VectorShape> {
  const op = 'sddmm';
  const { out } = checkOptions(op, 'options', options, ['out']);
  const { entries, shape, handle } = checkPattern(op, pattern);
  const left = checkMatrix(op, 'a', a, { shape: [shape[0], null], dtype: undefined, device: undefined });
  checkSupported(op, 'a', left, 'sddmm', left.device);
  const tokens = left.shape[1] as number;
  const right = checkMatrix(op, 'b', b, { shape: [shape[0], tokens], dtype: left.dtype, device: left.device });
  const place = { device: left.device, dtype: vectorType(left.dtype) };
  const values = outputInto(op, out, place, [entries], [left, right]);
  native.sddmm(op, handle, memoryOf(op, 'a', left), memoryOf(op, 'b', right), values.memory, tokens);
  return values.tensor();
}
