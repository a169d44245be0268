import { type Device, deviceIndex } from '../device.js';
import { renamed } from '../errors.js';
import { type DeviceMemory, type NumericArray, native } from '../native.js';
import { allocate, bytesPerElement, type DType, dtypes, recycle, type TypedArrayOf } from './dtype.js';
import { countBytes } from './memory.js';

/** The memory behind one or more tensors of one device. */
export interface Storage {
  readonly device: Device;
  /** JavaScript's own on the CPU. */
  memory: NumericArray | DeviceMemory;
  /** Elements, while nobody has detached or resized the memory. */
  readonly size: number;
  owners: number;
  /** How often operations have written into it: on a device nothing else does. */
  writes: number;
  /** Whether nobody but the tensors that own it can see it, so that it may serve another result after them. */
  reusable: boolean;
}

/** Runs what calls the native side on behalf of operation `op`. */
function under<T>(op: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw renamed(error, op);
  }
}

/** Memory of a device for so many elements, of no particular content. */
export function allocateOn(op: string, device: Device, dtype: DType, size: number): DeviceMemory {
  return under(op, () => native.deviceAllocate(deviceIndex(device), dtypes.indexOf(dtype), size));
}

/** One more tensor holds it. */
export function acquire(storage: Storage, bytes: number): void {
  if (storage.owners === 0) countBytes(storage.device, bytes);
  storage.owners += 1;
}

/** One tensor less; the last one gives the memory back. */
export function release(storage: Storage, bytes: number): void {
  storage.owners -= 1;
  if (storage.owners > 0) return;
  countBytes(storage.device, -bytes);
  if (isHost(storage.memory)) {
    if (storage.reusable) recycle(storage.memory);
    // A disposed tensor that somebody still holds must not hold the memory.
    storage.memory = new Float32Array(0);
  } else {
    native.deviceRelease(storage.memory);
  }
}

export function isHost(memory: NumericArray | DeviceMemory): memory is NumericArray {
  return ArrayBuffer.isView(memory);
}

/** Numbers of an array in memory of a device. */
export function uploaded(op: string, device: Device, dtype: DType, array: NumericArray): DeviceMemory {
  const memory = allocateOn(op, device, dtype, array.length);
  under(op, () => native.deviceUpload(memory, array));
  return memory;
}

/** A device's numbers on the host, once they are there. */
export function downloaded<D extends DType>(op: string, dtype: D, size: number, memory: DeviceMemory): TypedArrayOf<D> {
  const array = allocate(op, dtype, size);
  under(op, () => native.deviceDownload(memory, array));
  return array;
}

/** The same off the event loop: the numbers as they are now. */
export async function downloadedLater<D extends DType>(
  op: string,
  dtype: D,
  size: number,
  memory: DeviceMemory,
): Promise<TypedArrayOf<D>> {
  const array = allocate(op, dtype, size);
  try {
    await native.deviceDownloadLater(memory, array);
  } catch (error) {
    throw renamed(error, op);
  }
  return array;
}

export function bytesOf(dtype: DType, size: number): number {
  return size * bytesPerElement(dtype);
}
