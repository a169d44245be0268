import { native } from '../runtime/native.js';
import type { TypedArrayOf } from '../tensor/dtype.js';
import { copyInto, memoryOf, output } from '../tensor/operand.js';
import { isHost } from '../tensor/storage.js';
import { type Matrix, type MatrixShape, Tensor, type Vector } from '../tensor/tensor.js';
import type { Module } from './modules.js';

/** The module's matrix in the weight's layout: the weight itself, or a tensor on its memory, or a copy of columns. */
export function matrixOf(op: string, weight: Matrix, { block }: Module): Matrix {
  const { first, stride, rows, columns } = block;
  const shape: MatrixShape = [rows, columns];
  const size = rows * columns;
  weight.read(op, 'weight');
  if (size === weight.size) return weight.shape.length === 2 ? weight : weight.reshape(shape);
  if (weight.device === 'cpu' && stride === columns) {
    const numbers = weight.numbers(op, 'weight').subarray(first, first + size);
    return Tensor.make(op, weight.dtype, numbers as TypedArrayOf<typeof weight.dtype>, shape);
  }
  const result = output(op, weight, shape);
  native.copyMatrix(op, memoryOf(op, 'weight', weight), first, stride, result.memory, 0, columns, rows, columns);
  return result.tensor();
}

/** The module's part of its weight's bias, as a tensor of its own. */
export function biasOf(op: string, bias: Vector, { out, firstFeature }: Module): Vector {
  if (bias.size === out) return bias.reshape([out]);
  const result = output(op, bias, [out]);
  native.copyMatrix(op, memoryOf(op, 'bias', bias), firstFeature, out, result.memory, 0, out, 1, out);
  return result.tensor();
}

/** A module's part of W', in the weight's layout. */
export interface MergedPart {
  readonly module: Module;
  readonly matrix: Matrix;
}

/** A weight in its own shape, with some of its modules replaced by matrices in its layout. `base` is undefined if all of them are. */
export function assembled(
  op: string,
  base: Matrix | undefined,
  shape: readonly number[],
  parts: readonly MergedPart[],
): Matrix {
  const place = (parts[0] as MergedPart).matrix;
  const result = output(op, place, shape);
  if (base !== undefined) {
    base.read(op, 'weight');
    // The layers may be on another device than the weight.
    const here = base.on(op, place.device);
    copyInto(op, result.memory, memoryOf(op, 'weight', here));
    here.dispose();
  }
  for (const { module, matrix } of parts) {
    const { first, stride, rows, columns } = module.block;
    native.copyMatrix(op, memoryOf(op, 'part', matrix), 0, columns, result.memory, first, stride, rows, columns);
  }
  return result.tensor();
}

const memoryNumbers = new WeakMap<object, number>();
let lastNumber = 0;

/** What tells tied weights: two tensors of one memory and shape have the same identity. */
export function identityOf(op: string, weight: Tensor): string {
  const memory = weight.read(op, 'weight');
  const owner = isHost(memory) ? memory.buffer : memory;
  const number = memoryNumbers.get(owner) ?? ++lastNumber;
  memoryNumbers.set(owner, number);
  return [weight.dtype, weight.shape, number, isHost(memory) ? memory.byteOffset : 0].join();
}
