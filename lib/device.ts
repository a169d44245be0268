import { createRequire } from 'node:module';
import { checkInteger, reject } from './check.js';
import { SigmaError } from './errors.js';
import { native } from './native.js';

export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

/** Whether CUDA can be used, and if not, why and what was tried. */
export interface DeviceStatus {
  readonly available: boolean;
  readonly code?:
    | 'NOT_BUILT'
    | 'LOAD_FAILED'
    | 'ABI_MISMATCH'
    | 'NO_DRIVER'
    | 'DRIVER_TOO_OLD'
    | 'NO_DEVICE'
    | 'NO_LIBRARY'
    | 'DISABLED';
  readonly detail?: string;
  readonly searched?: readonly string[];
  readonly devices?: readonly { readonly name: string; readonly memoryBytes: number; readonly capability: string }[];
}

/**
 * The state of the CUDA backend. Never throws.
 *
 * @example
 * const status = cudaStatus();
 * if (!status.available) console.log(status.code, status.detail);
 */
export function cudaStatus(): DeviceStatus {
  return {
    available: false,
    code: 'NOT_BUILT',
    detail: 'this version of sigmatune has no CUDA backend; use device "cpu"',
    searched: [],
  };
}

/** The device that an option names. DEVICE_UNAVAILABLE, with the status as detail, where it cannot be used. */
export function resolveDevice(op: string, device: unknown): Device {
  if (device === undefined || device === 'cpu') return 'cpu';
  if (typeof device !== 'string' || !/^cuda(:\d+)?$/.test(device)) {
    reject(op, 'device', `'cpu', 'cuda' or 'cuda:N'`, device);
  }
  const status = cudaStatus();
  throw new SigmaError(
    'DEVICE_UNAVAILABLE',
    op,
    `device: expected one that is available, got '${device}' (${status.code}: ${status.detail})`,
    status,
  );
}

/**
 * How many threads a call may use, for the whole process. At first: the number of processors. Results do not depend
 * on it, to the bit.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * setThreads(4);
 */
export function setThreads(count: number): void {
  native.setThreads(checkInteger('setThreads', 'count', count, 1, 1024));
}

/**
 * The number of threads a call may use.
 *
 * @example
 * threads(); // 2, on a machine of two processors
 */
export function threads(): number {
  return native.threads();
}

/**
 * Versions, BLAS build, SIMD level, threads, CUDA status: what a bug report needs.
 *
 * @example
 * console.log(JSON.stringify(systemInfo(), null, 2));
 */
export function systemInfo(): Record<string, unknown> {
  const { version } = createRequire(import.meta.url)('../package.json') as { version: string };
  const info = native.nativeInfo();
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
