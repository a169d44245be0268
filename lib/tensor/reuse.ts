// Memory of results that were disposed serves later results of the same size: new memory costs a page fault for each
// 4 KB of it. Only what nobody outside the library has seen comes here (`Storage.reusable`), and the native side holds
// it weakly: what is not asked for goes where it would have gone without. WeakRef would not do, since V8 keeps its
// target until the program gives way to the event loop, which a training loop need not do.
import { native } from '../runtime/native.js';

/** Takes a buffer that nobody uses any more. */
export function park(op: string, buffer: ArrayBuffer): void {
  native.parkBuffer(op, buffer);
}

/** A buffer of so many bytes to be overwritten: any numbers may be in it. */
export function anyBuffer(op: string, bytes: number): ArrayBuffer {
  return native.takeBuffer(op, bytes) ?? new ArrayBuffer(bytes);
}

/** A buffer of so many bytes, all of them 0. */
export function zeroBuffer(op: string, bytes: number): ArrayBuffer {
  const buffer = native.takeBuffer(op, bytes);
  if (buffer === undefined) return new ArrayBuffer(bytes);
  new Uint8Array(buffer).fill(0);
  return buffer;
}
