import { native, type Operand } from '../runtime/native.js';
import { atOnce, inSlices, type Work } from '../runtime/slices.js';
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
  await inSlices(op, transposing(op, a, result.memory), signal);
  return result.tensor();
}

/** The same at once. */
export function transposedAtOnce<D extends MatrixDType>(op: string, a: Tensor<D>): Tensor<D, MatrixShape> {
  const [rows, columns] = a.shape as MatrixShape;
  const result = output(op, a, [columns, rows]);
  atOnce(transposing(op, a, result.memory));
  return result.tensor();
}

/** Writes aᵀ to `to`. Each column is a block of one column, and becomes a row. */
function* transposing(op: string, a: Matrix, to: Operand): Work<void> {
  const [rows, columns] = a.shape as MatrixShape;
  for (let j = 0; j < columns; j++) {
    native.copyMatrix(op, memoryOf(op, 'matrix', a), j, columns, to, j * rows, 1, rows, 1);
    yield;
  }
}
