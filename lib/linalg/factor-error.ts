import { native, type RealArray } from '../runtime/native.js';
import { inSlices, type Work } from '../runtime/slices.js';
import { allocate, type FactorDType } from '../tensor/dtype.js';
import { normOf, powerTo } from '../tensor/norm.js';
import { fromNumbers, memoryOf, numbersOf, output, widened } from '../tensor/operand.js';
import type { Scoped } from '../tensor/scope.js';
import type { FactorMatrix, Matrix, MatrixShape, Vector } from '../tensor/tensor.js';
import { matmulLater } from './matmul.js';
import { scaleColumns } from './scale.js';
import type { Svd } from './svd.js';

/** How far factors are from an exact decomposition of a weight W0. */
export interface FactorError {
  /** ‖W0 − U diag(σ) Vᵀ‖_F / ‖W0‖_F, which is 0 for W0 = 0. With a truncated rank it contains the dropped σ. */
  readonly residual: number;
  /** The largest entry of |UᵀU − I| and |VᵀV − I|. */
  readonly orthogonality: number;
}

/** Numbers of one product: it bounds the scratch memory. */
const blockSize = 2 ** 22;

interface Task {
  readonly op: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Both errors, measured with all entries, block by block: 2mnr + (m + n)r² flops in the type that the factors are widened
 * to. Products run off the event loop, sums in slices on it.
 */
export async function factorErrorOf(task: Task, weight: Matrix, { u, s, vt }: Svd<FactorDType>): Promise<FactorError> {
  const made: Scoped[] = [];
  const wide = (matrix: FactorMatrix): Vector<MatrixShape> => {
    const tensor = widened(task.op, matrix) as Vector<MatrixShape>;
    made.push(tensor);
    return tensor;
  };
  try {
    const [w, left, right] = [wide(weight), wide(u), wide(vt)];
    return {
      residual: await residualOf(task, w, left, s, right),
      orthogonality: Math.max(await unitErrorOfColumns(task, left), await unitErrorOfRows(task, right)),
    };
  } finally {
    for (const each of made) each.dispose();
  }
}

async function residualOf(
  { op, signal }: Task,
  weight: Vector<MatrixShape>,
  left: Vector<MatrixShape>,
  s: Vector,
  right: Vector<MatrixShape>,
): Promise<number> {
  const [m, n] = weight.shape;
  const [w, u] = [numbersOf(op, 'weight', weight), numbersOf(op, 'factors.u', left)];
  const given = numbersOf(op, 'factors.s', s);
  // A power of two brings the largest σ near 1, so that no product overflows.
  const unit = powerTo(given[0] as number);
  const sigma = Float64Array.from(given, (value) => value * unit);
  let lost = 0;
  const most = Math.max(1, Math.floor(blockSize / n));
  for (let first = 0; first < m; first += most) {
    const rows = Math.min(most, m - first);
    const scaled = allocate(op, left.dtype, rows * sigma.length);
    await inSlices(op, scaleColumns(scaled, u.subarray(first * sigma.length), sigma), signal);
    const part = fromNumbers(op, left.device, left.dtype, [rows, sigma.length], scaled);
    const product = await matmulLater(op, part, right, { signal }).finally(() => part.dispose());
    const wanted = w.subarray(first * n, (first + rows) * n);
    lost += await inSlices(op, distanceOf(numbersOf(op, 'product', product), wanted, unit, n), signal);
    product.dispose();
  }
  return lost === 0 ? 0 : Math.sqrt(lost) / (unit * normOf([w]));
}

/** ‖a − unit · b‖² in float64, in pieces of `row` numbers; unit · b is near 1 at most. */
function* distanceOf(a: RealArray, b: RealArray, unit: number, row: number): Work<number> {
  let sum = 0;
  for (let first = 0; first < a.length; first += row) {
    for (let i = first; i < first + row; i++) sum += ((a[i] as number) - unit * (b[i] as number)) ** 2;
    yield;
  }
  return sum;
}

/** The largest entry of |UᵀU − I|; U (m, r). */
function unitErrorOfColumns(task: Task, u: Vector<MatrixShape>): Promise<number> {
  const [m, r] = u.shape;
  return unitError(task, r, m, { transposeA: true }, (first, count) => {
    const columns = output(task.op, u, [m, count]);
    native.copyMatrix(task.op, memoryOf(task.op, 'factors.u', u), first, r, columns.memory, 0, count, m, count);
    return columns.tensor();
  });
}

/** The largest entry of |VᵀV − I|; Vᵀ (r, n). */
function unitErrorOfRows(task: Task, vt: Vector<MatrixShape>): Promise<number> {
  const [r, n] = vt.shape;
  return unitError(task, r, n, { transposeB: true }, (first, count) => {
    const rows = output(task.op, vt, [count, n]);
    native.copyMatrix(task.op, memoryOf(task.op, 'factors.vt', vt), first * n, n, rows.memory, 0, n, count, n);
    return rows.tensor();
  });
}

/** The largest entry of |G − I| for the Gram matrix G of r vectors, of which `take` copies some. G is symmetric: half of it. */
async function unitError(
  { op, signal }: Task,
  r: number,
  length: number,
  orientation: { readonly transposeA?: boolean; readonly transposeB?: boolean },
  take: (first: number, count: number) => Vector<MatrixShape>,
): Promise<number> {
  const most = Math.max(1, Math.min(Math.max(64, Math.ceil(r / 8)), Math.floor(blockSize / Math.max(length, r))));
  let worst = 0;
  for (let first = 0; first < r; first += most) {
    const [some, rest] = [take(first, Math.min(most, r - first)), take(first, r - first)];
    const gram = await matmulLater(op, some, rest, { ...orientation, signal }).finally(() => {
      some.dispose();
      rest.dispose();
    });
    const off = await inSlices(op, offIdentity(numbersOf(op, 'product', gram), r - first), signal);
    gram.dispose();
    if (!(off <= worst)) worst = off;
  }
  return worst;
}

/** The largest magnitude of rows of `length` numbers, minus 1 on the diagonal, which begins at the first. */
function* offIdentity(numbers: RealArray, length: number): Work<number> {
  let worst = 0;
  for (let begin = 0, diagonal = 0; begin < numbers.length; begin += length, diagonal += length + 1) {
    for (let i = begin; i < begin + length; i++) {
      const off = Math.abs((numbers[i] as number) - (i === diagonal ? 1 : 0));
      if (!(off <= worst)) worst = off;
    }
    yield;
  }
  return worst;
}
