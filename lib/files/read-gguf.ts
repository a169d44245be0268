// The header of a GGUF file, as gguf.ts writes it: metadata, and the description of each tensor.
import { corrupt } from './complaints.js';
import { mostHeaderBytes } from './header.js';
import { ReadableFile } from './readable.js';

export type GgufValue = string | number | boolean | GgufList;

/** An array of the metadata. A vocabulary has a hundred thousand elements, so only the first ones are kept. */
export interface GgufList {
  readonly length: number;
  readonly first: readonly GgufValue[];
}

export interface GgufTensor {
  readonly name: string;
  /** The format's name of the type: 'F32', 'Q4_K', …; 'type 99' for one that is not known here. */
  readonly dtype: string;
  /** The slowest dimension first, as tensors have it here; the file lists the fastest first. */
  readonly shape: readonly number[];
  /** In the file; undefined for an unknown type. */
  readonly bytes: number | undefined;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: Readonly<Record<string, GgufValue>>;
  readonly tensors: readonly GgufTensor[];
}

/** ggml's types by number: the numbers of a block, and its bytes. */
const tensorTypes: Readonly<Record<number, readonly [name: string, block: number, bytes: number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  24: ['I8', 1, 1],
  25: ['I16', 1, 2],
  26: ['I32', 1, 4],
  27: ['I64', 1, 8],
  28: ['F64', 1, 8],
  30: ['BF16', 1, 2],
};

/** Elements of an array that are kept. */
const mostKept = 8;
const deepest = 4;

/** Reads the header. CORRUPT_FILE for anything else. */
export async function readGguf(op: string, path: string): Promise<GgufHeader> {
  const file = await ReadableFile.open(op, path);
  try {
    // The length of a header stands nowhere: more is read until it is whole.
    for (let size = 2 ** 20; ; size *= 4) {
      const text = Buffer.alloc(Math.min(size, file.bytes));
      await file.read(op, text, 0);
      const reader = new Reader(op, path, text, file.bytes);
      try {
        return reader.header();
      } catch (error) {
        if (error !== short) throw error;
        if (size >= file.bytes) corrupt(op, path, undefined, 'a whole GGUF header', 'the end of the file');
        if (size >= mostHeaderBytes)
          corrupt(op, path, undefined, `a header of at most ${mostHeaderBytes} bytes`, 'more');
      }
    }
  } finally {
    await file.close();
  }
}

/** Thrown if the header goes on beyond what was read. */
const short = new Error('more bytes');

class Reader {
  readonly #op: string;
  readonly #path: string;
  readonly #text: Buffer;
  /** Of the whole file. */
  readonly #bytes: number;
  #at = 0;

  constructor(op: string, path: string, text: Buffer, bytes: number) {
    this.#op = op;
    this.#path = path;
    this.#text = text;
    this.#bytes = bytes;
  }

  header(): GgufHeader {
    const magic = this.#take(4).toString('latin1');
    if (magic !== 'GGUF') this.#fail("a file that begins with 'GGUF'", JSON.stringify(magic));
    const version = this.#take(4).readUInt32LE();
    if (version !== 2 && version !== 3) this.#fail('version 2 or 3', `${version}`);
    const [tensorCount, pairCount] = [this.#length(), this.#length()];
    const pairs: [string, GgufValue][] = [];
    for (let i = 0; i < pairCount; i++) pairs.push([this.#string(), this.#value(this.#type(), 0)]);
    const tensors: GgufTensor[] = [];
    for (let i = 0; i < tensorCount; i++) tensors.push(this.#tensor());
    return { version, metadata: Object.fromEntries(pairs), tensors };
  }

  #tensor(): GgufTensor {
    const name = this.#string();
    const dimensions = this.#type();
    if (dimensions > 4) this.#fail('at most 4 dimensions', `${dimensions}`);
    const shape = Array.from({ length: dimensions }, () => Number(this.#take(8).readBigUInt64LE())).reverse();
    const type = this.#type();
    this.#take(8);
    const [dtype, block, bytes] = (Object.hasOwn(tensorTypes, type) ? tensorTypes[type] : undefined) ?? [
      `type ${type}`,
    ];
    const numbers = shape.reduce((product, size) => product * size, 1);
    return { name, dtype, shape, bytes: bytes === undefined ? undefined : (numbers / (block as number)) * bytes };
  }

  #value(type: number, depth: number): GgufValue {
    switch (type) {
      case 0:
        return this.#take(1).readUInt8();
      case 1:
        return this.#take(1).readInt8();
      case 2:
        return this.#take(2).readUInt16LE();
      case 3:
        return this.#take(2).readInt16LE();
      case 4:
        return this.#take(4).readUInt32LE();
      case 5:
        return this.#take(4).readInt32LE();
      case 6:
        return this.#take(4).readFloatLE();
      case 7:
        return this.#take(1).readUInt8() !== 0;
      case 8:
        return this.#string();
      case 9:
        return this.#list(depth + 1);
      case 10:
        return Number(this.#take(8).readBigUInt64LE());
      case 11:
        return Number(this.#take(8).readBigInt64LE());
      case 12:
        return this.#take(8).readDoubleLE();
      default:
        return this.#fail('a type of value from 0 to 12', `${type}`);
    }
  }

  #list(depth: number): GgufList {
    if (depth > deepest) this.#fail(`at most ${deepest} arrays in each other`, 'more');
    const type = this.#type();
    const length = this.#length();
    const first: GgufValue[] = [];
    for (let i = 0; i < length; i++) {
      const value = this.#value(type, depth);
      if (i < mostKept) first.push(value);
    }
    return { length, first };
  }

  #type(): number {
    return this.#take(4).readUInt32LE();
  }

  #string(): string {
    return this.#take(this.#length()).toString('utf8');
  }

  /** A number of bytes or elements; each element has a byte at least. */
  #length(): number {
    const length = this.#take(8).readBigUInt64LE();
    if (length > this.#bytes) this.#fail(`a length of at most ${this.#bytes}, the size of the file`, `${length}`);
    return Number(length);
  }

  #take(bytes: number): Buffer {
    const end = this.#at + bytes;
    if (end > this.#text.length) throw short;
    const part = this.#text.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  #fail(expected: string, got: string): never {
    corrupt(this.#op, this.#path, undefined, expected, got);
  }
}
