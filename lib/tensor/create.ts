import { checkChoice, checkOptions, describe, fail, isArray, readLength, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { native } from '../runtime/native.js';
import { convert } from './convert.js';
import { allocate, type DType, dtypeOf, dtypes, givenType, type NumberDType, type TypedArrayOf } from './dtype.js';
import { mostDimensions, readShape, type Shape, sizeOf } from './shape.js';
import { allocateOn, uploaded } from './storage.js';
import { Tensor } from './tensor.js';
import { isNumberArray, plainView } from './typed-array.js';

export interface TensorOptions<D extends DType = DType> {
  /** Default: the type of a Float32Array, Float64Array or Int32Array, else 'float32'. Not 'int8', which `cast` makes. */
  dtype?: D;
  /** Default 'cpu'. */
  device?: Device;
}

function readOptions<D extends DType>(
  op: string,
  options: { dtype?: D | undefined; device?: Device } | undefined,
): { dtype: Extract<D, NumberDType> | undefined; device: Device } {
  const { dtype, device } = checkOptions<{ dtype?: D | undefined; device?: Device }>(op, 'options', options, [
    'dtype',
    'device',
  ]);
  if (dtype !== undefined) checkChoice(op, 'options.dtype', dtype, dtypes);
  return { dtype: dtype as Extract<D, NumberDType> | undefined, device: resolveDevice(op, device) };
}

/** A tensor with the numbers of an array. On the CPU the array becomes its memory. */
function fromArray<D extends NumberDType>(
  op: string,
  device: Device,
  dtype: D,
  array: TypedArrayOf<D>,
  shape: Shape,
): Tensor<D> {
  if (device === 'cpu') return Tensor.make(op, dtype, array, shape);
  return Tensor.on(device, dtype, uploaded(op, device, dtype, array), shape);
}

function isNested(element: unknown): element is ArrayLike<unknown> {
  return isArray(element) || isNumberArray(element);
}

/** Appends the numbers of nested arrays to `out` in row-major order and returns the shape. Reads each element once. */
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

/** The numbers, and the shape of their nesting. */
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
 * A tensor with a copy of the data. Nested arrays define the shape. A flat or typed array takes it from `shape`;
 * without `shape` it becomes a vector. A Float32Array, Float64Array or Int32Array defines the dtype; other data becomes
 * float32. With `dtype: 'bfloat16'` a Uint16Array holds the bits of bfloat16 numbers; other data is rounded to
 * bfloat16.
 *
 * @throws SigmaError INVALID_ARGUMENT for data that is not numbers, a dimension of 0, or a number outside the range of
 * int32; SHAPE_MISMATCH if the data does not fill the shape; DEVICE_UNAVAILABLE, OUT_OF_MEMORY
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
  return fromArray('tensor', device, type, array, wanted);
}

/**
 * A tensor of zeros, by default float32 on the CPU.
 *
 * @throws SigmaError INVALID_ARGUMENT, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * zeros([2, 3], { dtype: 'float64' });
 */
export function zeros<D extends DType = 'float32', const S extends Shape = Shape>(
  shape: S,
  options?: TensorOptions<D>,
): Tensor<D, S> {
  const op = 'zeros';
  const { dtype, device } = readOptions(op, options);
  const type = (dtype ?? 'float32') as Extract<D, NumberDType>;
  const read = readShape(op, shape);
  const size = sizeOf(read);
  if (device === 'cpu') return Tensor.make<D, S>(op, type, allocate(op, type, size) as TypedArrayOf<D>, read as S);
  const memory = allocateOn(op, device, type, size);
  native.deviceZero(op, memory);
  return Tensor.on(device, type, memory, read) as Tensor as Tensor<D, S>;
}
