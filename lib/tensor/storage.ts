import { type Device, deviceIndex } from '../runtime/device.js';
import { type DeviceMemory, type NumericArray, native } from '../runtime/native.js';
import { allocate, bytesPerElement, type DType, dtypes, recycle, type TypedArrayOf } from './dtype.js';
import { countBytes } from './memory.js';

/** The memory behind one or more tensors of one device. */
export class Storage {
  readonly device: Device;
  /** JavaScript's own on the CPU. */
  memory: NumericArray | DeviceMemory;
  /** Elements, while nobody has detached or resized the memory. */
  readonly size: number;
  owners = 0;
  /** How often operations have written into it: on a device nothing else does. */
  writes = 0;
  /** Whether nobody but the tensors that own it can see it, so that it may serve another result after them. */
  reusable: boolean;

  constructor(device: Device, memory: NumericArray | DeviceMemory, size: number, reusable: boolean) {
    this.device = device;
    this.memory = memory;
    this.size = size;
    this.reusable = reusable;
  }
}

/** Memory of a device for so many elements, of no particular content. */
export function allocateOn(op: string, device: Device, dtype: DType, size: number): DeviceMemory {
  return native.deviceAllocate(op, deviceIndex(device), dtypes.indexOf(dtype), size);
}

/** One more tensor holds it. */
export function acquire(storage: Storage, bytes: number): void {
  if (storage.owners === 0) countBytes(storage.device, bytes);
  storage.owners += 1;
}

/** One tensor less; the last one gives the memory back. */
export function release(op: string, storage: Storage, bytes: number): void {
  storage.owners -= 1;
  if (storage.owners > 0) return;
  countBytes(storage.device, -bytes);
  if (isHost(storage.memory)) {
    if (storage.reusable) recycle(op, storage.memory);
    // A disposed tensor that somebody still holds must not hold the memory.
    storage.memory = new Float32Array(0);
  } else {
    native.deviceRelease(op, storage.memory);
  }
}

export function isHost(memory: NumericArray | DeviceMemory): memory is NumericArray {
  return ArrayBuffer.isView(memory);
}

/** Numbers of an array in memory of a device. */
export function uploaded(op: string, device: Device, dtype: DType, array: NumericArray): DeviceMemory {
  const memory = allocateOn(op, device, dtype, array.length);
  native.deviceUpload(op, memory, array);
  return memory;
}

/** A device's numbers on the host, once they are there. */
export function downloaded<D extends DType>(op: string, dtype: D, size: number, memory: DeviceMemory): TypedArrayOf<D> {
  const array = allocate(op, dtype, size);
  native.deviceDownload(op, memory, array);
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
  await native.deviceDownloadLater(op, memory, array);
  return array;
}

export function bytesOf(dtype: DType, size: number): number {
  return size * bytesPerElement(dtype);
}
