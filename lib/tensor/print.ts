import type { NumericArray } from '../runtime/native.js';
import { fromHalf } from './convert.js';
import { type DType, isHalf } from './dtype.js';

/** How many numbers are shown. */
const most = 8;

/** Significant digits to print. float64 prints as JavaScript prints it. */
const digits: Partial<Record<DType, number>> = { float32: 7, bfloat16: 3, float16: 4, int8: 3 };

/** The first numbers of an array, and how many follow. */
export function firstNumbers(dtype: DType, array: NumericArray, scale = 1): string {
  const shown = Array.from(array.subarray(0, most), (element) => {
    const value = isHalf(dtype) ? fromHalf(dtype, element) : element * scale;
    if (Object.is(value, -0)) return '-0';
    const precision = digits[dtype];
    return String(precision === undefined ? value : Number(value.toPrecision(precision)));
  });
  const more = array.length - shown.length;
  return more === 0 ? shown.join(', ') : `${shown.join(', ')}, … ${more} more`;
}
