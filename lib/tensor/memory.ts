import { SigmaError } from '../runtime/errors.js';

const bytes: Record<string, number> = { cpu: 0 };
let tensors = 0;

/**
 * Tensors that are not disposed, and the bytes behind them by device. What `reshape` and `to` share counts once in bytes.
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
  throw new SigmaError('OUT_OF_MEMORY', op, `no room for ${size} bytes (${reason})`, cause);
}
