import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native, type OpenedBackend } from './native.js';

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
  /** The backend, its CUDA libraries and their versions. */
  readonly backend?: string;
}

/** In the order of sigma_reason in native/backend.h. */
const reasons = [undefined, 'ABI_MISMATCH', 'NO_DRIVER', 'DRIVER_TOO_OLD', 'NO_DEVICE', 'NO_LIBRARY'] as const;

const file = 'libsigmatune_cuda.so';

/** Where the backend's library may be: named by the user, in its own package, or built here. */
function candidates(): string[] {
  const named = process.env['SIGMATUNE_CUDA_LIBRARY'];
  if (named) return [resolve(named)];
  const places = [fileURLToPath(new URL(`../build-cuda/${file}`, import.meta.url))];
  try {
    const require = createRequire(import.meta.url);
    places.unshift(require.resolve(`@sigmatune/cuda-${process.platform}-${process.arch}/${file}`));
  } catch {
    // That package is not installed.
  }
  return places;
}

function unavailable(code: DeviceStatus['code'], detail: string, searched: readonly string[]): DeviceStatus {
  return Object.freeze({ available: false, code, detail, searched: Object.freeze([...searched]) }) as DeviceStatus;
}

/** Opens the CUDA backend. Never throws, prints nothing; a refusal says what would help. */
export function openCuda(): DeviceStatus {
  const wish = process.env['SIGMATUNE_CUDA'];
  if (wish === 'off' || wish === '0') {
    return unavailable('DISABLED', `SIGMATUNE_CUDA=${wish} in the environment switches CUDA off`, []);
  }
  const tried = candidates();
  const path = tried.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    const advice = 'build it with "npm run build:cuda", or name a library in SIGMATUNE_CUDA_LIBRARY';
    return unavailable('NOT_BUILT', `no CUDA backend is there: ${advice}`, tried);
  }
  try {
    return read(path, native.deviceOpen('cudaStatus', path));
  } catch (error) {
    return unavailable('LOAD_FAILED', error instanceof Error ? error.message : String(error), [path]);
  }
}

function read(path: string, opened: OpenedBackend): DeviceStatus {
  if (opened.loadError !== undefined) {
    return unavailable('LOAD_FAILED', `the CUDA backend cannot be loaded: ${opened.loadError}`, [path]);
  }
  const searched = [path, ...opened.searched.split('\n').filter((line) => line !== '')];
  if (opened.reason !== 0) return unavailable(reasons[opened.reason] ?? 'LOAD_FAILED', opened.detail, searched);
  if (opened.simulated && process.env['SIGMATUNE_CUDA_SIMULATION'] !== '1') {
    return unavailable('LOAD_FAILED', `${path} only simulates a device, for this package's own tests`, searched);
  }
  const devices = Object.freeze((opened.devices ?? []).map((device) => Object.freeze(device)));
  const backend = [opened.backend, opened.libraries].filter((text) => text).join(', ');
  return Object.freeze({ available: true, devices, searched: Object.freeze(searched), backend });
}
