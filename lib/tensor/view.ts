import { types } from 'node:util';
import { describe, fail, isArray, isRecord, reject } from '../runtime/check.js';
import { bitsFor, type DType, dtypeOf, dtypes, type TypedArrayOf } from './dtype.js';
import { packCodes } from './int8.js';
import { readShape, type Shape, sizeOf } from './shape.js';
import { Tensor } from './tensor.js';
import { lengthOf } from './typed-array.js';

/**
 * Numbers with a shape: a typed array (Float32Array, Float64Array, Int32Array; a Uint16Array with the `dtype` 'bfloat16' or 'float16', a
 * Float16Array)
 * in row-major order. Its memory is used as it is, without a copy.
 */
export interface ShapedData {
  readonly data: ArrayLike<unknown>;
  readonly shape: readonly number[];
  /** If it is given, the type of `data`. */
  readonly dtype?: string;
  /**
   * A Float32Array [rows, ⌈columns / 64⌉], if `data` is an Int8Array: its codes times these are U or Vᵀ of a decomposition.
   * Only such an object is copied.
   */
  readonly scales?: ArrayLike<number> | undefined;
}

/** The same as onnxruntime and transformers.js have it. */
export interface DimensionedData {
  readonly data: ArrayLike<unknown>;
  readonly dims: readonly number[];
  /** If it is given, the type of `data`. */
  readonly type?: string;
}

export type View = ShapedData | DimensionedData;

/**
 * A tensor of this package, or an object of its form: `{ data, shape }`, or `{ data, dims, type }`. The package holds the
 * memory of such an object, but does not count it in `memory()`. Each call reads its properties once.
 *
 * @example
 * layer.apply({ data: new Float32Array(8), shape: [2, 4] });
 * layer.apply(new ort.Tensor('float32', numbers, [2, 4]));
 */
export type TensorLike<D extends DType = DType, S extends Shape = Shape> = Tensor<D, S> | View;

/**
 * The tensor on the memory of an object of a tensor's form; undefined for a value without typed numbers. An array that is
 * not row-major, or of another type, is refused.
 */
export function viewOf(op: string, argument: string, value: unknown): Tensor | undefined {
  if (!isRecord(value) || ArrayBuffer.isView(value)) return undefined;
  const array = value['data'];
  if (!types.isTypedArray(array)) return undefined;
  const shape = value['shape'] ?? value['dims'];
  if (!isArray(shape)) return undefined;
  const name = value['dtype'] ?? value['type'];
  const dtype = types.isInt8Array(array)
    ? codesType(op, argument, array, name)
    : declaredType(op, argument, array, name);
  const [strides, offset] = [value['strides'] ?? value['stride'], value['offset']];
  const read = readShape(op, shape as readonly number[], true, `${argument}.shape`);
  const size = sizeOf(read);
  if (!isRowMajor(read, strides, offset)) {
    reject(op, argument, 'numbers in row-major order, from the first on', { strides, offset });
  }
  if (lengthOf(array) !== size) {
    const elements = `${size} elements for shape ${describe([...read])}`;
    fail('SHAPE_MISMATCH', op, `${argument}.data`, elements, `${lengthOf(array)}`);
  }
  if (dtype === 'float16') return Tensor.onForeign(dtype, bitsFor(dtype, array) as TypedArrayOf<DType>, read, size);
  if (dtype !== 'int8') return Tensor.onForeign(dtype, array as TypedArrayOf<DType>, read, size);
  return Tensor.onForeign(dtype, packCodes(op, argument, array as Int8Array, value['scales'], read), read, size);
}

function codesType(op: string, argument: string, array: NodeJS.TypedArray, name: unknown): DType {
  if (name === undefined || name === 'int8') return 'int8';
  fail('DTYPE_MISMATCH', op, `${argument}.data`, `the type 'int8' for codes`, `${describe(array)} of type '${name}'`);
}

/** The type of the array, which the type that the object names must be. */
function declaredType(op: string, argument: string, array: NodeJS.TypedArray, name: unknown): DType {
  const asBits = types.isUint16Array(array) && (name === 'bfloat16' || name === 'float16') ? name : undefined;
  const found = dtypeOf(array) ?? asBits;
  if (found === undefined || (typeof name === 'string' && name !== found)) {
    const bare = types.isUint16Array(array) && name === undefined;
    const hint = bare ? ', whose bits may be bfloat16 or float16: name the `dtype`, or `type`, of the object' : '';
    const got = `${describe(array)}${typeof name === 'string' ? ` of type '${name}'` : ''}${hint}`;
    fail('DTYPE_MISMATCH', op, `${argument}.data`, `the typed array of ${dtypes.join(', ')}`, got);
  }
  return found;
}

/** Whether strides, if there are any, are those of a row-major array. */
function isRowMajor(shape: Shape, strides: unknown, offset: unknown): boolean {
  if (typeof offset === 'number' && offset !== 0) return false;
  if (!isArray(strides) || strides.length === 0) return true;
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const length = shape[axis] as number;
    // The stride of an axis of one element does not matter.
    if (length > 1 && strides[axis] !== step) return false;
    step *= length;
  }
  return true;
}

/**
 * A tensor as an instance of another library's class, whose constructor takes (type, data, dims): onnxruntime's and
 * transformers.js' do. On the CPU the instance has the tensor's own memory; from a device it has a copy.
 *
 * @param Class such as `ort.Tensor`
 * @throws SigmaError INVALID_ARGUMENT, DISPOSED; and what the constructor throws, for a type that its library lacks
 * @example
 * const y = toLike(layer.apply(x), ort.Tensor);
 */
export function toLike<D extends DType, T>(
  tensor: Tensor<D>,
  Class: new (type: D, data: TypedArrayOf<D>, dims: number[]) => T,
): T {
  const op = 'toLike';
  if (!Tensor.is(tensor)) reject(op, 'tensor', 'a Tensor', tensor);
  if (tensor.dtype === 'int8') fail('UNSUPPORTED', op, 'tensor', 'a type without scales (cast it first)', 'int8');
  if (typeof Class !== 'function') reject(op, 'Class', 'a class whose constructor takes (type, data, dims)', Class);
  return new Class(tensor.dtype, tensor.numbers(op, 'tensor') as TypedArrayOf<D>, [...tensor.shape]);
}
