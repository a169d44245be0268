import { type NumericArray, native } from '../runtime/native.js';

/** Bytes of a cache line, and of the widest vector register. */
const line = 64;

/** Bytes from the start of a buffer to its first cache line. Cached, because a buffer keeps its address. */
const paddings = new WeakMap<ArrayBuffer, number>();

function paddingOf(op: string, buffer: ArrayBuffer): number {
  const known = paddings.get(buffer);
  if (known !== undefined) return known;
  const padding = native.prepareBuffer(op, buffer);
  paddings.set(buffer, padding);
  return padding;
}

/** Length of a buffer in which `bytes` bytes can be aligned to a cache line. */
export function roomFor(bytes: number): number {
  return bytes + line;
}

/** An array of `size` numbers, aligned to a cache line, on a buffer of length `roomFor`. */
export function arrayOn<A extends NumericArray>(
  op: string,
  kind: new (buffer: ArrayBuffer, byteOffset: number, length: number) => A,
  buffer: ArrayBuffer,
  size: number,
): A {
  return new kind(buffer, paddingOf(op, buffer), size);
}
