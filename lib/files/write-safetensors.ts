import { types } from 'node:util';
import { checkOptions, checkSignal, describe, fail, isArray, readList, readRecord, reject } from '../runtime/check.js';
import { renamed } from '../runtime/errors.js';
import type { NumericArray } from '../runtime/native.js';
import { bytesPerElement } from '../tensor/dtype.js';
import { scaleShape } from '../tensor/int8.js';
import { checkTensor } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import { type MatrixShape, sizeOf } from '../tensor/shape.js';
import { isHost } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { type Sink, withScratch, writeAtomically } from './atomic.js';
import { quoted } from './complaints.js';
import { headerOf, inFileOrder, mostHeaderBytes, type Part, prefixBytes, scalesName } from './header.js';
import { isWellFormed } from './json.js';
import { chunkBytes } from './readable.js';
import { checkHost, checkPath } from './safetensors.js';

export interface WriteSafetensorsOptions {
  /** Goes into the file as `__metadata__`. */
  metadata?: Record<string, string>;
  /** Stops between two parts of the file; the old file stays. */
  signal?: AbortSignal;
}

export type Metadata = ReadonlyMap<string, string>;

/**
 * Writes tensors as a safetensors file, atomically: whatever happens, `path` has the old file or the new one. The tensors
 * are borrowed, and must not be written until the promise settles. Those on a device are copied to the host one at a time.
 *
 * An array or a Map is written in one go. Of any other iterable, such as a generator that makes one tensor at a time, each
 * tensor is written to a scratch file in the folder of `path` before the next one is asked for: memory stays bounded by one
 * tensor, and the disk needs room for the data twice. A generator may therefore dispose a tensor when it goes on.
 *
 * @param tensors pairs of a name and a tensor of any type and shape
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT for what is no pair, a name that occurs twice or is `__metadata__`,
 * or a path that cannot be written (the system's error is the detail), DISPOSED, NATIVE for a full disk, ABORTED,
 * UNSUPPORTED on a big-endian host; what an iterator throws is passed on
 * @example
 * await writeSafetensors('merged.safetensors', [['fc1.weight', layer.mergedWeight()]], { metadata: { format: 'pt' } });
 */
export async function writeSafetensors(
  path: string,
  tensors:
    | Iterable<readonly [name: string, tensor: TensorLike]>
    | AsyncIterable<readonly [name: string, tensor: TensorLike]>,
  options?: WriteSafetensorsOptions,
): Promise<void> {
  const op = 'writeSafetensors';
  checkHost(op);
  checkPath(op, 'path', path);
  const { metadata, signal } = checkOptions(op, 'options', options, ['metadata', 'signal']);
  const notes = readMetadata(op, metadata);
  checkSignal(op, signal);
  if (isArray(tensors)) return writeAll(op, path, readList(op, 'tensors', tensors, 'pairs'), notes, signal);
  if (types.isMap(tensors)) return writeAll(op, path, [...Map.prototype.entries.call(tensors)], notes, signal);
  return writeEach(op, path, checkIterable(op, tensors), notes, signal);
}

export function readMetadata(op: string, metadata: unknown): Metadata {
  if (metadata === undefined) return new Map();
  const entries = Object.entries(readRecord(op, 'options.metadata', metadata));
  return new Map(
    entries.map(([key, value]) => {
      checkText(op, 'options.metadata', key);
      return [key, checkText(op, `options.metadata.${key}`, value)];
    }),
  );
}

function checkText(op: string, argument: string, text: unknown): string {
  if (typeof text !== 'string') reject(op, argument, 'a string', text);
  if (!isWellFormed(text)) fail('INVALID_ARGUMENT', op, argument, 'text of whole characters', quoted(text));
  return text;
}

function checkIterable(op: string, tensors: unknown): Iterable<unknown> | AsyncIterable<unknown> {
  const candidate = Object(tensors) as Partial<Iterable<unknown> & AsyncIterable<unknown>>;
  const isIterable =
    typeof candidate[Symbol.iterator] === 'function' || typeof candidate[Symbol.asyncIterator] === 'function';
  if (typeof tensors !== 'object' || !isIterable) {
    reject(op, 'tensors', 'pairs of a name and a tensor, such as a Map or Object.entries(object)', tensors);
  }
  return candidate as Iterable<unknown>;
}

/** The pair's own handle on the tensor keeps its memory, even if the caller disposes the tensor. */
interface Pair extends Part {
  readonly tensor: Tensor;
  /** The first byte in the tensor's memory. */
  readonly from: number;
}

/** The parts of a file that a pair of a name and a tensor makes: an int8 tensor has its scales apart. */
function readPair(op: string, argument: string, value: unknown, seen: Set<string>): readonly Pair[] {
  const pair = readList(op, argument, value, 'a pair of a name and a tensor');
  if (pair.length !== 2) reject(op, argument, 'a pair of a name and a tensor', value);
  const name = checkText(op, `${argument}[0]`, pair[0]);
  if (name === '__metadata__') reject(op, `${argument}[0]`, 'another name: options.metadata is for metadata', name);
  const given = checkTensor(op, `${argument}[1], ${quoted(name)}`, pair[1]);
  const { dtype, shape, size } = given;
  const names = dtype === 'int8' ? [name, scalesName(name)] : [name];
  for (const each of names) {
    if (seen.has(each)) {
      fail('INVALID_ARGUMENT', op, `${argument}[0]`, 'each name once', `${quoted(each)} a second time`);
    }
    seen.add(each);
  }
  const numbers = { name, dtype, shape, bytes: size * bytesPerElement(dtype), tensor: keep(given.share()), from: 0 };
  if (dtype !== 'int8') return [numbers];
  const ofScales = scaleShape(shape as MatrixShape);
  const bytes = sizeOf(ofScales) * bytesPerElement('float32');
  const tensor = keep(given.share());
  const scales = { name: scalesName(name), dtype: 'float32' as const, shape: ofScales, bytes, tensor };
  return [numbers, { ...scales, from: given.bytes - bytes }];
}

/** All tensors are there: the header is known before the first is written. */
function writeAll(op: string, path: string, list: readonly unknown[], notes: Metadata, signal?: AbortSignal) {
  return withPairs(op, list, (pairs) =>
    writeAtomically(op, path, signal, (file) => writePairs(op, file, pairs, notes)),
  );
}

/** A whole safetensors file, for others who write one. */
export function writeTensors(
  op: string,
  file: Sink,
  tensors: readonly (readonly [name: string, tensor: Tensor])[],
  notes: Metadata,
): Promise<void> {
  return withPairs(op, tensors, (pairs) => writePairs(op, file, pairs, notes));
}

/** Runs `body` with the checked pairs, whose handles are disposed afterwards. */
async function withPairs(op: string, list: readonly unknown[], body: (pairs: readonly Pair[]) => Promise<void>) {
  const pairs: Pair[] = [];
  const seen = new Set<string>();
  try {
    for (const [i, each] of list.entries()) pairs.push(...readPair(op, `tensors[${i}]`, each, seen));
    await body(pairs);
  } finally {
    for (const { tensor } of pairs) tensor.dispose();
  }
}

async function writePairs(op: string, file: Sink, pairs: readonly Pair[], notes: Metadata): Promise<void> {
  const ordered = inFileOrder(pairs);
  await file.write(makeHeader(op, ordered, notes));
  for (const pair of ordered) await writeNumbers(op, file, pair);
}

/** The tensors come one at a time: their data goes to a scratch file until all of the header is known. */
async function writeEach(
  op: string,
  path: string,
  tensors: Iterable<unknown> | AsyncIterable<unknown>,
  notes: Metadata,
  signal?: AbortSignal,
) {
  await withScratch(op, path, signal, async (scratch) => {
    const parts: (Part & { readonly begin: number })[] = [];
    const seen = new Set<string>();
    let [begin, count] = [0, 0];
    for await (const each of tensors) {
      const pairs = readPair(op, `tensors[${count++}]`, each, seen);
      try {
        for (const pair of pairs) {
          const { tensor, from, ...part } = pair;
          await writeNumbers(op, scratch, pair);
          parts.push({ ...part, begin });
          begin += part.bytes;
        }
      } finally {
        for (const { tensor } of pairs) tensor.dispose();
      }
    }
    const ordered = inFileOrder(parts);
    const header = makeHeader(op, ordered, notes);
    await writeAtomically(op, path, signal, async (file) => {
      await file.write(header);
      const buffer = Buffer.alloc(Math.min(chunkBytes, begin));
      for (const { begin: first, bytes } of ordered) {
        for (let done = 0; done < bytes; done += buffer.length) {
          const part = buffer.subarray(0, Math.min(buffer.length, bytes - done));
          await scratch.read(part, first + done);
          await file.write(part);
        }
      }
    });
  });
}

export function makeHeader(op: string, parts: readonly Part[], notes: Metadata): Buffer {
  const header = headerOf(parts, notes);
  const length = header.length - prefixBytes;
  if (length > mostHeaderBytes) {
    const expected = `names and metadata that take at most ${mostHeaderBytes} bytes of header`;
    fail('INVALID_ARGUMENT', op, 'tensors', expected, describe(length));
  }
  return header;
}

async function writeNumbers(op: string, file: Sink, { name, tensor, from, bytes }: Pair): Promise<void> {
  const argument = `tensor ${quoted(name)}`;
  const onDevice = isHost(tensor.read(op, argument)) ? undefined : await fetched(op, tensor);
  for (let done = 0; done < bytes; done += chunkBytes) {
    // Read again for each part: the buffer may be detached in between.
    const { buffer, byteOffset } = onDevice ?? (tensor.read(op, argument) as NumericArray);
    await file.write(new Uint8Array(buffer, byteOffset + from + done, Math.min(chunkBytes, bytes - done)));
  }
}

async function fetched(op: string, tensor: Tensor) {
  try {
    return await tensor.data();
  } catch (error) {
    throw renamed(error, op);
  }
}
