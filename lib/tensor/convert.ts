import { types } from 'node:util';
import { reject } from '../runtime/check.js';
import { type DeviceMemory, native, type Operand } from '../runtime/native.js';
import { fromBfloat16, toBfloat16 } from './bfloat16.js';
import { allocate, bitsFor, type HalfDType, isHalf, type NumberDType, type TypedArrayOf } from './dtype.js';
import { fromFloat16, toFloat16 } from './float16.js';

/**
 * Copies numbers into another type. int32 truncates fractions. Throws INVALID_ARGUMENT for a number outside the range
 * of int32, which would wrap.
 */
export function convert<E extends NumberDType>(
  op: string,
  argument: string,
  data: ArrayLike<number>,
  from: NumberDType,
  to: E,
): TypedArrayOf<E> {
  const out = allocate(op, to, data.length);
  if (from === to) {
    out.set(data);
  } else if ((isHalf(from) || isHalf(to)) && to !== 'int32' && isFloating(data, from)) {
    native.cast(op, out as Operand, isHalf(from) ? (bitsFor(from, data) as Operand) : data);
  } else if (isHalf(from)) {
    const round = to === 'bfloat16' ? toBfloat16 : to === 'float16' ? toFloat16 : (value: number) => value;
    for (let i = 0; i < data.length; i++) out[i] = round(fromHalf(from, data[i] as number));
  } else if (isHalf(to)) {
    const round = to === 'bfloat16' ? toBfloat16 : toFloat16;
    for (let i = 0; i < data.length; i++) out[i] = round(data[i] as number);
  } else {
    out.set(data);
  }
  if (to === 'int32' && from !== 'int32') checkFits(op, argument, data, from);
  return out;
}

/** Whether native code reads an array, which is faster from some numbers on. */
function isFloating(data: ArrayLike<number>, dtype: NumberDType): data is Exclude<Operand, DeviceMemory> {
  if (data.length < 64) return false;
  if (isHalf(dtype)) return types.isUint16Array(data) || types.isInt16Array(data);
  return types.isFloat32Array(data) || types.isFloat64Array(data);
}

/** The number with these bits. */
export function fromHalf(dtype: HalfDType, word: number): number {
  return dtype === 'bfloat16' ? fromBfloat16(word) : fromFloat16(word & 0xffff);
}

function checkFits(op: string, argument: string, data: ArrayLike<number>, from: NumberDType): void {
  for (let i = 0; i < data.length; i++) {
    const value = isHalf(from) ? fromHalf(from, data[i] as number) : (data[i] as number);
    const fits = value > -(2 ** 31) - 1 && value < 2 ** 31;
    if (!fits) reject(op, `${argument}[${i}]`, 'a number that int32 can hold, from -2^31 to 2^31 - 1', value);
  }
}
