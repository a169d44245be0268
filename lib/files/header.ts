// The header of a safetensors file: 8 bytes of length, then JSON that says of each tensor its type, its shape and where
// its bytes are. https://huggingface.co/docs/safetensors
import { isUtf8 } from 'node:buffer';
import type { DType } from '../tensor/dtype.js';
import type { Shape } from '../tensor/shape.js';
import { corrupt, quoted } from './complaints.js';
import { JsonReader, Malformed } from './json.js';

/** Bytes of the length before the header. */
export const prefixBytes = 8;
/** The most bytes of a header, as in the reference implementation. */
export const mostHeaderBytes = 100_000_000;
/** More dimensions than any library has. */
const mostDimensions = 64;

/** Bits of a number of each type that the format has. */
const bits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type StoredDType = keyof typeof bits;

/** The types that tensors have, in the reference implementation's order within a file: the widest first. */
export const storedTypes = {
  float64: 'F64',
  float32: 'F32',
  int32: 'I32',
  bfloat16: 'BF16',
  float16: 'F16',
  int8: 'I8',
} as const satisfies Record<DType, StoredDType>;
/** The scales of an int8 tensor are a tensor of their own. */
export const scalesName = (name: string) => `${name}.scales`;

/** One tensor of a file. */
export interface Entry {
  readonly dtype: StoredDType;
  readonly shape: Shape;
  readonly bytes: number;
  /** The first byte, counted from the end of the header. */
  readonly begin: number;
}

export interface Header {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads and checks a header: `text` is its JSON, `dataBytes` what follows it in the file.
 *
 * @throws SigmaError CORRUPT_FILE
 */
export function readHeader(op: string, path: string, text: Buffer, dataBytes: number): Header {
  const header = parse(op, path, text);
  checkCoverage(op, path, header.entries, dataBytes);
  return header;
}

function parse(op: string, path: string, text: Buffer): Header {
  if (!isUtf8(text)) corrupt(op, path, undefined, 'a header in UTF-8', 'other bytes');
  if (text[0] !== 0x7b) {
    corrupt(op, path, undefined, "a header that begins with '{'", quoted(text.toString('latin1', 0, 8)));
  }
  const entries = new Map<string, Entry>();
  const metadata = new Map<string, string>();
  const json = new JsonReader(text);
  let tensor: string | undefined;
  try {
    let described = false;
    const readOne = (name: string) => {
      if (name === '__metadata__') {
        described = true;
        json.object('__metadata__ to be an object', (key) => {
          metadata.set(key, json.string('a string in __metadata__'));
        });
        return;
      }
      tensor = name;
      entries.set(name, readEntry(json));
      tensor = undefined;
    };
    json.object('an object', readOne, (name) => (name === '__metadata__' ? described : entries.has(name)));
    json.end();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    corrupt(op, path, tensor, error.expected, error.got);
  }
  return { entries, metadata };
}

function readEntry(json: JsonReader): Entry {
  let dtype: StoredDType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  const readField = (key: string) => {
    switch (key) {
      case 'dtype': {
        const given = json.string('a dtype in quotes');
        if (!Object.hasOwn(bits, given)) {
          throw new Malformed(`a dtype of the format (${Object.keys(bits).join(', ')})`, quoted(given));
        }
        dtype = given as StoredDType;
        return;
      }
      case 'shape':
        shape = readNaturals(json, 'shape', mostDimensions);
        return;
      case 'data_offsets':
        offsets = readNaturals(json, 'data_offsets', 2);
        return;
      default:
        throw new Malformed('only dtype, shape and data_offsets', quoted(key));
    }
  };
  const known = (key: string) =>
    key === 'dtype' ? dtype : key === 'shape' ? shape : key === 'data_offsets' && offsets;
  json.object('an object', readField, (key) => Boolean(known(key)));
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    const found = Object.entries({ dtype, shape, data_offsets: offsets }).flatMap(([key, value]) =>
      value === undefined ? [] : [key],
    );
    throw new Malformed('dtype, shape and data_offsets', found.join(' and ') || 'none of them');
  }
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined) {
    throw new Malformed('data_offsets of two integers', `${offsets.length}`);
  }
  if (begin > end) throw new Malformed('data_offsets in ascending order', `[${begin}, ${end}]`);
  const bytes = bytesOf(dtype, shape);
  if (end - begin !== bytes) {
    const whole = `${bytes} bytes, which ${dtype} of shape [${shape.join(', ')}] takes`;
    throw new Malformed(whole, `${end - begin} from data_offsets [${begin}, ${end}]`);
  }
  return { dtype, shape: Object.freeze(shape), bytes, begin };
}

function readNaturals(json: JsonReader, key: string, most: number): number[] {
  const numbers: number[] = [];
  json.array(`${key} to be an array`, (index) => {
    if (index === most) throw new Malformed(`${key} of at most ${most} integers`, 'more');
    numbers.push(json.natural(`an integer from 0 to 2^53 - 1 in ${key}`));
  });
  return numbers;
}

/** The bytes of a tensor. No product is formed that a number cannot hold exactly. */
function bytesOf(dtype: StoredDType, shape: Shape): number {
  const most = Math.floor(Number.MAX_SAFE_INTEGER / bits[dtype]);
  let size = 1;
  for (const n of shape) {
    if (n > 0 && size > most / n)
      throw new Malformed('fewer than 2^53 bits', `${dtype} of shape [${shape.join(', ')}]`);
    size *= n;
  }
  const total = size * bits[dtype];
  if (total % 8 !== 0) throw new Malformed('whole bytes', `${total} bits: ${dtype} of shape [${shape.join(', ')}]`);
  return total / 8;
}

/** The tensors by their place in the file. Most headers have them so already. */
function inOrder(entries: ReadonlyMap<string, Entry>): Iterable<[string, Entry]> {
  let next = 0;
  let sorted = true;
  for (const { begin, bytes } of entries.values()) {
    sorted &&= begin >= next;
    next = begin + bytes;
  }
  return sorted ? entries : [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.bytes - b.bytes);
}

/** Each byte of the data belongs to exactly one tensor. */
function checkCoverage(op: string, path: string, entries: ReadonlyMap<string, Entry>, dataBytes: number): void {
  let next = 0;
  let before = 'the header';
  for (const [name, { begin, bytes }] of inOrder(entries)) {
    if (begin !== next) {
      const why = begin < next ? 'the two overlap' : `${begin - next} bytes belong to no tensor`;
      corrupt(op, path, name, `its data from byte ${next} on, where ${before} ends`, `byte ${begin}: ${why}`);
    }
    next = begin + bytes;
    before = quoted(name);
    if (next > dataBytes) {
      corrupt(op, path, name, `at least ${next} bytes of data in the file`, `${dataBytes}: it was cut off`);
    }
  }
  if (next < dataBytes) {
    corrupt(
      op,
      path,
      undefined,
      `${next} bytes of data, which the header names`,
      `${dataBytes}: bytes follow the last tensor`,
    );
  }
}

/** A tensor to be written. */
export interface Part {
  readonly name: string;
  /** A type of tensors, or of the format. */
  readonly dtype: DType | StoredDType;
  readonly shape: Shape;
  readonly bytes: number;
}

function storedType(dtype: DType | StoredDType): StoredDType {
  return Object.hasOwn(storedTypes, dtype) ? storedTypes[dtype as DType] : (dtype as StoredDType);
}

/** Sorts tensors as the reference implementation does: by type, so that each begins at a multiple of its width; then by name. */
export function inFileOrder<P extends Part>(parts: readonly P[]): P[] {
  const ranks = Object.keys(bits).reverse();
  const keyed = parts.map((part) => ({
    part,
    rank: ranks.indexOf(storedType(part.dtype)),
    name: Buffer.from(part.name),
  }));
  return keyed.sort((a, b) => a.rank - b.rank || Buffer.compare(a.name, b.name)).map(({ part }) => part);
}

/** The length and the header of a file with these tensors, in this order. Blanks fill it up, so that the data is aligned. */
export function headerOf(parts: readonly Part[], metadata: ReadonlyMap<string, string>): Buffer {
  let begin = 0;
  const fields = parts.map(({ name, dtype, shape, bytes }) => {
    const end = begin + bytes;
    const field = `${JSON.stringify(name)}:${JSON.stringify({ dtype: storedType(dtype), shape, data_offsets: [begin, end] })}`;
    begin = end;
    return field;
  });
  if (metadata.size > 0) {
    const pairs = [...metadata].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.unshift(`"__metadata__":{${pairs.join(',')}}`);
  }
  const text = Buffer.from(`{${fields.join(',')}}`);
  const length = Math.ceil(text.length / prefixBytes) * prefixBytes;
  const header = Buffer.alloc(prefixBytes + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  text.copy(header, prefixBytes);
  return header;
}
