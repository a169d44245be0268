import { SigmaError } from '../runtime/errors.js';

const bytes: Record<string, number> = { cpu: 0 };
let tensors = 0;

/**
 * Counts the live tensors, and the bytes that they hold on each device. Memory that `reshape` or `to` shares counts
 * once.
 *
 * @returns `tensors`, and `bytes` by device, such as { cpu: 4096, cuda: 0 }
 *
 * @example
 * const before = memory().tensors;
 * tidy(() => step());
 * console.assert(memory().tensors === before);
 */
export function memory(): { readonly tensors: number; readonly bytes: Readonly<Record<string, number>> } {
  return { tensors, bytes: { ...bytes } };
}

export function countTensors(change: number): void {
  tensors += change;
}

export function countBytes(device: string, change: number): void {
  bytes[device] = (bytes[device] ?? 0) + change;
}

export function allocationFailed(op: string, size: number, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new SigmaError('OUT_OF_MEMORY', op, `could not allocate ${size} bytes (${reason})`, cause);
}
