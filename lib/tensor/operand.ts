import { describe, fail, reject } from '../check.js';
import type { Device } from '../device.js';
import { native, type Operand, type RealArray } from '../native.js';
import { allocate, type Real, type TypedArrayOf } from './dtype.js';
import { allocateOn, isHost, uploaded } from './storage.js';
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

/** The memory of a tensor that was checked before, as operations take it. */
export function memoryOf(op: string, argument: string, tensor: Tensor): Operand {
  return tensor.read(op, argument) as Operand;
}

/** The numbers of a tensor that was checked before, on the host and to be read only. */
export function numbersOf(op: string, argument: string, tensor: Tensor): RealArray {
  return tensor.numbers(op, argument) as RealArray;
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
  return Tensor.on(device, dtype, uploaded(device, dtype, numbers), shape);
}

/** Where an operation works, and with which numbers. */
export interface Place<D extends Real = Real> {
  readonly device: Device;
  readonly dtype: D;
}

/** Memory for an operation's result, which becomes a tensor only when the operation has succeeded. */
export interface Output<D extends Real, S extends Shape> {
  readonly memory: Operand;
  tensor(): Tensor<D, S>;
}

/** Memory to be overwritten. */
export function output<D extends Real, const S extends Shape>(
  op: string,
  { device, dtype }: Place<D>,
  shape: S,
): Output<D, S> {
  const size = shape.reduce((product, n) => product * n, 1);
  if (device === 'cpu') {
    const array = allocate(op, dtype, size);
    return { memory: array as RealArray, tensor: () => Tensor.make(op, dtype, array, shape) };
  }
  const memory = allocateOn(device, dtype, size);
  return { memory, tensor: () => Tensor.on(device, dtype, memory, shape) };
}

/** Memory to be added to: zeros. */
export function zeroOutput<D extends Real, const S extends Shape>(op: string, place: Place<D>, shape: S): Output<D, S> {
  const result = output(op, place, shape);
  if (!isHost(result.memory)) native.deviceZero(result.memory);
  return result;
}

/** Whether two operands have bytes in common. */
function overlap(a: Operand, b: Operand): boolean {
  if (!(isHost(a) && isHost(b))) return a === b;
  const before = a.byteOffset + a.byteLength <= b.byteOffset || b.byteOffset + b.byteLength <= a.byteOffset;
  return a.buffer === b.buffer && !before;
}

/** The memory of `out`, a tensor that the caller gives for the result, or new memory where there is none. */
export function outputInto<D extends Real, const S extends Shape>(
  op: string,
  out: Tensor | undefined,
  place: Place<D>,
  shape: S,
  inputs: readonly Operand[],
): Output<D, S> {
  if (out === undefined) return output(op, place, shape);
  const { device, dtype } = place;
  const target = checkReal<D>(op, 'options.out', out, { shape, dtype, device });
  const memory = memoryOf(op, 'options.out', target);
  if (inputs.some((input) => overlap(input, memory))) {
    reject(op, 'options.out', 'memory apart from the operands', out);
  }
  const tensor = () => {
    target.written();
    return target as Tensor<D, S>;
  };
  return { memory, tensor };
}

/** Copies the numbers of one operand into another of its size, type and place. */
export function copyInto(to: Operand, from: Operand): void {
  if (isHost(to)) to.set(from as RealArray);
  else native.deviceCopy(to, from as Exclude<Operand, RealArray>);
}

/** A new tensor of its own with the same numbers. */
export function copyOf<D extends Real, S extends Shape>(
  op: string,
  argument: string,
  tensor: Tensor<D, S>,
): Tensor<D, S> {
  const copy = output(op, tensor, tensor.shape);
  copyInto(copy.memory, memoryOf(op, argument, tensor));
  return copy.tensor();
}
