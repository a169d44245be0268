import { native } from '../runtime/native.js';
import type { Work } from '../runtime/slices.js';
import type { MatrixDType } from '../tensor/dtype.js';
import { memoryOf, output } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';

/** The transpose of a matrix, as a new tensor. Each column is a block of one column, and becomes a row. */
export function* transposing<D extends MatrixDType>(op: string, a: Tensor<D>): Work<Tensor<D, MatrixShape>> {
  const [rows, columns] = a.shape as MatrixShape;
  const result = output(op, a, [columns, rows]);
  for (let j = 0; j < columns; j++) {
    native.copyMatrix(op, memoryOf(op, 'matrix', a), j, columns, result.memory, j * rows, 1, rows, 1);
    yield;
  }
  return result.tensor();
}
