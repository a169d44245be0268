import { checkBoolean, checkOptions, checkSignal, describe, fail } from '../runtime/check.js';
import { renamed } from '../runtime/errors.js';
import { native } from '../runtime/native.js';
import { step, type Work } from '../runtime/slices.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import { checkMatrix, checkSupported, memoryOf, output, outputInto } from '../tensor/operand.js';
import type { Matrix, MatrixShape, Shape, Tensor } from '../tensor/tensor.js';
import type { OfRank } from '../tensor/typing.js';
import type { TensorLike, View } from '../tensor/view.js';
import { lanes } from './svd.js';

const op = 'matmul';

export interface MatmulOptions {
  /** Default false. */
  transposeA?: boolean;
  /** Default false. */
  transposeB?: boolean;
  /** A tensor [m, n] that receives the result and is returned. It must not overlap a or b. */
  out?: TensorLike;
}

/** D, which is inferred from other arguments only. NoInfer of TypeScript 5.4, for users of 5.2 and 5.3. */
type Uninferred<D> = [D][D extends unknown ? 0 : never];

/**
 * The product op(a) · op(b): [m, k] · [k, n] → [m, n]. op transposes its argument if the option says so.
 *
 * @param a [m, k], or [k, m] with `transposeA`; float32, float64 or bfloat16. Sums of bfloat16 numbers are float32; the result is rounded.
 * @param b [k, n], or [n, k] with `transposeB`; the type and device of a
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
 * @example
 * const gradient = matmul(dy, x, { transposeA: true }); // dyᵀ x
 */
export function matmul<D extends MatrixDType, A extends Shape = Shape, B extends Shape = Shape>(
  a: Tensor<D, A> & OfRank<A, 2>,
  b: Tensor<Uninferred<D>, B> & OfRank<B, 2>,
  options?: MatmulOptions,
): Tensor<D, MatrixShape>;
/** The same for objects of a tensor's form. */
export function matmul(a: View, b: TensorLike<MatrixDType>, options?: MatmulOptions): Matrix<MatrixShape>;
export function matmul(a: TensorLike<MatrixDType>, b: View, options?: MatmulOptions): Matrix<MatrixShape>;
export function matmul(a: unknown, b: unknown, options?: MatmulOptions): Matrix<MatrixShape> {
  const given = checkOptions(op, 'options', options, ['transposeA', 'transposeB', 'out']);
  const transposeA = checkBoolean(op, 'options.transposeA', given.transposeA ?? false);
  const transposeB = checkBoolean(op, 'options.transposeB', given.transposeB ?? false);
  const left = checkMatrix(op, 'a', a, { shape: [null, null], dtype: undefined, device: undefined });
  const right = checkMatrix(op, 'b', b, { shape: [null, null], dtype: left.dtype, device: left.device });
  checkSupported(op, 'a', left, 'gemm', left.device);
  const [m, k] = oriented(left, transposeA);
  const [rows, n] = oriented(right, transposeB);
  if (rows !== k) {
    fail('SHAPE_MISMATCH', op, 'b', `${k} rows, as a has columns`, `${rows} in ${describe([...right.shape])}`);
  }
  const c = outputInto(op, given.out, left, [m, n], [left, right]);
  native.gemm(op, memoryOf(op, 'a', left), memoryOf(op, 'b', right), c.memory, m, n, k, transposeA, transposeB);
  return c.tensor();
}

type Orientation = Pick<MatmulOptions, 'transposeA' | 'transposeB'>;

/** `matmul` of checked operands for function `op`, as work. */
export function* matmulWork(
  op: string,
  a: Tensor<Real>,
  b: Tensor<Real>,
  orientation: Orientation & { signal: AbortSignal | undefined },
): Work<Tensor<Real, MatrixShape>> {
  const now = () => {
    const { c, call } = productOf(op, a, b, orientation);
    native.gemm(...call);
    return c.tensor();
  };
  return yield* step(now, () => matmulLater(op, a, b, orientation));
}

/**
 * `matmul` off the event loop, for function `op`: the same result, to the bit. The operands are copied when the product
 * starts; until then they must not be disposed.
 */
export async function matmulLater(
  op: string,
  a: Tensor<Real>,
  b: Tensor<Real>,
  { signal, ...orientation }: Orientation & { signal: AbortSignal | undefined },
): Promise<Tensor<Real, MatrixShape>> {
  const turn = lanes.enter();
  if (turn !== undefined) await turn;
  try {
    checkSignal(op, signal);
    const { c, call } = productOf(op, a, b, orientation);
    // A device only queues the work.
    if (a.device === 'cpu') await native.gemmLater(...call);
    else native.gemm(...call);
    return c.tensor();
  } catch (error) {
    throw renamed(error, op);
  } finally {
    lanes.leave();
  }
}

/** Memory for a product, and the native call that fills it. */
function productOf(
  op: string,
  a: Tensor<Real>,
  b: Tensor<Real>,
  { transposeA = false, transposeB = false }: Orientation,
) {
  const [m, k] = oriented(a, transposeA);
  const [, n] = oriented(b, transposeB);
  const c = output(op, a, [m, n]);
  const call = [op, memoryOf(op, 'a', a), memoryOf(op, 'b', b), c.memory, m, n, k, transposeA, transposeB] as const;
  return { c, call };
}

function oriented(matrix: Tensor, transpose: boolean): MatrixShape {
  const [rows, columns] = matrix.shape as MatrixShape;
  return transpose ? [columns, rows] : [rows, columns];
}
