import { types } from 'node:util';
import { reject } from '../runtime/check.js';
import { type DeviceMemory, native, type Operand } from '../runtime/native.js';
import { fromBfloat16, toBfloat16 } from './bfloat16.js';
import { allocate, type NumberDType, type TypedArrayOf } from './dtype.js';

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
  } else if ((from === 'bfloat16' || to === 'bfloat16') && to !== 'int32' && isFloating(data, from)) {
    native.cast(op, out as Operand, data);
  } else if (from === 'bfloat16') {
    for (let i = 0; i < data.length; i++) out[i] = fromBfloat16(data[i] as number);
  } else if (to === 'bfloat16') {
    for (let i = 0; i < data.length; i++) out[i] = toBfloat16(data[i] as number);
  } else {
    out.set(data);
  }
  if (to === 'int32' && from !== 'int32') checkFits(op, argument, data, from);
  return out;
}

/** Whether native code reads an array, which is faster from some numbers on. */
function isFloating(data: ArrayLike<number>, dtype: NumberDType): data is Exclude<Operand, DeviceMemory> {
  if (data.length < 64) return false;
  return dtype === 'bfloat16' ? types.isUint16Array(data) : types.isFloat32Array(data) || types.isFloat64Array(data);
}

function checkFits(op: string, argument: string, data: ArrayLike<number>, from: NumberDType): void {
  for (let i = 0; i < data.length; i++) {
    const value = from === 'bfloat16' ? fromBfloat16(data[i] as number) : (data[i] as number);
    const fits = value > -(2 ** 31) - 1 && value < 2 ** 31;
    if (!fits) reject(op, `${argument}[${i}]`, 'a number that int32 can hold, from -2^31 to 2^31 - 1', value);
  }
}
