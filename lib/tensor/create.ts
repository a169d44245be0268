import { checkChoice, checkOptions, describe, fail, isArray, readLength, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { native } from '../runtime/native.js';
import { convert } from './convert.js';
import { allocate, type DType, dtypeOf, dtypes, givenType, type TypedArrayOf } from './dtype.js';
import { mostDimensions, readShape, type Shape, sizeOf } from './shape.js';
import { allocateOn, uploaded } from './storage.js';
import { Tensor } from './tensor.js';
import { isNumberArray, plainView } from './typed-array.js';

export interface TensorOptions<D extends DType = DType> {
  dtype?: D;
  device?: Device;
}

function readOptions<D extends DType>(
  op: string,
  options: { dtype?: D | undefined; device?: Device } | undefined,
): { dtype: D | undefined; device: Device } {
  const { dtype, device } = checkOptions<{ dtype?: D | undefined; device?: Device }>(op, 'options', options, [
    'dtype',
    'device',
  ]);
  if (dtype !== undefined) checkChoice(op, 'options.dtype', dtype, dtypes);
  return { dtype, device: resolveDevice(op, device) };
}

/** A tensor on a device with the numbers of an array, which on the CPU becomes its memory. */
function place<D extends DType>(op: string, device: Device, dtype: D, array: TypedArrayOf<D>, shape: Shape): Tensor<D> {
  if (device === 'cpu') return Tensor.make(op, dtype, array, shape);
  return Tensor.on(device, dtype, uploaded(op, device, dtype, array), shape);
}

function isNested(element: unknown): element is ArrayLike<unknown> {
  return isArray(element) || isNumberArray(element);
}

/** The shape of nested arrays, whose numbers are appended to `out` in row-major order. Each element is read once. */
function flatten(data: unknown, out: number[], path: string, depth = 1): number[] {
  if (depth > mostDimensions) reject('tensor', 'data', `at most ${mostDimensions} dimensions`, data);
  let nested: boolean | undefined;
  let inner: number[] = [];
  const list = (isNumberArray(data) ? plainView(data) : data) as ArrayLike<unknown>;
  const length = readLength('tensor', path, list, 'an array of numbers');
  for (let i = 0; i < length; i++) {
    const element = list[i];
    nested ??= isNested(element);
    if (nested !== isNested(element) || (!nested && typeof element !== 'number')) {
      reject('tensor', `${path}[${i}]`, nested ? 'an array, as its neighbours are' : 'a number', element);
    }
    if (!nested) {
      out.push(element as number);
      continue;
    }
    const shape = flatten(element, out, `${path}[${i}]`, depth + 1);
    if (i > 0 && String(shape) !== String(inner)) {
      reject('tensor', `${path}[${i}]`, `the shape of its neighbours, ${describe(inner)}`, shape);
    }
    inner = shape;
  }
  if (length === 0) reject('tensor', path, 'at least one element', data);
  return [length, ...inner];
}

/** Numbers, and the shape that their nesting gives. */
function readData(data: unknown): { numbers: ArrayLike<number>; found: Shape } {
  if (isNumberArray(data)) {
    const numbers = plainView(data);
    return { numbers, found: [numbers.length] };
  }
  const numbers: number[] = [];
  const found = flatten(data, numbers, 'data');
  return { numbers, found };
}

/**
 * A tensor with a copy of the data. Nested arrays give the shape; a flat or typed array takes it from `shape`, else it
 * is a vector. The dtype follows a Float32Array, Float64Array or Int32Array, else it is float32. A Uint16Array given
 * as bfloat16 is bits, anything else is rounded to it.
 *
 * @throws SigmaError INVALID_ARGUMENT for what is not numbers, a dimension of 0, or a number that int32 cannot hold, SHAPE_MISMATCH where the data
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
  const type = dtype ?? dtypeOf(data) ?? 'float32';
  const given = shape === undefined ? undefined : readShape('tensor', shape);
  const { numbers, found } = readData(data);
  const wanted = readShape('tensor', given ?? found);
  const size = sizeOf(wanted);
  const fits = found.length === 1 ? found[0] === size : String(found) === String(wanted);
  if (!fits) {
    const flat = found.length === 1;
    const expected = flat ? `${found[0]} elements, as the data has` : `that of the data, ${describe(found)}`;
    fail('SHAPE_MISMATCH', 'tensor', 'shape', expected, flat ? `${size} in ${describe(wanted)}` : describe(wanted));
  }
  const array = convert('tensor', 'data', numbers, givenType(data, type), type);
  return place('tensor', device, type, array, wanted);
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
  const op = 'zeros';
  const { dtype, device } = readOptions(op, options);
  const type = (dtype ?? 'float32') as D;
  const read = readShape(op, shape);
  const size = sizeOf(read);
  if (device === 'cpu') return Tensor.make(op, type, allocate(op, type, size), read);
  const memory = allocateOn(op, device, type, size);
  native.deviceZero(op, memory);
  return Tensor.on(device, type, memory, read);
}
