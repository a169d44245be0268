import { type Device, deviceIndex } from '../runtime/device.js';
import { type DeviceMemory, type NumericArray, native } from '../runtime/native.js';
import { allocate, bytesPerElement, type DType, dtypes, recycle, type TypedArrayOf } from './dtype.js';
import { countBytes } from './memory.js';

/** A holder of numbers that copies them before they are overwritten. */
export interface Reader {
  beforeWrite(op: string): void;
}

/** The memory that one or more tensors share. */
export class Storage {
  readonly device: Device;
  /** A typed array on the CPU. */
  memory: NumericArray | DeviceMemory;
  /** Number of elements when it was made. JavaScript may detach or resize the buffer later. */
  readonly size: number;
  owners = 0;
  /** Number of writes by operations. On a device there are no other writes. */
  writes = 0;
  /** Who needs the present numbers after the next write. Only on a device: on the CPU anyone may write. */
  readers: Set<WeakRef<Reader>> | undefined;
  /** Whether only the owning tensors have seen it, so that a later result may reuse it. */
  reusable: boolean;
  /** Whether `memory()` counts it, and the tensors on it. Not the memory of an object that is no tensor of ours. */
  readonly counted: boolean;

  constructor(device: Device, memory: NumericArray | DeviceMemory, size: number, reusable: boolean, counted = true) {
    this.device = device;
    this.memory = memory;
    this.size = size;
    this.reusable = reusable;
    this.counted = counted;
  }
}

/** Allocates `size` uninitialised elements on `device`. */
export function allocateOn(op: string, device: Device, dtype: DType, size: number): DeviceMemory {
  return native.deviceAllocate(op, deviceIndex(device), dtypes.indexOf(dtype), size);
}

/** In the place of released memory. */
const released = new Float32Array(0);

/** Adds an owner. */
export function acquire(storage: Storage, bytes: number): void {
  if (storage.owners === 0 && storage.counted) countBytes(storage.device, bytes);
  storage.owners += 1;
}

/** Removes an owner; the last one frees the memory. */
export function release(op: string, storage: Storage, bytes: number): void {
  storage.owners -= 1;
  if (storage.owners > 0) return;
  if (storage.counted) countBytes(storage.device, -bytes);
  if (isHost(storage.memory)) {
    if (storage.reusable) recycle(op, storage.memory);
    // A reference to a disposed tensor must not keep the memory alive.
    storage.memory = released;
  } else {
    native.deviceRelease(op, storage.memory);
  }
}

export function isHost(memory: NumericArray | DeviceMemory): memory is NumericArray {
  return ArrayBuffer.isView(memory);
}

/** Copies an array to new memory on a device. */
export function uploaded(op: string, device: Device, dtype: DType, array: NumericArray): DeviceMemory {
  const memory = allocateOn(op, device, dtype, array.length);
  native.deviceUpload(op, memory, array);
  return memory;
}

/** Copies device memory to the host, and waits for the copy. */
export function downloaded<D extends DType>(op: string, dtype: D, size: number, memory: DeviceMemory): TypedArrayOf<D> {
  const array = allocate(op, dtype, size);
  native.deviceDownload(op, memory, array);
  return array;
}

/** `downloaded` off the event loop. Later writes do not change the result. */
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
