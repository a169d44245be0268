// int8 matrices: codes with a float32 scale for each group of 64 numbers along a row. Both are in one Int8Array, which native
// code reads: the codes (rows, columns), padded to a multiple of 4 bytes, and then the scales (rows, groups).
import { types } from 'node:util';
import { describe, fail } from '../runtime/check.js';
import { type NumericArray, native, type Operand } from '../runtime/native.js';
import { allocateAny, type DType, type TypedArrayOf } from './dtype.js';
import { type Shape, sizeOf } from './shape.js';
import { lengthOf, plainView } from './typed-array.js';

/** Numbers of a row that share a scale: SIGMA_SCALE_GROUP of native/contract/backend.h. */
export const groupSize = 64;
const scaleBytes = 4;
/** The smallest normal float32. */
const smallestNormal = 2 ** -126;

const groupsOf = (columns: number) => Math.ceil(columns / groupSize);
const codeBytes = ([rows, columns]: readonly [number, number]) => Math.ceil((rows * columns) / scaleBytes) * scaleBytes;

/** The shape of the scales of a matrix of this shape. */
export function scaleShape([rows, columns]: readonly [number, number]): readonly [number, number] {
  return [rows, groupsOf(columns)];
}

/** Elements of the array in which a tensor of this type and shape is kept. */
export function lengthFor(dtype: DType, shape: Shape): number {
  if (dtype !== 'int8') return sizeOf(shape);
  const matrix = shape as readonly [number, number];
  return codeBytes(matrix) + sizeOf(scaleShape(matrix)) * scaleBytes;
}

/** An uninitialised array for an int8 matrix; the bytes between codes and scales are 0, so that equal matrices have equal bits. */
export function newBlock(op: string, shape: Shape): Int8Array {
  return withoutGap(allocateAny(op, 'int8', lengthFor('int8', shape)), shape);
}

export function withoutGap(block: Int8Array, shape: Shape): Int8Array {
  return block.fill(0, sizeOf(shape), codeBytes(shape as readonly [number, number]));
}

/** The codes in the array of an int8 matrix. */
export function codesIn(block: Int8Array, shape: Shape): Int8Array {
  return block.subarray(0, sizeOf(shape));
}

/** The scales in it. */
export function scalesIn(block: Int8Array, shape: Shape): Float32Array {
  const matrix = shape as readonly [number, number];
  return new Float32Array(block.buffer, block.byteOffset + codeBytes(matrix), sizeOf(scaleShape(matrix)));
}

/** The numbers of a tensor in another type, one of which is int8. */
export function castCodes<D extends DType>(
  op: string,
  array: NumericArray,
  from: DType,
  to: D,
  shape: Shape,
): TypedArrayOf<D> {
  const other = from === 'int8' ? to : from;
  if (other === 'int8') return array.slice() as TypedArrayOf<D>;
  if (other === 'int32') fail('DTYPE_MISMATCH', op, 'dtype', 'a floating-point type for int8', other);
  if (shape.length !== 2) fail('SHAPE_MISMATCH', op, 'this', 'a matrix for int8', describe([...shape]));
  // Codes go with float32 sums, so float64 is read and written through float32.
  if (from === 'float64') return castCodes(op, Float32Array.from(array), 'float32', to, shape);
  if (to === 'float64') return Float64Array.from(castCodes(op, array, from, 'float32', shape)) as TypedArrayOf<D>;
  const [rows, columns] = shape as readonly [number, number];
  const out = (to === 'int8' ? newBlock(op, shape) : allocateAny(op, to, sizeOf(shape))) as TypedArrayOf<D>;
  if (rows * columns > 0) native.castMatrix(op, out as Operand, array as Operand, rows, columns, 0, columns);
  return out;
}

/** An array for native code with copies of these codes and scales, which are checked. */
export function packCodes(op: string, argument: string, codes: Int8Array, scales: unknown, shape: Shape): Int8Array {
  if (shape.length !== 2) fail('SHAPE_MISMATCH', op, `${argument}.shape`, 'a matrix for int8', describe([...shape]));
  const expected = scaleShape(shape as readonly [number, number]);
  const count = sizeOf(expected);
  if (!types.isFloat32Array(scales)) {
    fail('DTYPE_MISMATCH', op, `${argument}.scales`, `a Float32Array of ${count} numbers`, describe(scales));
  }
  if (lengthOf(scales) !== count) {
    const numbers = `${count} numbers, [${expected.join(', ')}] for shape ${describe([...shape])}`;
    fail('SHAPE_MISMATCH', op, `${argument}.scales`, numbers, describe(lengthOf(scales)));
  }
  const block = newBlock(op, shape);
  codesIn(block, shape).set(plainView(codes));
  const kept = scalesIn(block, shape);
  kept.set(plainView(scales));
  checkScales(op, `${argument}.scales`, kept);
  return block;
}

/** What the scales of a matrix are, as errors say it. */
export const expectedScales = 'finite scales that are 0, or at least 2^-126';

/** NON_FINITE for a NaN or Infinity, INVALID_ARGUMENT for a scale that is negative or subnormal. */
export function checkScales(op: string, argument: string, scales: Float32Array): void {
  const at = brokenScale(scales);
  if (at < 0) return;
  const scale = scales[at] as number;
  const code = Number.isFinite(scale) ? 'INVALID_ARGUMENT' : 'NON_FINITE';
  fail(code, op, argument, expectedScales, `${scale} for group ${at}`);
}

/** The index of the first scale that no matrix has; −1 if there is none. */
export function brokenScale(scales: Float32Array): number {
  return scales.findIndex((scale) => !(scale === 0 || (scale >= smallestNormal && scale < Number.POSITIVE_INFINITY)));
}
