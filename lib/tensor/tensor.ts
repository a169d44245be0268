import { checkChoice, describe, fail, reject } from '../check.js';
import { type Device, resolveDevice } from '../device.js';
import { SigmaError } from '../errors.js';
import { convert } from './convert.js';
import { type DType, dtypeOf, dtypes, type TypedArrayOf } from './dtype.js';
import { countBytes, countTensors } from './memory.js';
import { track } from './scope.js';

export type Shape = readonly number[];
export type VectorShape = readonly [length: number];
export type MatrixShape = readonly [rows: number, columns: number];
export type StackShape = readonly [batch: number, rows: number, columns: number];

/** The memory behind one or more tensors of one device. */
interface Storage {
  array: Float32Array | Float64Array | Uint16Array | Int32Array;
  owners: number;
}

/** The number of elements of a shape, each of whose dimensions must be a positive integer. */
export function sizeOf(op: string, shape: unknown): number {
  if (!Array.isArray(shape) || !shape.every((n) => Number.isInteger(n) && n >= 1)) {
    reject(op, 'shape', 'an array of positive integers', shape);
  }
  const size = (shape as number[]).reduce((product, n) => product * n, 1);
  if (!Number.isSafeInteger(size)) reject(op, 'shape', 'fewer than 2^53 elements', shape);
  return size;
}

/**
 * An array of numbers with a shape, row-major. On the CPU it is a view on an ArrayBuffer that JavaScript owns.
 * Dispose it when done: directly, with `using`, or through `tidy`.
 *
 * @example
 * const w = tensor([[1, 2], [3, 4]], undefined, { dtype: 'float64' });
 * w.shape; // [2, 2]
 * w.dispose();
 */
export class Tensor<D extends DType = DType, S extends Shape = Shape> implements Disposable {
  readonly dtype: D;
  readonly shape: S;
  readonly device: Device = 'cpu';
  readonly size: number;
  readonly #storage: Storage;
  #disposed = false;

  private constructor(dtype: D, shape: S, size: number, storage: Storage) {
    if (typeof storage !== 'object')
      reject('Tensor', 'new Tensor', 'tensor(…) or Tensor.wrap(…), which make tensors', dtype);
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]) as unknown as S;
    this.size = size;
    this.#storage = storage;
    if (storage.owners === 0) countBytes(this.device, storage.array.byteLength);
    storage.owners += 1;
    countTensors(1);
    track(this);
  }

  /**
   * Takes the typed array as the tensor's own memory, without a copy: writes to one are seen in the other.
   *
   * @throws SigmaError INVALID_ARGUMENT for another array type, SHAPE_MISMATCH where the length is not the shape's
   * @example
   * const w = Tensor.wrap(parameters.subarray(0, 6), [2, 3]); // a part of a framework's own array
   */
  static wrap<A extends Float32Array | Float64Array | Int32Array, const S extends Shape>(
    memory: A,
    shape: S,
  ): Tensor<A extends Float32Array ? 'float32' : A extends Float64Array ? 'float64' : 'int32', S> {
    const dtype = dtypeOf(memory);
    if (dtype === undefined) reject('Tensor.wrap', 'memory', 'a Float32Array, Float64Array or Int32Array', memory);
    return Tensor.make('Tensor.wrap', dtype, memory, shape) as never;
  }

  /** @internal A tensor made here, and not an object that merely inherits from one. */
  static is(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #storage in value;
  }

  /** @internal A tensor on memory of its type. */
  static make<D extends DType, S extends Shape>(op: string, dtype: D, array: TypedArrayOf<D>, shape: S): Tensor<D, S> {
    const size = sizeOf(op, shape);
    if (array.length !== size) {
      fail('SHAPE_MISMATCH', op, 'shape', `${array.length} elements, as the data has`, `${size} in ${describe(shape)}`);
    }
    return new Tensor(dtype, shape, size, { array, owners: 0 });
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** On the CPU the tensor's own live memory, which may be written at any time; from another device a copy. */
  async data(): Promise<TypedArrayOf<D>> {
    return this.dataSync();
  }

  /** The same as `data`, at once. */
  dataSync(): TypedArrayOf<D> {
    return this.read('Tensor.dataSync', 'this');
  }

  /** @internal The memory, for operation `op`: DISPOSED or INVALID_ARGUMENT where it is gone. */
  read(op: string, argument: string): TypedArrayOf<D> {
    if (this.#disposed) {
      throw new SigmaError('DISPOSED', op, `${argument}: expected a live tensor, got one that was disposed`);
    }
    const { array } = this.#storage;
    if (array.length !== this.size) {
      fail(
        'INVALID_ARGUMENT',
        op,
        argument,
        `a buffer of ${this.size} elements`,
        `${array.length}: it was detached or resized`,
      );
    }
    return array as TypedArrayOf<D>;
  }

  /** @internal Another handle on the same memory. */
  share(): Tensor<D, S> {
    this.read('Tensor.share', 'this');
    return new Tensor(this.dtype, this.shape, this.size, this.#storage);
  }

  /** A handle on `device`; on the tensor's own device it shares the memory. */
  async to(device: Device): Promise<Tensor<D, S>> {
    this.read('Tensor.to', 'this');
    if (device === undefined) reject('Tensor.to', 'device', `'cpu', 'cuda' or 'cuda:N'`, device);
    resolveDevice('Tensor.to', device);
    return this.share();
  }

  /** A copy in another type. bfloat16 rounds to nearest even, int32 truncates. */
  cast<E extends DType>(dtype: E): Tensor<E, S> {
    const from = this.read('Tensor.cast', 'this');
    checkChoice('Tensor.cast', 'dtype', dtype, dtypes);
    return Tensor.make('Tensor.cast', dtype, convert('Tensor.cast', from, this.dtype, dtype), this.shape);
  }

  /** A handle on the same memory with another shape of the same size. */
  reshape<const T extends Shape>(shape: T): Tensor<D, T> {
    this.read('Tensor.reshape', 'this');
    const size = sizeOf('Tensor.reshape', shape);
    if (size !== this.size) {
      fail('SHAPE_MISMATCH', 'Tensor.reshape', 'shape', `${this.size} elements`, `${size} in ${describe(shape)}`);
    }
    return new Tensor(this.dtype, shape, size, this.#storage);
  }

  /** Gives the memory back, once no other tensor shares it. May be called again. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    countTensors(-1);
    this.#storage.owners -= 1;
    if (this.#storage.owners > 0) return;
    countBytes(this.device, -this.size * this.#storage.array.BYTES_PER_ELEMENT);
    // A disposed tensor that somebody still holds must not hold the memory.
    this.#storage.array = new Float32Array(0);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
