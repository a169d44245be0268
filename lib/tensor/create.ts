import { checkChoice, checkOptions, describe, fail, reject } from '../check.js';
import { type Device, resolveDevice } from '../device.js';
import { native } from '../native.js';
import { convert } from './convert.js';
import { allocate, type DType, dtypeOf, dtypes, isNumericArray, type TypedArrayOf } from './dtype.js';
import { allocateOn, uploaded } from './storage.js';
import { type Shape, sizeOf, Tensor } from './tensor.js';

export interface TensorOptions<D extends DType = DType> {
  dtype?: D;
  device?: Device;
}

function readOptions<O extends { dtype?: DType | undefined; device?: Device }>(
  op: string,
  options: O | undefined,
): O & { device: Device } {
  const given = checkOptions(op, 'options', options, ['dtype', 'device']);
  if (given.dtype !== undefined) checkChoice(op, 'options.dtype', given.dtype, dtypes);
  return { ...given, device: resolveDevice(op, given.device) };
}

/** A tensor on a device with the numbers of an array, which on the CPU becomes its memory. */
function place<D extends DType>(op: string, device: Device, dtype: D, array: TypedArrayOf<D>, shape: Shape): Tensor<D> {
  if (device === 'cpu') return Tensor.make(op, dtype, array, shape);
  return Tensor.on(device, dtype, uploaded(op, device, dtype, array), shape);
}

function isNested(element: unknown): boolean {
  return Array.isArray(element) || isNumericArray(element);
}

/** More dimensions than anyone means: an array that contains itself ends here. */
const deepest = 32;

/** The shape of nested arrays, whose numbers are appended to `out` in row-major order. */
function flatten(data: readonly unknown[], out: number[], path: string, depth = 1): number[] {
  if (depth > deepest) reject('tensor', 'data', `at most ${deepest} dimensions`, data);
  if (data.length === 0) reject('tensor', path, 'at least one element', data);
  const nested = isNested(data[0]);
  let inner: number[] = [];
  for (let i = 0; i < data.length; i++) {
    const element = data[i];
    if (nested !== isNested(element) || (!nested && typeof element !== 'number')) {
      reject('tensor', `${path}[${i}]`, nested ? 'an array, as its neighbours are' : 'a number', element);
    }
    if (!nested) {
      out.push(element as number);
      continue;
    }
    const shape = flatten(Array.from(element as ArrayLike<unknown>), out, `${path}[${i}]`, depth + 1);
    if (i > 0 && String(shape) !== String(inner)) {
      reject('tensor', `${path}[${i}]`, `the shape of its neighbours, ${describe(inner)}`, shape);
    }
    inner = shape;
  }
  return [data.length, ...inner];
}

/**
 * A tensor with a copy of the data. Nested arrays give the shape; a flat or typed array takes it from `shape`, else it
 * is a vector. The dtype follows a Float32Array, Float64Array or Int32Array, else it is float32. A Uint16Array given
 * as bfloat16 is bits, anything else is rounded to it.
 *
 * @throws SigmaError INVALID_ARGUMENT for what is not numbers or has a dimension of 0, SHAPE_MISMATCH where the data
 * does not fill the shape
 * @example
 * tensor([[1, 2, 3], [4, 5, 6]]).shape; // [2, 3]
 * tensor(new Float64Array(6), [2, 3]).dtype; // 'float64'
 */
export function tensor<const S extends Shape = Shape>(
  data: Float64Array,
  shape?: S,
  options?: { dtype?: undefined; device?: Device },
): Tensor<'float64', S>;
export function tensor<const S extends Shape = Shape>(
  data: Int32Array,
  shape?: S,
  options?: { dtype?: undefined; device?: Device },
): Tensor<'int32', S>;
export function tensor<D extends DType = 'float32', const S extends Shape = Shape>(
  data: ArrayLike<number> | readonly unknown[],
  shape?: S,
  options?: TensorOptions<D>,
): Tensor<D, S>;
export function tensor(
  data: ArrayLike<number> | readonly unknown[],
  shape?: Shape,
  options?: { dtype?: DType | undefined; device?: Device },
): Tensor {
  const { dtype, device } = readOptions('tensor', options);
  const bits = dtype === 'bfloat16' && data instanceof Uint16Array;
  const type = dtype ?? dtypeOf(data) ?? 'float32';
  let numbers: ArrayLike<number>;
  let found: Shape;
  if (isNumericArray(data)) {
    numbers = data;
    found = [data.length];
  } else {
    const list = Array.isArray(data) ? data : arrayFrom(data);
    const flat: number[] = [];
    found = flatten(list, flat, 'data');
    numbers = flat;
  }
  const wanted = shape ?? found;
  const size = sizeOf('tensor', wanted);
  const fits = found.length === 1 ? found[0] === size : String(found) === String(wanted);
  if (!fits) {
    const flat = found.length === 1;
    const expected = flat ? `${found[0]} elements, as the data has` : `that of the data, ${describe(found)}`;
    fail('SHAPE_MISMATCH', 'tensor', 'shape', expected, flat ? `${size} in ${describe(wanted)}` : describe(wanted));
  }
  const source: DType = bits ? 'bfloat16' : 'float64';
  return place('tensor', device, type, convert('tensor', numbers, source, type), wanted);
}

function arrayFrom(data: unknown): unknown[] {
  const length = typeof data === 'object' && data !== null ? (data as ArrayLike<number>).length : undefined;
  if (!Number.isInteger(length)) reject('tensor', 'data', 'an array of numbers', data);
  return Array.from(data as ArrayLike<unknown>);
}

/**
 * A tensor of zeros, float32 by default.
 *
 * @throws SigmaError INVALID_ARGUMENT, OUT_OF_MEMORY
 * @example
 * zeros([2, 3], { dtype: 'float64' });
 */
export function zeros<D extends DType = 'float32', const S extends Shape = Shape>(
  shape: S,
  options?: TensorOptions<D>,
): Tensor<D, S> {
  const { dtype, device } = readOptions('zeros', options);
  const type = (dtype ?? 'float32') as D;
  const size = sizeOf('zeros', shape);
  if (device === 'cpu') return Tensor.make('zeros', type, allocate('zeros', type, size), shape);
  const memory = allocateOn('zeros', device, type, size);
  native.deviceZero(memory);
  return Tensor.on(device, type, memory, shape);
}
