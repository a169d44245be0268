import { types } from 'node:util';
import { readLength, reject } from '../runtime/check.js';
import type { NumericArray } from '../runtime/native.js';
import { arrayOn, roomFor } from './aligned.js';
import { allocationFailed } from './memory.js';
import { anyBuffer, park, zeroBuffer } from './reuse.js';
import { isNumberArray, kindOf, lengthOf, plainView } from './typed-array.js';

/** Type of a tensor's elements. bfloat16 and float16 are stored as their 16 bits, int8 with a scale for each group of 64 numbers of a row. */
export type DType = NumberDType | 'int8';
/** Type of elements that have no scales. */
export type NumberDType = 'float32' | 'float64' | 'bfloat16' | 'int32' | 'float16';
/** Type of vectors (σ, biases, parameters) and of accumulators. */
export type Real = 'float32' | 'float64';
/**
 * Type of matrices. bfloat16 matrices go with float32 vectors; which operations support bfloat16 depends on the device.
 */
export type MatrixDType = Real | HalfDType;
/** Types of 16 bits, whose vectors and sums are float32. */
export type HalfDType = 'bfloat16' | 'float16';
/** Type of the frozen matrices U and Vᵀ. int8 ones go with float32 or bfloat16 activations. */
export type FactorDType = MatrixDType | 'int8';

/**
 * The typed array of a dtype. A Uint16Array holds the bits of bfloat16 and float16, because not
 * every Node has typed arrays for them. An Int8Array
 * holds the codes of int8: the numbers are codes times `Tensor.scales`.
 */
export type TypedArrayOf<D extends DType> = D extends 'float32'
  ? Float32Array
  : D extends 'float64'
    ? Float64Array
    : D extends HalfDType
      ? Uint16Array
      : D extends 'int8'
        ? Int8Array
        : Int32Array;

/** Type of the vectors (parameters, biases, sums) that go with matrices of a type. */
export function vectorType(matrices: DType): Real {
  return matrices === 'float64' ? 'float64' : 'float32';
}

/** In the order of `Element` in native/addon/memory.h. */
export const dtypes = ['float32', 'float64', 'bfloat16', 'int32', 'float16'] as const;

export function isHalf(dtype: DType): dtype is HalfDType {
  return dtype === 'bfloat16' || dtype === 'float16';
}

const constructors = {
  float32: Float32Array,
  float64: Float64Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  int8: Int8Array,
  // Native code tells float16 from bfloat16 by its array. `Tensor.data` gives a Uint16Array on the same memory.
  float16: Int16Array,
} as const;

/** Of int8 those of its codes alone. */
export function bytesPerElement(dtype: DType): number {
  return constructors[dtype].BYTES_PER_ELEMENT;
}

/** Machine epsilon, the spacing of the numbers from 1 on: of float32, or of float64 for any other numbers. */
export function epsilonOf(dtype: DType | undefined): number {
  return dtype === 'float32' ? 2 ** -23 : 2 ** -52;
}

/** Size in bytes from which arrays are aligned and reused. A smaller array is cheaper to allocate than to reuse. */
const largeFrom = 4096;

/** Allocates zeros, or throws OUT_OF_MEMORY. */
export function allocate<D extends DType>(op: string, dtype: D, size: number): TypedArrayOf<D> {
  return arrayFrom(op, dtype, size, zeroBuffer);
}

/** Allocates an uninitialised array, or throws OUT_OF_MEMORY. */
export function allocateAny<D extends DType>(op: string, dtype: D, size: number): TypedArrayOf<D> {
  return arrayFrom(op, dtype, size, anyBuffer);
}

/** Returns an array of `allocate` or `allocateAny` to the reuse cache. The caller must be its last holder. */
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

/** The dtype of a typed array of any realm; undefined for an array without a corresponding dtype. */
export function dtypeOf(array: unknown): Exclude<NumberDType, 'bfloat16'> | undefined {
  if (isFloat16Array(array)) return 'float16';
  if (types.isFloat32Array(array)) return 'float32';
  if (types.isFloat64Array(array)) return 'float64';
  if (types.isInt32Array(array)) return 'int32';
  return undefined;
}

/** Whether it is a Float16Array of any realm, which Node has from version 24 on. */
export function isFloat16Array(array: unknown): array is NodeJS.TypedArray {
  return types.isTypedArray(array) && kindOf(array) === 'Float16Array';
}

/** The 16 bits of a tensor of this type, on an array of bits. */
export function bitsFor(dtype: HalfDType, { buffer, byteOffset, length }: NodeJS.TypedArray): NumericArray {
  return new constructors[dtype](buffer as ArrayBuffer, byteOffset, length);
}

/** The type in which `data` for a tensor of `dtype` is given: a Uint16Array for bfloat16 or float16 holds bits. */
export function givenType(data: unknown, dtype: NumberDType): NumberDType {
  return isHalf(dtype) && types.isUint16Array(data) ? dtype : 'float64';
}

/** Reads each number of an array once. The result has no getters, so it runs no code of the caller. */
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
