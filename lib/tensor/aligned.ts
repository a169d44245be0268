import { type NumericArray, native } from '../runtime/native.js';

/** Bytes of a cache line, which is what the widest vector registers load at once. */
const line = 64;

/** The length of a buffer in which so many bytes can begin on a line. */
export function roomFor(bytes: number): number {
  return bytes + line;
}

/** An array of `size` numbers that begins on the first line of a buffer of that length. */
export function arrayOn<A extends NumericArray>(
  op: string,
  kind: new (buffer: ArrayBuffer, byteOffset: number, length: number) => A,
  buffer: ArrayBuffer,
  size: number,
): A {
  return new kind(buffer, native.bufferPadding(op, buffer), size);
}
