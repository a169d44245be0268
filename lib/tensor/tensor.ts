import { checkChoice, describe, fail, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { SigmaError } from '../runtime/errors.js';
import { type DeviceMemory, type NumericArray, native } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { convert } from './convert.js';
import {
  bitsFor,
  type DType,
  dtypeOf,
  dtypes,
  type FactorDType,
  givenType,
  type MatrixDType,
  type NumberDType,
  type Real,
  readNumbers,
  type TypedArrayOf,
} from './dtype.js';
import { castCodes, codesIn, lengthFor, scalesIn } from './int8.js';
import { countTensors } from './memory.js';
import { firstNumbers } from './print.js';
import { track } from './scope.js';
import { readShape, type Shape, sizeOf } from './shape.js';
import {
  acquire,
  allocateOn,
  downloaded,
  downloadedLater,
  isHost,
  type Reader,
  release,
  Storage,
  uploaded,
} from './storage.js';
import { lengthOf } from './typed-array.js';

export type { MatrixShape, Shape, StackShape, VectorShape } from './shape.js';

/** A tensor of a type that vectors and accumulators have. */
export type Vector<S extends Shape = Shape> = Tensor<Real, S>;
/** A tensor of a type that matrices have. */
export type Matrix<S extends Shape = Shape> = Tensor<MatrixDType, S>;
/** U or Vᵀ of a decomposition, a tensor of a type in which they can be kept. */
export type FactorMatrix<S extends Shape = Shape> = Tensor<FactorDType, S>;

/** Detects later writes: a copy of the numbers on the CPU, where JavaScript may write; the write count on a device. */
export type Snapshot = NumericArray | number;

const described = { name: 'Tensor', instead: '{ shape, dtype, data: await tensor.data() }' };
const cloning = uncloneable(described);

/**
 * An n-dimensional array in row-major order. On the CPU it is a view of an ArrayBuffer; on a device it owns device
 * memory. Dispose it when you no longer need it: with `dispose()`, with `using`, or through `tidy`.
 *
 * console.log and String show the first numbers, but fetch none from a device. A structured clone would lose the
 * numbers, so it throws. Send `{ shape, dtype, data: await w.data() }` to a worker instead, and call `tensor(data,
 * shape, { dtype })` there.
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

  /** `shape` comes from `readShape`. */
  private constructor(dtype: D, shape: S, size: number, storage: Storage) {
    if (!(storage instanceof Storage)) {
      reject('Tensor', 'new Tensor', 'a call of tensor(…) or Tensor.wrap(…) instead', dtype);
    }
    this.dtype = dtype;
    this.shape = shape;
    this.size = size;
    this.device = storage.device;
    this.#storage = storage;
    acquire(storage);
    if (!storage.counted) return;
    countTensors(1);
    track(this);
  }

  /**
   * A CPU tensor on the typed array's own memory, without a copy: writes to one are seen in the other. An empty array
   * makes a batch of no rows, which layers accept: `Tensor.wrap(new Float32Array(0), [0, 768])`.
   *
   * @throws SigmaError INVALID_ARGUMENT for another array type, SHAPE_MISMATCH if the array does not fill the shape
   * @example
   * const w = Tensor.wrap(parameters.subarray(0, 6), [2, 3]); // a part of a framework's own array
   */
  static wrap<A extends Float32Array | Float64Array | Int32Array, const S extends Shape>(
    memory: A,
    shape: S,
  ): Tensor<A extends Float32Array ? 'float32' : A extends Float64Array ? 'float64' : 'int32', S> {
    const dtype = dtypeOf(memory);
    if (dtype === undefined) reject('Tensor.wrap', 'memory', 'a Float32Array, Float64Array or Int32Array', memory);
    const own = dtype === 'float16' ? bitsFor(dtype, memory) : memory;
    return Tensor.make<DType, S>('Tensor.wrap', dtype, own as TypedArrayOf<DType>, shape) as never;
  }

  /** @internal Whether this copy of the package made a tensor. false for an object that only inherits from one. */
  static is(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #storage in value;
  }

  /** @internal A tensor on a typed array. `reusable`: there is no other view of its memory. */
  static make<D extends DType, S extends Shape>(
    op: string,
    dtype: D,
    array: TypedArrayOf<D>,
    shape: S,
    reusable = false,
  ): Tensor<D, S> {
    const read = readShape(op, shape, true);
    const size = sizeOf(read);
    const { length } = array;
    if (length !== lengthFor(dtype, read)) {
      fail('SHAPE_MISMATCH', op, 'shape', `${length} elements, as the data has`, `${size} in ${describe(read)}`);
    }
    return new Tensor(dtype, read, size, new Storage('cpu', array, dtype, length, reusable));
  }

  /**
   * @internal A tensor on the memory of an object that is no tensor of ours. memory() and tidy do not see it, because
   * no one disposes it; nor those that share its memory.
   */
  static onForeign(dtype: DType, array: TypedArrayOf<DType>, shape: Shape, size: number): Tensor {
    return new Tensor(dtype, shape, size, new Storage('cpu', array, dtype, array.length, false, false));
  }

  /** @internal A tensor on device memory, which it owns. */
  static on<D extends DType, S extends Shape>(device: Device, dtype: D, memory: DeviceMemory, shape: S): Tensor<D, S> {
    const read = readShape('Tensor', shape, true);
    const size = sizeOf(read);
    return new Tensor(dtype, read, size, new Storage(device, memory, dtype, size, false));
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * The numbers. On the CPU this is the tensor's own live memory, which you may write at any time; from a device it is
   * a copy. The array may begin at any `byteOffset` of its `buffer`. It stays valid after the tensor is disposed.
   *
   * @throws SigmaError (as a rejection) DISPOSED, INVALID_ARGUMENT if the buffer was detached or resized
   * @example
   * const numbers = await w.data(); // Float32Array of length w.size
   */
  async data(): Promise<TypedArrayOf<D>> {
    const memory = this.handOut('Tensor.data', 'this');
    return isHost(memory) ? this.#numbersIn(memory) : downloadedLater('Tensor.data', this.dtype, this.size, memory);
  }

  /**
   * `data`, synchronously. From a device it blocks until the queued work is done.
   *
   * @throws SigmaError DISPOSED, INVALID_ARGUMENT if the buffer was detached or resized
   * @example
   * layer.parameters[0].value.dataSync()[0] = 0.5; // on the CPU
   */
  dataSync(): TypedArrayOf<D> {
    return this.numbers('Tensor.dataSync', 'this');
  }

  /**
   * Overwrites all numbers, on any device. For a bfloat16 or float16 tensor a Uint16Array holds bits; other data is rounded.
   *
   * @param data `size` numbers in row-major order
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH for more or fewer numbers, DISPOSED
   * @example
   * layer.parameters[0].value.assign(saved);
   */
  assign(data: ArrayLike<number>): void {
    const op = 'Tensor.assign';
    this.read(op, 'this');
    if (this.dtype === 'int8') fail('UNSUPPORTED', op, 'this', 'a type without scales', this.dtype);
    const numbers = readNumbers(op, 'data', data);
    if (numbers.length !== this.size) {
      fail('SHAPE_MISMATCH', op, 'data', `${this.size} numbers`, describe(numbers.length));
    }
    const dtype = this.dtype as NumberDType;
    const array = convert(op, 'data', numbers, givenType(data, dtype), dtype);
    // Only now: a getter in the caller's data may have disposed this tensor.
    const memory = this.read(op, 'this');
    this.writing(op);
    if (isHost(memory)) memory.set(array);
    else native.deviceUpload(op, memory, array);
    this.written();
  }

  /**
   * @internal The memory, for operation `op`; DISPOSED or INVALID_ARGUMENT if it is gone. Use it at once: after
   * `dispose` a later result may reuse it.
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

  /** @internal `read` for a holder that keeps the memory: it is excluded from reuse. */
  handOut(op: string, argument: string): TypedArrayOf<D> | DeviceMemory {
    const memory = this.read(op, argument);
    this.#storage.reusable = false;
    return memory;
  }

  /** @internal The numbers on the host, which the caller may keep: the live memory on the CPU, else a copy. */
  numbers(op: string, argument: string): TypedArrayOf<D> {
    const memory = this.handOut(op, argument);
    return isHost(memory) ? this.#numbersIn(memory) : downloaded(op, this.dtype, this.size, memory);
  }

  #numbersIn(memory: NumericArray): TypedArrayOf<D> {
    if (this.dtype === 'int8') return codesIn(memory as Int8Array, this.shape) as TypedArrayOf<D>;
    if (this.dtype !== 'float16') return memory as TypedArrayOf<D>;
    return new Uint16Array(memory.buffer, memory.byteOffset, memory.length) as TypedArrayOf<D>;
  }

  /**
   * The scales [rows, ⌈columns / 64⌉] of an int8 matrix, its own live memory: entry (i, j) is code (i, j) · scale
   * (i, ⌊j / 64⌋). undefined for another type.
   *
   * @throws SigmaError DISPOSED, INVALID_ARGUMENT if the buffer was detached or resized
   */
  get scales(): Float32Array | undefined {
    if (this.dtype !== 'int8') return undefined;
    return scalesIn(this.handOut('Tensor.scales', 'this') as Int8Array, this.shape);
  }

  /** @internal Bytes of the memory, with the scales of int8. */
  get bytes(): number {
    return this.#storage.bytes;
  }

  /** @internal Call it before an operation writes into memory that others may hold. It may fail for lack of memory. */
  writing(op: string): void {
    const { readers } = this.#storage;
    if (readers === undefined) return;
    for (const reader of readers) {
      reader.deref()?.beforeWrite(op);
      readers.delete(reader);
    }
  }

  /** @internal Has `reader` called before the next write of an operation. Only for a tensor on a device. */
  addReader(reader: WeakRef<Reader>): void {
    this.#storage.readers ??= new Set();
    const { readers } = this.#storage;
    // Without writes, those that were never disposed would add up.
    if (readers.size >= 64) for (const each of readers) if (each.deref() === undefined) readers.delete(each);
    readers.add(reader);
  }

  /** @internal */
  removeReader(reader: WeakRef<Reader>): void {
    this.#storage.readers?.delete(reader);
  }

  /** @internal Call it after an operation has written into the memory. */
  written(): void {
    this.#storage.writes += 1;
  }

  /** @internal For `unchangedSince`. */
  snapshot(op: string, argument: string): Snapshot {
    const memory = this.read(op, argument);
    return isHost(memory) ? memory.slice() : this.#storage.writes;
  }

  /** @internal Whether the numbers are still those of the snapshot, bit for bit. */
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

  /** @internal Makes further handles, as long as the memory has an owner; does not keep it alive. */
  weakly(): () => Tensor<D, S> | undefined {
    const { dtype, shape, size } = this;
    const weak = new WeakRef(this.#storage);
    return () => {
      const storage = weak.deref();
      return storage && storage.owners > 0 ? new Tensor(dtype, shape, size, storage) : undefined;
    };
  }

  /**
   * A copy on `device`. On the tensor's own device the result shares the memory.
   *
   * @throws SigmaError (as a rejection) DEVICE_UNAVAILABLE, DISPOSED, OUT_OF_MEMORY
   * @example
   * const onDevice = await w.to('cuda');
   */
  async to(device: Device): Promise<Tensor<D, S>> {
    const op = 'Tensor.to';
    const memory = this.read(op, 'this');
    if (device === undefined) reject(op, 'device', `'cpu', 'cuda' or 'cuda:N'`, device);
    const target = resolveDevice(op, device);
    if (target !== 'cpu' || isHost(memory)) return this.on(op, target);
    return Tensor.make(op, this.dtype, await downloadedLater(op, this.dtype, this.size, memory), this.shape);
  }

  /** @internal `to`, synchronously. */
  on(op: string, device: Device): Tensor<D, S> {
    if (device === this.device) return this.share();
    const numbers = this.numbers(op, 'this');
    if (device === 'cpu') return Tensor.make(op, this.dtype, numbers, this.shape);
    const dtype = this.dtype as NumberDType;
    return Tensor.on(device, this.dtype, uploaded(op, device, dtype, numbers), this.shape);
  }

  /**
   * A copy in another type, on the same device. bfloat16 and float16 round to nearest even, int32 truncates. For int8 the largest
   * magnitude of each 64 numbers of a row becomes 127, and a group below 2^-119 becomes 0.
   *
   * @throws SigmaError INVALID_ARGUMENT for a number outside the range of int32, NON_FINITE for a NaN or Infinity in int8,
   * SHAPE_MISMATCH for int8 of what is no matrix, UNSUPPORTED for int8 on another device than the CPU, DISPOSED, OUT_OF_MEMORY
   * @example
   * const half = w.cast('bfloat16');
   */
  cast<E extends DType>(dtype: E): Tensor<E, S> {
    const op = 'Tensor.cast';
    const from = this.read(op, 'this');
    checkChoice(op, 'dtype', dtype, [...dtypes, 'int8']);
    if ((dtype as DType) === 'int8' || this.dtype === 'int8') {
      if (!isHost(from)) return refuseCodes(op, 'this', this.device);
      return Tensor.make(op, dtype, castCodes(op, from, this.dtype, dtype, this.shape), this.shape, true);
    }
    const [own, wanted] = [this.dtype as NumberDType, dtype as NumberDType];
    if (isHost(from)) {
      return Tensor.make(op, dtype, convert(op, 'this', from, own, wanted) as TypedArrayOf<E>, this.shape);
    }
    if (wanted === 'int32' || own === 'int32') {
      const converted = convert(op, 'this', this.numbers(op, 'this'), own, wanted);
      return Tensor.on(this.device, dtype, uploaded(op, this.device, wanted, converted), this.shape);
    }
    const memory = allocateOn(op, this.device, wanted, this.size);
    if ((dtype as DType) === this.dtype) native.deviceCopy(op, memory, from);
    else native.cast(op, memory, from as DeviceMemory);
    return Tensor.on(this.device, dtype, memory, this.shape);
  }

  /**
   * A tensor on the same memory with another shape of the same size.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH for another number of elements, DISPOSED
   * @example
   * const row = w.reshape([1, w.size]);
   */
  reshape<const T extends Shape>(shape: T): Tensor<D, T> {
    const op = 'Tensor.reshape';
    const read = readShape(op, shape, true);
    const size = sizeOf(read);
    if (this.dtype === 'int8') fail('UNSUPPORTED', op, 'this', 'a type without scales (cast it first)', this.dtype);
    // Only now: a getter in the caller's shape may have disposed this tensor.
    this.read(op, 'this');
    if (size !== this.size) {
      fail('SHAPE_MISMATCH', op, 'shape', `${this.size} elements`, `${size} in ${describe(read)}`);
    }
    return new Tensor(this.dtype, read, size, this.#storage);
  }

  /**
   * Frees the memory when the last tensor that shares it is disposed. A later result may reuse the memory, unless
   * `data` or `dataSync` has returned it. A second call is a no-op.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#storage.counted) countTensors(-1);
    release('Tensor.dispose', this.#storage);
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
    const first = this.dtype === 'int8' ? scalesIn(memory as Int8Array, this.shape)[0] : undefined;
    return `${what} on cpu: ${firstNumbers(this.dtype, this.#numbersIn(memory), first)}`;
  }
}

/** int8 is a storage of the CPU. */
export function refuseCodes(op: string, argument: string, device: Device): never {
  const expected = `a tensor on the CPU for int8, or another type on ${device} (cast('bfloat16') takes half of float32)`;
  fail('UNSUPPORTED', op, argument, expected, `int8 on ${device}`);
}

function sameBits(a: NumericArray, b: NumericArray): boolean {
  const bytes = (array: NumericArray) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(a).equals(bytes(b));
}
