import { checkChoice, describe, fail, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { SigmaError } from '../runtime/errors.js';
import { type DeviceMemory, type NumericArray, native } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { convert } from './convert.js';
import {
  type DType,
  dtypeOf,
  dtypes,
  givenType,
  type MatrixDType,
  type Real,
  readNumbers,
  type TypedArrayOf,
} from './dtype.js';
import { countTensors } from './memory.js';
import { firstNumbers } from './print.js';
import { track } from './scope.js';
import { readShape, type Shape, sizeOf } from './shape.js';
import {
  acquire,
  allocateOn,
  bytesOf,
  downloaded,
  downloadedLater,
  isHost,
  release,
  Storage,
  uploaded,
} from './storage.js';
import { lengthOf } from './typed-array.js';

export type { MatrixShape, Shape, StackShape, VectorShape } from './shape.js';

/** A tensor in the place of a vector, or of a matrix of sums. */
export type Vector<S extends Shape = Shape> = Tensor<Real, S>;
/** A tensor in the place of a matrix. */
export type Matrix<S extends Shape = Shape> = Tensor<MatrixDType, S>;

/** What tells later whether a tensor was written: its numbers on the CPU, where anyone may write; a count on a device. */
export type Snapshot = NumericArray | number;

const described = { name: 'Tensor', instead: '{ shape, dtype, data: await tensor.data() }' };
const cloning = uncloneable(described);

/**
 * An array of numbers with a shape, row-major. On the CPU it is a view on an ArrayBuffer that JavaScript owns, on another
 * device memory that `dispose` gives back. Dispose it when done: directly, with `using`, or through `tidy`. console.log and
 * String show the first numbers, but fetch none from a device. A structured clone would lose the numbers, so it is refused:
 * send `{ shape, dtype, data: await w.data() }` to a worker, which makes `tensor(data, shape, { dtype })` of them.
 *
 * @example
 * const w = tensor([[1, 2], [3, 4]], undefined, { dtype: 'float64' });
 * w.shape; // [2, 2]
 * w.dispose();
 */
export class Tensor<D extends DType = DType, S extends Shape = Shape> implements Disposable {
  static {
    publish<Tensor>(Tensor, { ...described, isOwn: (value) => #storage in value, print: (tensor) => tensor.#print() });
  }

  /** @internal */
  readonly cloning = cloning;
  readonly dtype: D;
  readonly shape: S;
  readonly device: Device;
  readonly size: number;
  readonly #storage: Storage;
  #disposed = false;

  /** `shape` was read before. */
  private constructor(dtype: D, shape: S, size: number, storage: Storage) {
    if (!(storage instanceof Storage)) {
      reject('Tensor', 'new Tensor', 'tensor(…) or Tensor.wrap(…), which make tensors', dtype);
    }
    this.dtype = dtype;
    this.shape = shape;
    this.size = size;
    this.device = storage.device;
    this.#storage = storage;
    acquire(storage, bytesOf(dtype, size));
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

  /** @internal A tensor on JavaScript's memory of its type; `reusable` where nobody else has a view on it. */
  static make<D extends DType, S extends Shape>(
    op: string,
    dtype: D,
    array: TypedArrayOf<D>,
    shape: S,
    reusable = false,
  ): Tensor<D, S> {
    const read = readShape(op, shape);
    const size = sizeOf(read);
    const { length } = array;
    if (length !== size) {
      fail('SHAPE_MISMATCH', op, 'shape', `${length} elements, as the data has`, `${size} in ${describe(read)}`);
    }
    return new Tensor(dtype, read, size, new Storage('cpu', array, size, reusable));
  }

  /** @internal A tensor on memory of a device. */
  static on<D extends DType, S extends Shape>(device: Device, dtype: D, memory: DeviceMemory, shape: S): Tensor<D, S> {
    const read = readShape('Tensor', shape);
    const size = sizeOf(read);
    return new Tensor(dtype, read, size, new Storage(device, memory, size, false));
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * On the CPU the tensor's own live memory, which may be written at any time; from another device a copy. It may begin
   * anywhere in its `buffer`, as `byteOffset` says, and stays as it is when the tensor is disposed.
   */
  async data(): Promise<TypedArrayOf<D>> {
    const memory = this.handOut('Tensor.data', 'this');
    return isHost(memory) ? (memory as TypedArrayOf<D>) : downloadedLater('Tensor.data', this.dtype, this.size, memory);
  }

  /** The same as `data`, at once: from a device it waits for the work that was queued there. */
  dataSync(): TypedArrayOf<D> {
    return this.numbers('Tensor.dataSync', 'this');
  }

  /**
   * Overwrites the numbers, on any device. A Uint16Array given to a bfloat16 tensor is bits, anything else is rounded.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH where there are more or fewer numbers, DISPOSED
   * @example
   * layer.parameters[0].value.assign(saved);
   */
  assign(data: ArrayLike<number>): void {
    const op = 'Tensor.assign';
    this.read(op, 'this');
    const numbers = readNumbers(op, 'data', data);
    if (numbers.length !== this.size) {
      fail('SHAPE_MISMATCH', op, 'data', `${this.size} numbers`, describe(numbers.length));
    }
    const array = convert(op, 'data', numbers, givenType(data, this.dtype), this.dtype);
    // Not before: the caller's numbers may have getters.
    const memory = this.read(op, 'this');
    if (isHost(memory)) memory.set(array);
    else native.deviceUpload(op, memory, array);
    this.#storage.writes += 1;
  }

  /**
   * @internal The memory, for operation `op`: DISPOSED or INVALID_ARGUMENT where it is gone. To be used at once: when the
   * tensor is disposed it may serve another result.
   */
  read(op: string, argument: string): TypedArrayOf<D> | DeviceMemory {
    if (this.#disposed) {
      throw new SigmaError('DISPOSED', op, `${argument}: expected a live tensor, got one that was disposed`);
    }
    const { memory, size } = this.#storage;
    if (isHost(memory) && lengthOf(memory) !== size) {
      const got = `${lengthOf(memory)}: it was detached or resized`;
      fail('INVALID_ARGUMENT', op, argument, `a buffer of ${size} elements`, got);
    }
    return memory as TypedArrayOf<D> | DeviceMemory;
  }

  /** @internal The same for somebody who may keep it: it will serve no other result. */
  handOut(op: string, argument: string): TypedArrayOf<D> | DeviceMemory {
    const memory = this.read(op, argument);
    this.#storage.reusable = false;
    return memory;
  }

  /** @internal The numbers on the host, to be kept as long as one likes: the live memory on the CPU, else a copy. */
  numbers(op: string, argument: string): TypedArrayOf<D> {
    const memory = this.handOut(op, argument);
    return isHost(memory) ? (memory as TypedArrayOf<D>) : downloaded(op, this.dtype, this.size, memory);
  }

  /** @internal To be called when an operation has written into the memory. */
  written(): void {
    this.#storage.writes += 1;
  }

  /** @internal For `unchangedSince`. */
  snapshot(op: string, argument: string): Snapshot {
    const memory = this.read(op, argument);
    return isHost(memory) ? memory.slice() : this.#storage.writes;
  }

  /** @internal Whether the numbers still have the bits they had at the snapshot. */
  unchangedSince(op: string, argument: string, snapshot: Snapshot): boolean {
    const memory = this.read(op, argument);
    if (typeof snapshot === 'number') return snapshot === this.#storage.writes;
    return isHost(memory) && sameBits(memory, snapshot);
  }

  /** @internal Another handle on the same memory. */
  share(): Tensor<D, S> {
    this.read('Tensor.share', 'this');
    return new Tensor(this.dtype, this.shape, this.size, this.#storage);
  }

  /** A copy on `device`; on the tensor's own device a handle that shares the memory. */
  async to(device: Device): Promise<Tensor<D, S>> {
    const op = 'Tensor.to';
    const memory = this.read(op, 'this');
    if (device === undefined) reject(op, 'device', `'cpu', 'cuda' or 'cuda:N'`, device);
    const target = resolveDevice(op, device);
    if (target !== 'cpu' || isHost(memory)) return this.on(op, target);
    return Tensor.make(op, this.dtype, await downloadedLater(op, this.dtype, this.size, memory), this.shape);
  }

  /** @internal The same at once. */
  on(op: string, device: Device): Tensor<D, S> {
    if (device === this.device) return this.share();
    const numbers = this.numbers(op, 'this');
    if (device === 'cpu') return Tensor.make(op, this.dtype, numbers, this.shape);
    return Tensor.on(device, this.dtype, uploaded(op, device, this.dtype, numbers), this.shape);
  }

  /**
   * A copy in another type. bfloat16 rounds to nearest even, int32 truncates.
   *
   * @throws SigmaError INVALID_ARGUMENT for a number that int32 cannot hold, DISPOSED
   */
  cast<E extends DType>(dtype: E): Tensor<E, S> {
    const op = 'Tensor.cast';
    const from = this.read(op, 'this');
    checkChoice(op, 'dtype', dtype, dtypes);
    if (isHost(from)) return Tensor.make(op, dtype, convert(op, 'this', from, this.dtype, dtype), this.shape);
    if ((dtype as DType) === 'int32' || this.dtype === 'int32') {
      const converted = convert(op, 'this', this.numbers(op, 'this'), this.dtype, dtype);
      return Tensor.on(this.device, dtype, uploaded(op, this.device, dtype, converted), this.shape);
    }
    const memory = allocateOn(op, this.device, dtype, this.size);
    if ((dtype as DType) === this.dtype) native.deviceCopy(op, memory, from);
    else native.deviceCast(op, memory, from);
    return Tensor.on(this.device, dtype, memory, this.shape);
  }

  /** A handle on the same memory with another shape of the same size. */
  reshape<const T extends Shape>(shape: T): Tensor<D, T> {
    const op = 'Tensor.reshape';
    const read = readShape(op, shape);
    const size = sizeOf(read);
    // Not before: the caller's shape may have getters.
    this.read(op, 'this');
    if (size !== this.size) {
      fail('SHAPE_MISMATCH', op, 'shape', `${this.size} elements`, `${size} in ${describe(read)}`);
    }
    return new Tensor(this.dtype, read, size, this.#storage);
  }

  /**
   * Gives the memory back, once no other tensor shares it: a later result may use it, unless `data` or `dataSync` has
   * shown it. May be called again.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    countTensors(-1);
    release('Tensor.dispose', this.#storage, bytesOf(this.dtype, this.size));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #print(): string {
    const what = `Tensor [${this.shape.join(', ')}] ${this.dtype}`;
    if (this.#disposed) return `${what}, disposed`;
    const { memory, size } = this.#storage;
    if (!isHost(memory)) return `${what} on ${this.device} (await its data() to see the numbers)`;
    if (memory.length !== size) return `${what}, whose memory was detached or resized`;
    return `${what} on cpu: ${firstNumbers(this.dtype, memory)}`;
  }
}

function sameBits(a: NumericArray, b: NumericArray): boolean {
  const bytes = (array: NumericArray) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(a).equals(bytes(b));
}
