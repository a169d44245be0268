import { transposing } from '../linalg/transpose.js';
import { native } from '../runtime/native.js';
import { inSlices } from '../runtime/slices.js';
import type { TypedArrayOf } from '../tensor/dtype.js';
import { copyInto, memoryOf, output } from '../tensor/operand.js';
import { isHost } from '../tensor/storage.js';
import { type Matrix, type MatrixShape, Tensor, type Vector } from '../tensor/tensor.js';
import type { Module } from './modules.js';

interface Task {
  readonly op: string;
  readonly signal: AbortSignal | undefined;
}

/** The module's matrix [out, in], as a tensor of its own: a handle on the weight's memory where that holds it as it is. */
export async function matrixOf({ op, signal }: Task, weight: Matrix, module: Module): Promise<Matrix> {
  const { block, layout, out, in: inFeatures } = module;
  const shape: MatrixShape = [out, inFeatures];
  const size = out * inFeatures;
  if (layout === 'in-out') {
    const result = output(op, weight, shape);
    await inSlices(op, transposing(op, weight, block, result.memory), signal);
    return result.tensor();
  }
  if (size === weight.size) return weight.reshape(shape);
  if (weight.device === 'cpu') {
    const numbers = weight.numbers(op, 'weight').subarray(block.first, block.first + size);
    return Tensor.make(op, weight.dtype, numbers as TypedArrayOf<typeof weight.dtype>, shape);
  }
  const result = output(op, weight, shape);
  native.copyMatrix(op, memoryOf(op, 'weight', weight), block.first, size, result.memory, 0, size, 1, size);
  return result.tensor();
}

/** The module's part of its weight's bias, as a tensor of its own. */
export function biasOf(op: string, bias: Vector, { out, firstFeature }: Module): Vector {
  if (bias.size === out) return bias.reshape([out]);
  const result = output(op, bias, [out]);
  native.copyMatrix(op, memoryOf(op, 'bias', bias), firstFeature, out, result.memory, 0, out, 1, out);
  return result.tensor();
}

/** A weight in its own shape and layout, with some of its modules replaced. `base` is undefined if all of them are. */
export function assembled(
  op: string,
  base: Matrix | undefined,
  shape: readonly number[],
  parts: readonly { readonly module: Module; readonly matrix: Matrix }[],
): Matrix {
  const place = (parts[0] as { readonly matrix: Matrix }).matrix;
  const result = output(op, place, shape);
  if (base !== undefined) copyInto(op, result.memory, memoryOf(op, 'weight', base));
  for (const { module, matrix } of parts) {
    const { block, layout, out, in: inFeatures } = module;
    if (layout === 'out-in') {
      native.copyMatrix(
        op,
        memoryOf(op, 'part', matrix),
        0,
        matrix.size,
        result.memory,
        block.first,
        matrix.size,
        1,
        matrix.size,
      );
      continue;
    }
    // Each row of the matrix [out, in] becomes a column of the weight [in, out].
    for (let i = 0; i < out; i++) {
      const from = memoryOf(op, 'part', matrix);
      native.copyMatrix(op, from, i * inFeatures, 1, result.memory, block.first + i, block.stride, inFeatures, 1);
    }
  }
  return result.tensor();
}

/** What tells tied weights: two tensors of one memory and shape have the same key. */
export function identityOf(op: string, weight: Matrix): unknown[] {
  const memory = weight.read(op, 'weight');
  const place = isHost(memory) ? [memory.buffer, memory.byteOffset, memory.length] : [memory];
  return [weight.dtype, ...weight.shape, ...place];
}
