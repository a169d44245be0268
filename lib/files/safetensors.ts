import { endianness } from 'node:os';
import { checkChoice, checkOptions, checkSignal, fail, readList, reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { NumericArray } from '../runtime/native.js';
import { nearest } from '../runtime/nearest.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { allocateAny, type DType, dtypes } from '../tensor/dtype.js';
import { widenHalves } from '../tensor/float16.js';
import { brokenScale, codesIn, expectedScales, newBlock, scaleShape, scalesIn } from '../tensor/int8.js';
import { allocationFailed } from '../tensor/memory.js';
import { keep } from '../tensor/scope.js';
import { type MatrixShape, mostDimensions, sizeOf } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { corrupt, quoted } from './complaints.js';
import { type StoredDType, scalesName, storedTypes } from './header.js';
import { chunkBytes } from './readable.js';
import { type Located, type Opened, openCheckpoint } from './shards.js';

/** The type of the tensor that `read` makes of each stored type. */
const tensorTypes: Partial<Record<StoredDType, DType>> = {
  ...(Object.fromEntries(Object.entries(storedTypes).map(([dtype, stored]) => [stored, dtype])) as Record<
    string,
    DType
  >),
  // Widened, unless float16 is asked for.
  F16: 'float32',
};

/** What a file says of one tensor. */
export interface SafetensorsInfo {
  /** The format's name of the type: 'F32', 'BF16', 'I64', … */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** In the file. */
  readonly bytes: number;
}

export interface ReadOptions {
  /** Stops between two parts of the file. */
  signal?: AbortSignal;
}

const described = { name: 'SafetensorsFile', instead: 'the path of the file' };
const cloning = uncloneable(described);

/**
 * An open safetensors file, or a sharded checkpoint. It holds the headers and one file handle for each shard; tensors stay
 * on the disk until they are read. Close it when done: with `close` or `await using`.
 */
export class SafetensorsFile implements AsyncDisposable {
  static {
    publish(SafetensorsFile, { ...described, isOwn: (value) => #opened in value, print: (file) => file.#print() });
  }

  /** @internal */
  readonly cloning = cloning;
  /** In the order of the header or of the index. */
  readonly names: readonly string[];
  /** The file's `__metadata__`. Of a sharded checkpoint: what is the same in all shards. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #path: string;
  readonly #opened: Opened;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(path: string, opened: Opened) {
    if (typeof opened?.find !== 'function') {
      reject('SafetensorsFile', 'new SafetensorsFile', 'openSafetensors(path), which opens files', path);
    }
    this.#path = path;
    this.#opened = opened;
    this.names = Object.freeze(opened.names);
    this.metadata = Object.freeze(Object.fromEntries(opened.metadata));
  }

  /**
   * The type, shape and size of a tensor, without reading it. Also of types that `read` does not support.
   *
   * @throws SigmaError INVALID_ARGUMENT for a name that the file does not have
   */
  info(name: string): SafetensorsInfo {
    const { dtype, shape, bytes } = this.#find('SafetensorsFile.info', name).entry;
    return Object.freeze({ dtype, shape, bytes });
  }

  /**
   * Reads one tensor, onto the CPU. F64, F32, BF16 and I32 keep their type, F16 is widened to float32; the option
   * `dtype` gives another one, and 'float16' the bits of F16.
   *
   * @throws SigmaError (as a rejection) UNSUPPORTED for another type or a dimension of 0 (`readBytes` reads those),
   * INVALID_ARGUMENT for a name that the file does not have, DISPOSED after `close`, CORRUPT_FILE if the file has become
   * shorter, OUT_OF_MEMORY, ABORTED
   * @example
   * const weight = await file.read('model.layers.0.self_attn.q_proj.weight'); // [out, in]
   */
  async read(name: string, options?: ReadOptions & { dtype?: DType }): Promise<Tensor> {
    const op = 'SafetensorsFile.read';
    const { signal, dtype } = checkOptions(op, 'options', options, ['signal', 'dtype']);
    if (dtype !== undefined) checkChoice(op, 'options.dtype', dtype, dtypes);
    checkSignal(op, signal);
    return this.readAs(op, name, signal, dtype);
  }

  /** @internal A file opened here, and not an object that merely inherits from one. */
  static is(value: unknown): value is SafetensorsFile {
    return typeof value === 'object' && value !== null && #opened in value;
  }

  /** @internal Whether there is a tensor of this name. */
  has(name: string): boolean {
    return this.#opened.find(name) !== undefined;
  }

  /** @internal The same for another function, whose name its errors then carry. */
  async readAs(op: string, name: string, signal: AbortSignal | undefined, wanted?: DType): Promise<Tensor> {
    const found = this.#find(op, name);
    const { shape } = found.entry;
    const keepsHalves = wanted === 'float16' && found.entry.dtype === 'F16';
    const dtype = keepsHalves ? wanted : this.typeOf(op, name);
    if (wanted !== undefined && wanted !== dtype) {
      const read = await this.readAs(op, name, signal);
      try {
        return keep(read.cast(wanted));
      } finally {
        read.dispose();
      }
    }
    if (dtype === 'int8') return this.#readCodes(op, name, found, signal);
    const array = allocateAny(op, dtype, sizeOf(shape));
    if (found.entry.dtype === 'F16' && !keepsHalves) await this.#readHalves(op, name, array, signal);
    else await this.#fill(op, found, array, signal);
    return keep(Tensor.make<DType, readonly number[]>(op, dtype, array, shape, true));
  }

  /** @internal The type of the tensor that `read` would make; undefined if there is none. */
  readableType(op: string, name: string): DType | undefined {
    const { dtype, shape } = this.#find(op, name).entry;
    if (dtype === 'I8' && !this.#hasScales(name, shape)) return undefined;
    return shape.includes(0) || shape.length > mostDimensions ? undefined : tensorTypes[dtype];
  }

  /** @internal The same; UNSUPPORTED if there is none. */
  typeOf(op: string, name: string): DType {
    const { dtype, shape } = this.#find(op, name).entry;
    const found = tensorTypes[dtype];
    const refuse = (expected: string, got: string): never => {
      const wayOut =
        'SafetensorsFile.readBytes gives its bytes; readSafetensors reads only what its option names lists';
      fail('UNSUPPORTED', op, `tensor ${quoted(name)}`, expected, `${got} (${wayOut})`);
    };
    if (dtype === 'I8' && !this.#hasScales(name, shape)) {
      return refuse(`a tensor ${quoted(scalesName(name))} of the scales of I8`, 'a file without it');
    }
    if (found === undefined) return refuse(Object.keys(tensorTypes).join(', '), dtype);
    if (shape.includes(0)) return refuse('a shape without a dimension of 0', `[${shape.join(', ')}]`);
    if (shape.length > mostDimensions) return refuse(`at most ${mostDimensions} dimensions`, `${shape.length}`);
    return found;
  }

  /**
   * Reads the bytes of one tensor of any type as they are in the file: little-endian, row-major.
   *
   * @throws SigmaError (as a rejection) INVALID_ARGUMENT for a name that the file does not have, DISPOSED after `close`,
   * CORRUPT_FILE if the file has become shorter, OUT_OF_MEMORY, ABORTED
   * @example
   * const ids = new BigInt64Array((await file.readBytes('position_ids')).buffer); // I64
   */
  async readBytes(name: string, options?: ReadOptions): Promise<Uint8Array> {
    const op = 'SafetensorsFile.readBytes';
    const { signal } = checkOptions(op, 'options', options, ['signal']);
    checkSignal(op, signal);
    const found = this.#find(op, name);
    const bytes = allocateBytes(op, found.entry.bytes);
    await this.#fill(op, found, bytes, signal);
    return bytes;
  }

  /** @internal Passes the bytes of a tensor on in parts, each of which is overwritten by the next. */
  async copy(op: string, name: string, to: (part: Uint8Array) => Promise<void>, signal?: AbortSignal): Promise<void> {
    const { file, position, entry } = this.#find(op, name);
    const { bytes } = entry;
    const buffer = allocateBytes(op, Math.min(chunkBytes, bytes));
    for (let done = 0; done < bytes; done += chunkBytes) {
      this.#checkOpen(op);
      const part = buffer.subarray(0, Math.min(chunkBytes, bytes - done));
      await file.read(op, part, position + done, signal);
      await to(part);
    }
  }

  /** Closes the files. Reads that are not finished reject with DISPOSED. May be called again. */
  async close(): Promise<void> {
    this.#closing ??= Promise.all(this.#opened.files.map((file) => file.close())).then(() => undefined);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Fills an array with the bytes of a tensor, in parts, so that no view has more bytes than the engine allows. */
  async #fill(
    op: string,
    { file, position, entry: { bytes } }: Located,
    array: NumericArray | Uint8Array,
    signal?: AbortSignal,
  ) {
    for (let done = 0; done < bytes; done += chunkBytes) {
      this.#checkOpen(op);
      const part = new Uint8Array(array.buffer, array.byteOffset + done, Math.min(chunkBytes, bytes - done));
      await file.read(op, part, position + done, signal);
    }
  }

  /** Whether the file has the scales of a matrix of codes. */
  #hasScales(name: string, shape: readonly number[]): boolean {
    const scales = this.#opened.find(scalesName(name))?.entry;
    return (
      scales?.dtype === 'F32' && shape.length === 2 && String(scales.shape) === String(scaleShape(shape as MatrixShape))
    );
  }

  async #readCodes(op: string, name: string, found: Located, signal?: AbortSignal): Promise<Tensor> {
    const { shape } = found.entry;
    const block = newBlock(op, shape);
    const scales = scalesIn(block, shape);
    await this.#fill(op, found, codesIn(block, shape), signal);
    await this.#fill(op, this.#find(op, scalesName(name)), scales, signal);
    const at = brokenScale(scales);
    if (at >= 0) {
      corrupt(op, this.#path, scalesName(name), expectedScales, `${scales[at]} at ${at}`);
    }
    return keep(Tensor.make<DType, readonly number[]>(op, 'int8', block, shape, true));
  }

  async #readHalves(op: string, name: string, { buffer, byteOffset }: NumericArray, signal?: AbortSignal) {
    let at = byteOffset;
    const widen = async (part: Uint8Array) => {
      const count = part.length / 2;
      widenHalves(new Uint16Array(part.buffer, part.byteOffset, count), new Uint32Array(buffer, at, count));
      at += 4 * count;
    };
    await this.copy(op, name, widen, signal);
  }

  #find(op: string, name: unknown): Located {
    this.#checkOpen(op);
    if (typeof name !== 'string') reject(op, 'name', 'the name of a tensor', name);
    const found = this.#opened.find(name);
    if (found !== undefined) return found;
    const meant = this.names.length <= 10_000 ? nearest(name, this.names) : undefined;
    const hint = meant === undefined ? '' : `; did you mean ${quoted(meant)}?`;
    const expected = `one of the ${this.names.length} names in ${quoted(this.#path)}`;
    fail('INVALID_ARGUMENT', op, 'name', expected, `${quoted(name)}${hint}`);
  }

  #checkOpen(op: string): void {
    if (this.#closing === undefined) return;
    throw new SigmaError('DISPOSED', op, `file ${quoted(this.#path)}: expected an open one, got one that was closed`);
  }

  #print(): string {
    const closed = this.#closing === undefined ? '' : ', closed';
    return `SafetensorsFile ${quoted(this.#path)}, ${this.names.length} tensors${closed}`;
  }
}

function allocateBytes(op: string, size: number): Uint8Array {
  try {
    return new Uint8Array(size);
  } catch (cause) {
    return allocationFailed(op, size, cause);
  }
}

/** UNSUPPORTED on a big-endian host: the format is little-endian. */
export function checkHost(op: string): void {
  if (endianness() !== 'LE') {
    throw new SigmaError('UNSUPPORTED', op, 'host: expected a little-endian processor, got a big-endian one');
  }
}

/** A path of the file system. */
export function checkPath(op: string, argument: string, path: unknown): string {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    reject(op, argument, 'a path: a non-empty string without NUL characters', path);
  }
  return path;
}

/**
 * Opens a safetensors file without reading its tensors, so a file of 20 GB needs no 20 GB. `path` may also name a sharded
 * checkpoint: its `….index.json`, or a folder with `model.safetensors.index.json` or `model.safetensors`.
 * The headers are checked completely. See docs/files.md.
 *
 * @throws SigmaError (as a rejection) CORRUPT_FILE for a malformed file, INVALID_ARGUMENT for a path that cannot be opened
 * (the system's error is the detail), UNSUPPORTED on a big-endian host
 * @example
 * const file = await openSafetensors('model.safetensors');
 * for (const name of file.names) console.log(name, file.info(name).shape);
 * const weight = await file.read('fc1.weight');
 * await file.close();
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  return openNamed('openSafetensors', path);
}

/** The same for another function, whose name its errors then carry. */
export async function openNamed(op: string, path: string): Promise<SafetensorsFile> {
  checkHost(op);
  checkPath(op, 'path', path);
  return new SafetensorsFile(path, await openCheckpoint(op, path));
}

/**
 * Reads the tensors of a safetensors file or a sharded checkpoint, all or those that `names` lists. F64, F32, BF16 and I32
 * keep their type, F16 is widened to float32. The caller disposes the tensors.
 *
 * @throws SigmaError (as a rejection) CORRUPT_FILE for a malformed file, UNSUPPORTED for a tensor of another type (before
 * any is read), INVALID_ARGUMENT for a path that cannot be opened or a name that is not in the file, OUT_OF_MEMORY, ABORTED
 * @example
 * const { tensors, metadata } = await readSafetensors('model.safetensors', { names: ['fc1.weight', 'fc1.bias'] });
 * tensors.get('fc1.weight').shape; // [out, in]
 */
export async function readSafetensors(
  path: string,
  options?: { names?: readonly string[]; signal?: AbortSignal },
): Promise<{ readonly tensors: Map<string, Tensor>; readonly metadata: Readonly<Record<string, string>> }> {
  const op = 'readSafetensors';
  const { names, signal } = checkOptions(op, 'options', options, ['names', 'signal']);
  const wanted = names === undefined ? undefined : readList(op, 'options.names', names, 'a list of names');
  checkSignal(op, signal);
  const file = await openNamed(op, path);
  const tensors = new Map<string, Tensor>();
  try {
    const list = (wanted ?? file.names) as readonly string[];
    // Refused before gigabytes are read.
    for (const name of list) file.typeOf(op, name);
    for (const name of list) if (!tensors.has(name)) tensors.set(name, await file.readAs(op, name, signal));
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  } finally {
    await file.close();
  }
  return { tensors, metadata: file.metadata };
}
