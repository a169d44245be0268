import { checkInteger, isPromise, reject } from './check.js';
import { type DeviceStatus, openCuda } from './cuda.js';
import { SigmaError } from './errors.js';
import { native, type Operation } from './native.js';
import { version } from './version.js';

export type { DeviceStatus } from './cuda.js';

/** 'cpu', or a CUDA device by its number; 'cuda' is 'cuda:0'. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

let status: DeviceStatus | undefined;

/**
 * The state of the CUDA backend. The first call opens the library, the driver and the devices; later calls return the
 * same object. Never throws.
 *
 * @example
 * const status = cudaStatus();
 * if (!status.available) console.log(status.code, status.detail);
 */
export function cudaStatus(): DeviceStatus {
  status ??= openCuda();
  return status;
}

/** The device number that the native side takes; -1 is the CPU. */
export function deviceIndex(device: Device): number {
  return device === 'cpu' ? -1 : Number(device.slice('cuda:'.length));
}

/** The device of this number, in its shortest form: 'cuda' for 'cuda:0'. */
export function deviceNamed(index: number): Device {
  if (index < 0) return 'cpu';
  return index === 0 ? 'cuda' : `cuda:${index}`;
}

/**
 * The device that an option names, in its shortest form, or `otherwise` for undefined. Throws
 * DEVICE_UNAVAILABLE, with the status as detail, if the device cannot be used.
 */
export function resolveDevice(op: string, device: unknown, otherwise: Device = 'cpu'): Device {
  if (device === undefined) return otherwise;
  if (device === 'cpu') return 'cpu';
  if (typeof device !== 'string' || !/^cuda(:\d+)?$/.test(device)) {
    reject(op, 'device', `'cpu', 'cuda' or 'cuda:N'`, device);
  }
  const found = cudaStatus();
  const index = deviceIndex(device as Device);
  const count = found.devices?.length ?? 0;
  const refusal = !found.available
    ? `${found.code}: ${found.detail}`
    : index >= count
      ? `there ${count === 1 ? 'is 1 device' : `are ${count} devices`}, numbered from 0`
      : undefined;
  if (refusal !== undefined) {
    const message = `device: expected an available device, got '${device}' (${refusal})`;
    throw new SigmaError('DEVICE_UNAVAILABLE', op, message, found);
  }
  return deviceNamed(index);
}

/**
 * Runs `body`, waits for the work that it queued on `device`, and returns how long that work took, in milliseconds. A
 * CUDA device measures with its own events, the CPU with the system clock. `body` must be synchronous and must not call
 * `timed`.
 *
 * @returns milliseconds
 * @throws SigmaError INVALID_ARGUMENT, DEVICE_UNAVAILABLE
 * @example
 * const milliseconds = timed('cuda', () => matmul(a, b, { out }));
 */
export function timed(device: Device, body: () => unknown): number {
  const op = 'timed';
  const index = deviceIndex(resolveDevice(op, device));
  if (typeof body !== 'function') reject(op, 'body', 'a function', body);
  native.timerStart(op, index);
  const result = body();
  const milliseconds = native.timerStop(op, index);
  if (isPromise(result)) {
    result.catch(() => undefined);
    reject(op, 'body', 'a synchronous function', result);
  }
  return milliseconds;
}

const answers = new Map<string, boolean>();

/**
 * @internal Whether a device has a kernel of an operation for matrices that are all of one type. Every device has every
 * operation in float32 and float64.
 */
export function supports(device: Device, operation: Operation, dtype: string): boolean {
  if (dtype === 'float32' || dtype === 'float64') return true;
  const question = `${device} ${operation} ${dtype}`;
  let answer = answers.get(question);
  if (answer === undefined) {
    answer = native.supports(operation, deviceIndex(device), operation, 'float32', [dtype]);
    answers.set(question, answer);
  }
  return answer;
}

/**
 * Sets how many threads one call may use, for the whole process. The default is the number of processors that the
 * process may use, by its CPU affinity and its cgroup's quota. At most four threads per processor are started,
 * or 16 if that is more. Results do not depend on the number of threads, to the bit.
 *
 * @param count from 1 to 1024
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * setThreads(4);
 */
export function setThreads(count: number): void {
  native.setThreads('setThreads', checkInteger('setThreads', 'count', count, 1, 1024));
}

/**
 * The number of threads that one call may use. See `setThreads`.
 *
 * @example
 * threads(); // 2, on a machine of two processors
 */
export function threads(): number {
  return native.threads('threads');
}

/**
 * Versions, BLAS build, SIMD level, threads and CUDA status, for a bug report.
 *
 * @example
 * console.log(JSON.stringify(systemInfo(), null, 2));
 */
export function systemInfo(): Record<string, unknown> {
  const info = native.nativeInfo('systemInfo');
  return {
    sigmatune: version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    backend: info.backend,
    abi: info.abi,
    blas: info.blas,
    simd: info.simd,
    threads: threads(),
    cuda: cudaStatus(),
  };
}
