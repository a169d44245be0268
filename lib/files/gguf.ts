// GGUF version 3, the file format of llama.cpp: metadata, the description of each tensor, then the data of the tensors.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
const magic = 'GGUF';
const version = 3;
/** Each tensor begins at a multiple of it. The format's default. */
const alignment = 32;
/** The format's numbers of types. */
const valueTypes = { float32: 6, string: 8 } as const;
const float32Tensor = 0;

/** A matrix of float32 numbers [rows, columns], row-major. */
export interface GgufMatrix {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

/** Everything before the data. A number of the metadata is a float32. */
export function ggufHeader(
  metadata: Readonly<Record<string, string | number>>,
  matrices: readonly GgufMatrix[],
): Buffer {
  const pairs = Object.entries(metadata);
  const parts = [Buffer.from(magic), unsigned32(version), unsigned64(matrices.length), unsigned64(pairs.length)];
  for (const [key, value] of pairs) {
    parts.push(text(key));
    if (typeof value === 'string') parts.push(unsigned32(valueTypes.string), text(value));
    else parts.push(unsigned32(valueTypes.float32), float32(value));
  }
  let begin = 0;
  for (const { name, rows, columns } of matrices) {
    // The format lists the dimension that is contiguous in memory first.
    parts.push(text(name), unsigned32(2), unsigned64(columns), unsigned64(rows));
    parts.push(unsigned32(float32Tensor), unsigned64(begin));
    begin += aligned(4 * rows * columns);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, padding(header.length)]);
}

/** Zeros that fill up a part of this many bytes. */
export function padding(bytes: number): Buffer {
  return Buffer.alloc(aligned(bytes) - bytes);
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([unsigned64(bytes.length), bytes]);
}

function unsigned32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function unsigned64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function float32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
