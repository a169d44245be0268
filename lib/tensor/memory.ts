import { deviceNamed } from '../runtime/device.js';
import { SigmaError } from '../runtime/errors.js';
import { native } from '../runtime/native.js';

const bytes: Record<string, number> = { cpu: 0 };
let tensors = 0;

/** Bytes by device. */
type Bytes = Readonly<Record<string, number>>;

/**
 * Counts the live tensors, and the bytes that they hold on each device. Memory that `reshape` or `to` shares counts
 * once.
 *
 * `scratch` has the bytes that the library keeps for later calls: workspaces, packing buffers, and memory of disposed
 * tensors. They are freed when no call has come for a second or two, if the event loop runs. On the CPU all but the
 * last are shared by all threads of the process. `scratch` is not enumerable, so comparing, copying or printing the
 * result leaves it out: it depends on the time.
 *
 * @returns `tensors`, and `bytes` and `scratch` by device, such as { cpu: 4096, cuda: 0 }
 *
 * @example
 * const before = memory().tensors;
 * tidy(() => step());
 * console.assert(memory().tensors === before);
 * console.log('kept for later calls:', memory().scratch['cpu']);
 */
export function memory(): { readonly tensors: number; readonly bytes: Bytes; readonly scratch: Bytes } {
  const kept = native.keptBytes('memory');
  const scratch = Object.fromEntries(
    Object.entries(kept).map(([index, size]) => [deviceNamed(Number(index)), size] as const),
  );
  const counts = { tensors, bytes: { ...bytes } };
  return Object.defineProperty(counts, 'scratch', { value: scratch }) as typeof counts & { scratch: Bytes };
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
