import { describe, fail, reject, rejectInstance } from '../runtime/check.js';
import type { Device } from '../runtime/device.js';
import { native, type Operand, type RealArray } from '../runtime/native.js';
import { convert } from './convert.js';
import { allocate, allocateAny, type DType, type Real, type TypedArrayOf, vectorType } from './dtype.js';
import { type Shape, sizeOf } from './shape.js';
import { allocateOn, isHost, uploaded } from './storage.js';
import { Tensor } from './tensor.js';
import { areApart } from './typed-array.js';

/**
 * What an operation asks of an operand; `null` in a shape stands for any size. Each property is an own one, also where
 * anything will do: what is left out would be looked for on Object.prototype, where a program may have set it.
 */
export interface Expected {
  readonly shape: readonly (number | null)[] | undefined;
  readonly dtype: Real | undefined;
  readonly device: Device | undefined;
  /** Where it will be computed with, if bfloat16 will do for float32 on devices. It then passes for a Real. */
  readonly half?: Device;
}

export const anything: Expected = { shape: undefined, dtype: undefined, device: undefined };

/** A live tensor, or INVALID_ARGUMENT or DISPOSED. */
function checkTensor(op: string, argument: string, value: unknown): Tensor {
  if (!Tensor.is(value)) {
    const hint = ArrayBuffer.isView(value) ? ' (Tensor.wrap(array, shape) makes one)' : '';
    rejectInstance(op, argument, 'Tensor', value, hint);
  }
  value.read(op, argument);
  return value;
}

function pattern(shape: readonly (number | null)[]): string {
  return `[${shape.map((n) => n ?? '*').join(', ')}]`;
}

/** A live float32 or float64 tensor, or where that will do a bfloat16 one, that meets what is expected. */
export function checkReal<D extends Real = Real>(
  op: string,
  argument: string,
  value: unknown,
  expected: Expected = anything,
): Tensor<D> {
  const tensor = checkTensor(op, argument, value);
  const { dtype, shape, device, half = 'cpu' } = expected;
  const types: readonly DType[] = dtype === undefined ? ['float32', 'float64'] : [dtype];
  const isHalf = half !== 'cpu' && tensor.dtype === 'bfloat16' && types.includes('float32');
  if (!types.includes(tensor.dtype) && !isHalf) {
    fail('DTYPE_MISMATCH', op, argument, types.join(' or '), tensor.dtype);
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

/**
 * The memory of a tensor that was checked before, as operations take it: last of all, since what runs in between (a
 * caller's getter) might dispose the tensor, and its memory then serve another result.
 */
export function memoryOf(op: string, argument: string, tensor: Tensor): Operand {
  return tensor.read(op, argument) as Operand;
}

/** The same for what keeps the memory beyond the call. */
export function lastingMemoryOf(op: string, argument: string, tensor: Tensor): Operand {
  return tensor.handOut(op, argument) as Operand;
}

/** The numbers of a tensor that was checked before, on the host and to be read only. */
export function numbersOf(op: string, argument: string, tensor: Tensor): RealArray {
  const numbers = tensor.numbers(op, argument);
  return tensor.dtype === 'bfloat16' ? convert(op, argument, numbers, 'bfloat16', 'float32') : (numbers as RealArray);
}

/** A tensor with these numbers, which on the CPU become its memory. */
export function fromNumbers<D extends Real, const S extends Shape>(
  op: string,
  device: Device,
  dtype: D,
  shape: S,
  numbers: RealArray,
): Tensor<D, S> {
  if (device === 'cpu') return Tensor.make(op, dtype, numbers as TypedArrayOf<D>, shape);
  const array = (dtype as DType) === 'bfloat16' ? convert(op, 'result', numbers, 'float32', 'bfloat16') : numbers;
  return Tensor.on(device, dtype, uploaded(op, device, dtype, array), shape);
}

/** Where an operation works, and with which numbers. */
export interface Place<D extends Real = Real> {
  readonly device: Device;
  readonly dtype: D;
}

/** A handle on the same numbers at a place and in its type: on the tensor's own memory where that is what is asked for. */
export function placed(op: string, tensor: Tensor<Real>, { device, dtype }: Place): Tensor<Real> {
  const cast = tensor.dtype === dtype ? tensor.share() : tensor.cast(dtype);
  try {
    return cast.on(op, device);
  } finally {
    cast.dispose();
  }
}

/** The same where the tensor is, in a type that every operation computes in. */
export function widened(op: string, tensor: Tensor<Real>): Tensor<Real> {
  return placed(op, tensor, { device: tensor.device, dtype: vectorType(tensor.dtype) });
}

/** Memory for an operation's result, which becomes a tensor only when the operation has succeeded, once. */
export interface Output<D extends Real, S extends Shape> {
  readonly memory: Operand;
  tensor(): Tensor<D, S>;
}

/** Memory to be overwritten: any numbers may be in it. */
export function output<D extends Real, const S extends Shape>(
  op: string,
  { device, dtype }: Place<D>,
  shape: S,
): Output<D, S> {
  return device === 'cpu' ? hostOutput(op, dtype, shape, allocateAny) : deviceOutput(op, { device, dtype }, shape);
}

/** Memory to be added to: zeros. */
export function zeroOutput<D extends Real, const S extends Shape>(op: string, place: Place<D>, shape: S): Output<D, S> {
  if (place.device === 'cpu') return hostOutput(op, place.dtype, shape, allocate);
  const result = deviceOutput(op, place, shape);
  native.deviceZero(op, result.memory);
  return result;
}

function hostOutput<D extends Real, S extends Shape>(
  op: string,
  dtype: D,
  shape: S,
  make: typeof allocate,
): Output<D, S> {
  const array = make(op, dtype, sizeOf(shape));
  return { memory: array as RealArray, tensor: () => Tensor.make(op, dtype, array, shape, true) };
}

function deviceOutput<D extends Real, S extends Shape>(op: string, { device, dtype }: Place<D>, shape: S) {
  const memory = allocateOn(op, device, dtype, sizeOf(shape));
  return { memory, tensor: () => Tensor.on(device, dtype, memory, shape) };
}

/** Whether two operands have bytes in common. */
export function overlap(op: string, a: Operand, b: Operand): boolean {
  return !(isHost(a) && isHost(b) && areApart(a, b)) && native.overlap(op, a, b);
}

/** The memory of `out`, a tensor that the caller gives for the result, or new memory where there is none. */
export function outputInto<D extends Real, const S extends Shape>(
  op: string,
  out: Tensor | undefined,
  place: Place<D>,
  shape: S,
  inputs: readonly Tensor[],
): Output<D, S> {
  if (out === undefined) return output(op, place, shape);
  const { device, dtype } = place;
  const target = checkReal<D>(op, 'options.out', out, { shape, dtype, device });
  const memory = memoryOf(op, 'options.out', target);
  if (inputs.some((input) => overlap(op, memoryOf(op, 'operand', input), memory))) {
    reject(op, 'options.out', 'memory apart from the operands', out);
  }
  const tensor = () => {
    target.written();
    return target as Tensor<D, S>;
  };
  return { memory, tensor };
}

/** Copies the numbers of one operand into another of its size, type and place. */
export function copyInto(op: string, to: Operand, from: Operand): void {
  if (isHost(to)) to.set(from as RealArray);
  else native.deviceCopy(op, to, from as Exclude<Operand, RealArray>);
}

/** A new tensor of its own with the same numbers. */
export function copyOf<D extends Real, S extends Shape>(
  op: string,
  argument: string,
  tensor: Tensor<D, S>,
): Tensor<D, S> {
  const copy = output(op, tensor, tensor.shape);
  copyInto(op, copy.memory, memoryOf(op, argument, tensor));
  return copy.tensor();
}
