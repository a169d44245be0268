import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute } from 'node:path';
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

/** In the order of sigma_reason in native/contract/backend.h. */
const reasons = [undefined, 'ABI_MISMATCH', 'NO_DRIVER', 'DRIVER_TOO_OLD', 'NO_DEVICE', 'NO_LIBRARY'] as const;

const file = 'libsigmatune_cuda.so';

/** Where the backend's library may be: named by the user, in its own package, or built here. */
function candidates(): string[] {
  const named = process.env['SIGMATUNE_CUDA_LIBRARY'];
  if (named) return [named];
  const places = [fileURLToPath(new URL(`../../build-cuda/${file}`, import.meta.url))];
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

/**
 * The first of the variables that has a relative path. A relative path would depend on the working directory, where
 * somebody else may have put a library.
 */
function relativePath(): string | undefined {
  return ['SIGMATUNE_CUDA_LIBRARY', 'SIGMATUNE_CUDA_PATH'].find((name) => {
    const path = process.env[name];
    return path && !isAbsolute(path);
  });
}

/** What would bring a backend here. The script that builds one is in a clone of the repository, not in the package. */
function advice(): string {
  const isClone = existsSync(new URL('../../scripts/build-cuda.mjs', import.meta.url));
  return isClone
    ? 'build it with "npm run build:cuda", or name a library by its absolute path in SIGMATUNE_CUDA_LIBRARY'
    : 'this package ships none; docs/cuda.md says how to build it from the repository of sigmatune. Then name the ' +
        'library by its absolute path in SIGMATUNE_CUDA_LIBRARY';
}

/** Opens the CUDA backend. Never throws, prints nothing; a refusal says what would help. */
export function openCuda(): DeviceStatus {
  const tried: string[] = [];
  try {
    return open(tried);
  } catch (error) {
    return unavailable('LOAD_FAILED', error instanceof Error ? error.message : String(error), tried);
  }
}

/** Adds to `tried` where it looks. */
function open(tried: string[]): DeviceStatus {
  const wish = process.env['SIGMATUNE_CUDA'];
  if (wish === 'off' || wish === '0') {
    return unavailable('DISABLED', `SIGMATUNE_CUDA=${wish} in the environment switches CUDA off`, []);
  }
  const relative = relativePath();
  if (relative !== undefined) {
    return unavailable('LOAD_FAILED', `${relative}: expected an absolute path, got '${process.env[relative]}'`, []);
  }
  tried.push(...candidates());
  const path = tried.find((candidate) => existsSync(candidate));
  if (path === undefined) return unavailable('NOT_BUILT', `no CUDA backend is there: ${advice()}`, tried);
  return read(path, native.deviceOpen('cudaStatus', path));
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
