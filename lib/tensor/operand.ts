import { describe, fail, reject, rejectInstance } from '../runtime/check.js';
import { type Device, supports } from '../runtime/device.js';
import { type DeviceMemory, native, type Operand, type Operation, type RealArray } from '../runtime/native.js';
import { convert } from './convert.js';
import {
  allocate,
  allocateAny,
  type DType,
  type FactorDType,
  isHalf,
  type MatrixDType,
  type Real,
  type TypedArrayOf,
  vectorType,
} from './dtype.js';
import { castCodes, lengthFor, withoutGap } from './int8.js';
import { type Shape, sizeOf } from './shape.js';
import { allocateOn, isHost, uploaded } from './storage.js';
import { type FactorMatrix, type Matrix, refuseCodes, Tensor, type Vector } from './tensor.js';
import { shareBytes } from './typed-array.js';
import { type TensorLike, viewOf } from './view.js';

/**
 * What an operation requires of an operand. `null` in a shape matches any size. Every property is set, if only to
 * undefined: a missing one would be looked up on Object.prototype, which a program may have extended.
 */
export interface Expected {
  readonly shape: readonly (number | null)[] | undefined;
  readonly dtype: FactorDType | undefined;
  readonly device: Device | undefined;
}

export const anything: Expected = { shape: undefined, dtype: undefined, device: undefined };

/** Returns a live tensor: the value itself, or one on the memory of a view. Else throws INVALID_ARGUMENT or DISPOSED. */
export function checkTensor(op: string, argument: string, value: unknown): Tensor {
  const tensor = Tensor.is(value) ? value : (viewOf(op, argument, value) ?? refuseTensor(op, argument, value));
  tensor.read(op, argument);
  return tensor;
}

function refuseTensor(op: string, argument: string, value: unknown): never {
  const hint = ArrayBuffer.isView(value) ? ' (Tensor.wrap(array, shape) makes one)' : '';
  rejectInstance(op, argument, 'Tensor', value, hint);
}

/** A loop, because every call of an operation runs this and a callback would cost more. */
function fits(shape: Shape, expected: readonly (number | null)[]): boolean {
  if (shape.length !== expected.length) return false;
  for (let i = 0; i < shape.length; i++) {
    if (expected[i] !== null && expected[i] !== shape[i]) return false;
  }
  return true;
}

function pattern(shape: readonly (number | null)[]): string {
  return `[${shape.map((n) => n ?? '*').join(', ')}]`;
}

/** A live tensor of one of these types that meets the other expectations. */
function checkTyped(
  op: string,
  argument: string,
  value: unknown,
  types: readonly DType[],
  { shape, device }: Expected,
  empty = false,
): Tensor {
  const tensor = checkTensor(op, argument, value);
  if (tensor.size === 0 && !empty)
    fail('INVALID_ARGUMENT', op, argument, 'one row or more', describe([...tensor.shape]));
  if (!types.includes(tensor.dtype)) fail('DTYPE_MISMATCH', op, argument, types.join(' or '), tensor.dtype);
  if (device !== undefined && tensor.device !== device) {
    fail('DEVICE_MISMATCH', op, argument, `a tensor on ${device}`, `a tensor on ${tensor.device}`);
  }
  if (shape !== undefined) {
    if (!fits(tensor.shape, shape))
      fail('SHAPE_MISMATCH', op, argument, `shape ${pattern(shape)}`, describe([...tensor.shape]));
  }
  return tensor;
}

const reals = ['float32', 'float64'] as const;
export const matrixTypes = ['float32', 'float64', 'bfloat16', 'float16'] as const;
export const factorTypes = [...matrixTypes, 'int8'] as const;

/** A live float32 or float64 tensor that meets the expectations. */
export function checkReal<D extends Real = Real>(
  op: string,
  argument: string,
  value: unknown,
  expected: Expected = anything,
): Tensor<D> {
  const { dtype } = expected;
  return checkTyped(op, argument, value, dtype === undefined ? reals : [dtype], expected) as Tensor<D>;
}

/** A live tensor of a matrix type that meets the expectations. */
export function checkMatrix(op: string, argument: string, value: unknown, expected: Expected = anything): Matrix {
  const { dtype } = expected;
  return checkTyped(op, argument, value, dtype === undefined ? matrixTypes : [dtype], expected) as Matrix;
}

/** `checkMatrix` for a batch (..., n), which may have no rows. */
export function checkBatch(op: string, argument: string, value: unknown, expected: Expected): Matrix {
  const { dtype } = expected;
  return checkTyped(op, argument, value, dtype === undefined ? matrixTypes : [dtype], expected, true) as Matrix;
}

/** `checkMatrix` for a matrix that goes with vectors of type `vectors`. */
export function checkBeside(op: string, argument: string, value: unknown, vectors: Real, expected: Expected): Matrix {
  const types: readonly MatrixDType[] = vectors === 'float32' ? ['float32', 'bfloat16', 'float16'] : [vectors];
  return checkTyped(op, argument, value, types, expected) as Matrix;
}

/** A live tensor of one of these types that meets the expectations: U or Vᵀ, or a weight. */
export function checkFactor(
  op: string,
  argument: string,
  value: unknown,
  types: readonly FactorDType[],
  expected: Expected,
): FactorMatrix {
  return checkTyped(op, argument, value, types, expected) as FactorMatrix;
}

/** Throws UNSUPPORTED if a device has no kernel of an operation for matrices of this type. */
export function checkSupported(
  op: string,
  argument: string,
  { dtype }: Pick<Matrix, 'dtype'>,
  operation: Operation,
  device: Device,
) {
  if (supports(device, operation, dtype)) return;
  const types = matrixTypes.filter((each) => supports(device, operation, each));
  fail('UNSUPPORTED', op, argument, `${types.join(' or ')}, for which ${device} has a kernel`, dtype);
}

/**
 * The memory of a checked tensor. Call it last: a caller's getter that runs in between may dispose the tensor, and a
 * later result may then reuse its memory.
 */
export function memoryOf(op: string, argument: string, tensor: Tensor): Operand {
  return tensor.read(op, argument) as Operand;
}

/** `memoryOf` for a holder that keeps the memory beyond the call. */
export function lastingMemoryOf(op: string, argument: string, tensor: Tensor): Operand {
  return tensor.handOut(op, argument) as Operand;
}

/** The numbers of a checked tensor on the host, read-only; narrow types are widened to float32. */
export function numbersOf(op: string, argument: string, tensor: Tensor): RealArray {
  if (tensor.dtype === 'int8') {
    return castCodes(op, tensor.read(op, argument) as Int8Array, 'int8', 'float32', tensor.shape);
  }
  const numbers = tensor.numbers(op, argument);
  const { dtype } = tensor;
  return isHalf(dtype) ? convert(op, argument, numbers, dtype, 'float32') : (numbers as RealArray);
}

/** A tensor with these numbers. On the CPU an array of the type becomes its memory. */
export function fromNumbers<D extends FactorDType, const S extends Shape>(
  op: string,
  device: Device,
  dtype: D,
  shape: S,
  numbers: RealArray,
): Tensor<D, S> {
  const array = isHalf(dtype)
    ? convert(op, 'result', numbers, 'float32', dtype)
    : dtype === 'int8'
      ? castCodes(op, numbers, 'float32', 'int8', shape)
      : numbers;
  if (device === 'cpu') return Tensor.make(op, dtype, array as TypedArrayOf<D>, shape);
  return Tensor.on(device, dtype, uploaded(op, device, numberType(op, dtype, device), array), shape);
}

/** The type of a result on a device, where there is no int8. */
function numberType(op: string, dtype: FactorDType, device: Device): MatrixDType {
  return dtype === 'int8' ? refuseCodes(op, 'result', device) : dtype;
}

/** Device and type of an operation's result. */
export interface Place<D extends FactorDType = Real> {
  readonly device: Device;
  readonly dtype: D;
}

/** A tensor's numbers on a device and in a type, as a new tensor. Shares the memory if both are the tensor's own. */
export function placed<D extends FactorDType>(
  op: string,
  tensor: FactorMatrix,
  { device, dtype }: Place<D>,
): Tensor<D> {
  const cast = tensor.dtype === dtype ? tensor.share() : tensor.cast(dtype);
  try {
    return cast.on(op, device) as Tensor<D>;
  } finally {
    cast.dispose();
  }
}

/** A tensor's numbers in the type of its vectors: narrow types are widened to float32. Shares the memory otherwise. */
export function widened(op: string, tensor: FactorMatrix): Vector {
  return placed(op, tensor, { device: tensor.device, dtype: vectorType(tensor.dtype) });
}

/** Memory for an operation's result. Call `tensor` once, after the operation has succeeded. */
export interface Output<D extends FactorDType, S extends Shape> {
  readonly memory: Operand;
  tensor(): Tensor<D, S>;
}

/** Uninitialised memory for a result. */
export function output<D extends FactorDType, const S extends Shape>(
  op: string,
  { device, dtype }: Place<D>,
  shape: S,
): Output<D, S> {
  return device === 'cpu' ? hostOutput(op, dtype, shape, allocateAny) : deviceOutput(op, { device, dtype }, shape);
}

/** Zeroed memory for an accumulated result. */
export function zeroOutput<D extends MatrixDType, const S extends Shape>(
  op: string,
  place: Place<D>,
  shape: S,
): Output<D, S> {
  if (place.device === 'cpu') return hostOutput(op, place.dtype, shape, allocate);
  const result = deviceOutput(op, place, shape);
  native.deviceZero(op, result.memory);
  return result;
}

function hostOutput<D extends FactorDType, S extends Shape>(
  op: string,
  dtype: D,
  shape: S,
  make: typeof allocate,
): Output<D, S> {
  const array = make(op, dtype, lengthFor(dtype, shape));
  if (dtype === 'int8') withoutGap(array as Int8Array, shape);
  return { memory: array as Operand, tensor: () => Tensor.make(op, dtype, array, shape, true) };
}

function deviceOutput<D extends FactorDType, S extends Shape>(op: string, { device, dtype }: Place<D>, shape: S) {
  const memory = allocateOn(op, device, numberType(op, dtype, device), sizeOf(shape));
  return { memory, tensor: () => Tensor.on(device, dtype, memory, shape) };
}

/** Whether two operands have bytes in common. */
export function overlap(op: string, a: Operand, b: Operand): boolean {
  return (isHost(a) && isHost(b) ? shareBytes(a, b) : undefined) ?? native.overlap(op, a, b);
}

/** The memory of the caller's `out`, which must not overlap the inputs; new memory without `out`. */
export function outputInto<D extends MatrixDType, const S extends Shape>(
  op: string,
  out: TensorLike | undefined,
  place: Place<D>,
  shape: S,
  inputs: readonly Tensor[],
): Output<D, S> {
  if (out === undefined) return output(op, place, shape);
  const { device, dtype } = place;
  const target = checkBatch(op, 'options.out', out, { shape, dtype, device });
  const memory = memoryOf(op, 'options.out', target);
  for (const input of inputs) {
    if (overlap(op, memoryOf(op, 'operand', input), memory)) {
      reject(op, 'options.out', 'memory that does not overlap the operands', out);
    }
  }
  target.writing(op);
  const tensor = () => {
    target.written();
    return target as Tensor as Tensor<D, S>;
  };
  return { memory, tensor };
}

/** Copies an operand into another of the same size, type and device. */
export function copyInto(op: string, to: Operand, from: Operand): void {
  if (isHost(to)) to.set(from as RealArray);
  else native.deviceCopy(op, to, from as DeviceMemory);
}

/** A new tensor with a copy of the numbers. */
export function copyOf<D extends FactorDType, S extends Shape>(
  op: string,
  argument: string,
  tensor: Tensor<D, S>,
): Tensor<D, S> {
  const copy = output(op, tensor, tensor.shape);
  copyInto(op, copy.memory, memoryOf(op, argument, tensor));
  return copy.tensor();
}
