import { describe, fail, reject } from '../check.js';
import type { Device } from '../device.js';
import type { RealArray } from '../native.js';
import { allocate, type Real } from './dtype.js';
import { type Shape, Tensor } from './tensor.js';

/** What an operation asks of an operand; `null` in a shape stands for any size. */
export interface Expected {
  readonly shape?: readonly (number | null)[];
  readonly dtype?: Real;
  readonly device?: Device;
}

/** A live tensor, or INVALID_ARGUMENT or DISPOSED. */
function checkTensor(op: string, argument: string, value: unknown): Tensor {
  if (!Tensor.is(value)) {
    const hint = ArrayBuffer.isView(value) ? ' (Tensor.wrap(array, shape) makes one)' : '';
    reject(op, argument, `a Tensor${hint}`, value);
  }
  value.read(op, argument);
  return value;
}

function pattern(shape: readonly (number | null)[]): string {
  return `[${shape.map((n) => n ?? '*').join(', ')}]`;
}

/** A live float32 or float64 tensor that meets what is expected. */
export function checkReal<D extends Real = Real>(
  op: string,
  argument: string,
  value: unknown,
  expected: Expected = {},
): Tensor<D> {
  const tensor = checkTensor(op, argument, value);
  const { dtype, shape, device } = expected;
  if (dtype === undefined ? tensor.dtype !== 'float32' && tensor.dtype !== 'float64' : tensor.dtype !== dtype) {
    fail('DTYPE_MISMATCH', op, argument, dtype ?? 'float32 or float64', tensor.dtype);
  }
  if (device !== undefined && tensor.device !== device) {
    fail('DEVICE_MISMATCH', op, argument, `a tensor on ${device}`, `one on ${tensor.device}`);
  }
  if (shape !== undefined) {
    const fits = tensor.shape.length === shape.length && shape.every((n, i) => n === null || n === tensor.shape[i]);
    if (!fits) fail('SHAPE_MISMATCH', op, argument, `shape ${pattern(shape)}`, describe([...tensor.shape]));
  }
  return tensor as Tensor<D>;
}

/** The memory of a tensor that was checked before. */
export function memoryOf(op: string, argument: string, tensor: Tensor): RealArray {
  return tensor.read(op, argument) as RealArray;
}

/** Memory for an operation's result, which becomes a tensor only when the operation has succeeded. */
export interface Output<D extends Real, S extends Shape> {
  readonly array: RealArray;
  tensor(): Tensor<D, S>;
}

export function output<D extends Real, const S extends Shape>(op: string, dtype: D, shape: S): Output<D, S> {
  const array = allocate(
    op,
    dtype,
    shape.reduce((product, n) => product * n, 1),
  );
  return { array: array as RealArray, tensor: () => Tensor.make(op, dtype, array, shape) };
}

/** Whether two arrays have bytes in common. */
function overlap(a: RealArray, b: RealArray): boolean {
  const before = a.byteOffset + a.byteLength <= b.byteOffset || b.byteOffset + b.byteLength <= a.byteOffset;
  return a.buffer === b.buffer && !before;
}

/** The memory of `out`, a tensor that the caller gives for the result, or new memory where there is none. */
export function outputInto<D extends Real, const S extends Shape>(
  op: string,
  out: Tensor | undefined,
  dtype: D,
  shape: S,
  inputs: readonly RealArray[],
): Output<D, S> {
  if (out === undefined) return output(op, dtype, shape);
  const target = checkReal<D>(op, 'options.out', out, { shape, dtype });
  const array = memoryOf(op, 'options.out', target);
  if (inputs.some((input) => overlap(input, array))) {
    reject(op, 'options.out', 'memory apart from the operands', out);
  }
  return { array, tensor: () => target as Tensor<D, S> };
}

/** A new tensor of its own with the same numbers. */
export function copyOf<D extends Real, S extends Shape>(
  op: string,
  argument: string,
  tensor: Tensor<D, S>,
): Tensor<D, S> {
  const copy = output(op, tensor.dtype, tensor.shape);
  copy.array.set(memoryOf(op, argument, tensor));
  return copy.tensor();
}
