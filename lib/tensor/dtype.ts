import type { NumericArray } from '../native.js';
import { arrayOn, roomFor } from './aligned.js';
import { allocationFailed } from './memory.js';
import { anyBuffer, park, zeroBuffer } from './reuse.js';

/** bfloat16 is held as its 16 bits. */
export type DType = 'float32' | 'float64' | 'bfloat16' | 'int32';
/** What the arithmetic runs in. */
export type Real = 'float32' | 'float64';

/** bfloat16 is held as its 16 bits, so that Node 20 can carry it. */
export type TypedArrayOf<D extends DType> = D extends 'float32'
  ? Float32Array
  : D extends 'float64'
    ? Float64Array
    : D extends 'bfloat16'
      ? Uint16Array
      : Int32Array;

/** Of the vectors (parameters, biases, sums) beside matrices of a type. */
export function vectorType(matrices: DType): Real {
  return matrices === 'float64' ? 'float64' : 'float32';
}

export const dtypes = ['float32', 'float64', 'bfloat16', 'int32'] as const;

const constructors = {
  float32: Float32Array,
  float64: Float64Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
} as const;

export function bytesPerElement(dtype: DType): number {
  return constructors[dtype].BYTES_PER_ELEMENT;
}

/** Bytes from which on an array begins on a cache line and is used again: smaller ones are made in less than that takes. */
const largeFrom = 4096;

/** Zeros of a type; OUT_OF_MEMORY where the engine has no room for them. */
export function allocate<D extends DType>(op: string, dtype: D, size: number): TypedArrayOf<D> {
  return arrayFrom(op, dtype, size, zeroBuffer);
}

/** The same to be overwritten: any numbers may be in it. */
export function allocateAny<D extends DType>(op: string, dtype: D, size: number): TypedArrayOf<D> {
  return arrayFrom(op, dtype, size, anyBuffer);
}

/** Takes back an array that was made here, from the last one to hold it. */
export function recycle(array: NumericArray): void {
  if (array.byteLength >= largeFrom) park(array.buffer as ArrayBuffer);
}

function arrayFrom<D extends DType>(op: string, dtype: D, size: number, bufferOf: (bytes: number) => ArrayBuffer) {
  const bytes = size * bytesPerElement(dtype);
  try {
    if (bytes < largeFrom) return new constructors[dtype](size) as TypedArrayOf<D>;
    return arrayOn<NumericArray>(constructors[dtype], bufferOf(roomFor(bytes)), size) as TypedArrayOf<D>;
  } catch (cause) {
    return allocationFailed(op, bytes, cause);
  }
}

/** The type that a typed array carries of itself; undefined for an array that has none here. */
export function dtypeOf(array: unknown): DType | undefined {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Float64Array) return 'float64';
  if (array instanceof Int32Array) return 'int32';
  return undefined;
}

export function isNumericArray(data: unknown): data is ArrayLike<number> & NodeJS.TypedArray {
  return (
    ArrayBuffer.isView(data) &&
    !(data instanceof DataView) &&
    !(data instanceof BigInt64Array) &&
    !(data instanceof BigUint64Array)
  );
}

/** Whether an array, typed or not, has numbers alone. */
export function holdsNumbers(data: ArrayLike<unknown>): boolean {
  if (ArrayBuffer.isView(data)) return isNumericArray(data);
  for (let i = 0; i < data.length; i++) if (typeof data[i] !== 'number') return false;
  return true;
}
