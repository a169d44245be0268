import { native, type Operand } from '../runtime/native.js';
import { inSlices, type Work } from '../runtime/slices.js';
import type { MatrixDType } from '../tensor/dtype.js';
import { memoryOf, output } from '../tensor/operand.js';
import type { Matrix, MatrixShape, Tensor } from '../tensor/tensor.js';

interface Task {
  readonly op: string;
  readonly signal: AbortSignal | undefined;
}

/** The transpose of a matrix, as a new tensor, made in slices between which the event loop goes on. */
export async function transposed<D extends MatrixDType>(
  { op, signal }: Task,
  a: Tensor<D>,
): Promise<Tensor<D, MatrixShape>> {
  const [rows, columns] = a.shape as MatrixShape;
  const result = output(op, a, [columns, rows]);
  await inSlices(op, transposing(op, a, { first: 0, stride: columns, rows, columns }, result.memory), signal);
  return result.tensor();
}

/** A part (rows, columns) of a matrix: it begins at element `first`, and has a row every `stride` elements. */
export interface Block {
  readonly first: number;
  readonly stride: number;
  readonly rows: number;
  readonly columns: number;
}

/** Writes the transpose of a block of `a` to `to` (columns, rows). Each column is a block of one column, and becomes a row. */
export function* transposing(op: string, a: Matrix, { first, stride, rows, columns }: Block, to: Operand): Work<void> {
  for (let j = 0; j < columns; j++) {
    native.copyMatrix(op, memoryOf(op, 'matrix', a), first + j, stride, to, j * rows, 1, rows, 1);
    yield;
  }
}
