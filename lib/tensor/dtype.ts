import { types } from 'node:util';
import { readLength, reject } from '../runtime/check.js';
import type { NumericArray } from '../runtime/native.js';
import { arrayOn, roomFor } from './aligned.js';
import { allocationFailed } from './memory.js';
import { anyBuffer, park, zeroBuffer } from './reuse.js';
import { isNumberArray, lengthOf, plainView } from './typed-array.js';

/** bfloat16 is held as its 16 bits. */
export type DType = 'float32' | 'float64' | 'bfloat16' | 'int32';
/** What vectors hold, and what sums are kept in. */
export type Real = 'float32' | 'float64';
/** What matrices hold: bfloat16 goes with float32 vectors. Which operations there are for it depends on the device. */
export type MatrixDType = Real | 'bfloat16';

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
export function recycle(op: string, array: NumericArray): void {
  if (array.byteLength >= largeFrom) park(op, array.buffer as ArrayBuffer);
}

function arrayFrom<D extends DType>(op: string, dtype: D, size: number, bufferOf: typeof anyBuffer) {
  const bytes = size * bytesPerElement(dtype);
  try {
    if (bytes < largeFrom) return new constructors[dtype](size) as TypedArrayOf<D>;
    return arrayOn<NumericArray>(op, constructors[dtype], bufferOf(op, roomFor(bytes)), size) as TypedArrayOf<D>;
  } catch (cause) {
    return allocationFailed(op, bytes, cause);
  }
}

/** The type that a typed array of any realm carries of itself; undefined for an array that has none here. */
export function dtypeOf(array: unknown): DType | undefined {
  if (types.isFloat32Array(array)) return 'float32';
  if (types.isFloat64Array(array)) return 'float64';
  if (types.isInt32Array(array)) return 'int32';
  return undefined;
}

/** The type of numbers that are given for a tensor of `dtype`: a Uint16Array given as bfloat16 is bits. */
export function givenType(data: unknown, dtype: DType): DType {
  return dtype === 'bfloat16' && types.isUint16Array(data) ? 'bfloat16' : 'float64';
}

/** The numbers of an array, typed or not, each read once: what is returned runs no code of the caller's. */
export function readNumbers(op: string, argument: string, data: unknown): ArrayLike<number> {
  if (isNumberArray(data)) return plainView(data);
  if (ArrayBuffer.isView(data)) reject(op, argument, 'an array of numbers', data);
  const length = readLength(op, argument, data, 'an array of numbers');
  const list = data as ArrayLike<unknown>;
  const numbers: number[] = [];
  for (let i = 0; i < length; i++) {
    const each = list[i];
    if (typeof each !== 'number') reject(op, `${argument}[${i}]`, 'a number', each);
    numbers.push(each);
  }
  return numbers;
}

/** A copy of a typed array of this type and of any realm; undefined for anything else. */
export function copyOfNumbers<D extends Real>(op: string, dtype: D, array: unknown): TypedArrayOf<D> | undefined {
  if (!isNumberArray(array) || dtypeOf(array) !== dtype) return undefined;
  const copy = allocate(op, dtype, lengthOf(array));
  copy.set(plainView(array));
  return copy;
}
