// Reuse cache for the memory of disposed results: fresh memory costs one page fault per 4 KB. Only memory that no code
// outside the library has seen is cached (`Storage.reusable`). The native side holds it weakly, so V8 may collect it. A
// WeakRef does not work: V8 keeps its target until the event loop runs, and a training loop may never yield to it.
import { native } from '../runtime/native.js';

/** Puts a buffer without any other holder into the cache. */
export function park(op: string, buffer: ArrayBuffer): void {
  native.parkBuffer(op, buffer);
}

/** An uninitialised buffer of `bytes` bytes. */
export function anyBuffer(op: string, bytes: number): ArrayBuffer {
  return native.takeBuffer(op, bytes) ?? new ArrayBuffer(bytes);
}

/** A zeroed buffer of `bytes` bytes. */
export function zeroBuffer(op: string, bytes: number): ArrayBuffer {
  const buffer = native.takeBuffer(op, bytes);
  if (buffer === undefined) return new ArrayBuffer(bytes);
  new Uint8Array(buffer).fill(0);
  return buffer;
}
