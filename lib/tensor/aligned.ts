import { type NumericArray, native } from '../runtime/native.js';

/** Bytes of a cache line, which is what the widest vector registers load at once. */
const line = 64;

/** Bytes from the beginning of a buffer to its first cache line. A buffer keeps its address, so one call tells for good. */
const paddings = new WeakMap<ArrayBuffer, number>();

function paddingOf(op: string, buffer: ArrayBuffer): number {
  const known = paddings.get(buffer);
  if (known !== undefined) return known;
  const padding = native.bufferPadding(op, buffer);
  paddings.set(buffer, padding);
  return padding;
}

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
  return new kind(buffer, paddingOf(op, buffer), size);
}
