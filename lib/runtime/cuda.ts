import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { native, type OpenedBackend } from './native.js';
import { packageRoot } from './package-root.js';
import platforms from './platforms.cjs';
import { switchedOff } from './switch.js';
import { version } from './version.js';

/** Whether CUDA can be used; if not, why, and which paths were tried. */
export interface DeviceStatus {
  readonly available: boolean;
  /** Why CUDA is unavailable. */
  readonly code?:
    | 'NOT_BUILT'
    | 'LOAD_FAILED'
    | 'ABI_MISMATCH'
    | 'NO_DRIVER'
    | 'DRIVER_TOO_OLD'
    | 'NO_DEVICE'
    | 'NO_LIBRARY'
    | 'DISABLED';
  /** The reason in words, and what would help. */
  readonly detail?: string;
  /** The paths and libraries that were tried, in order. */
  readonly searched?: readonly string[];
  /** Device N is `devices[N]`. `nvidia-smi --id=<uuid>` tells more about it. */
  readonly devices?: readonly {
    readonly name: string;
    readonly memoryBytes: number;
    readonly capability: string;
    readonly uuid: string;
  }[];
  /** The backend, its CUDA libraries and their versions. */
  readonly backend?: string;
}

/** In the order of sigma_reason in native/contract/backend.h. */
const reasons = [undefined, 'ABI_MISMATCH', 'NO_DRIVER', 'DRIVER_TOO_OLD', 'NO_DEVICE', 'NO_LIBRARY'] as const;

const file = 'libsigmatune_cuda.so';

/**
 * Paths to try for the backend's library: the one the user names, else the backend's npm packages, then local builds. Of
 * either kind, the one for CUDA 12 is the last.
 */
function candidates(): string[] {
  const named = process.env['SIGMATUNE_CUDA_LIBRARY'];
  if (named) return [named];
  const root = packageRoot;
  const local = root === undefined ? [] : ['build-cuda', 'build-cuda12'].map((folder) => join(root, folder, file));
  return [...platforms.cudaLibraries(), ...local];
}

function unavailable(code: DeviceStatus['code'], detail: string, searched: readonly string[]): DeviceStatus {
  return Object.freeze({ available: false, code, detail, searched: Object.freeze([...searched]) }) as DeviceStatus;
}

/**
 * The first environment variable that has a relative path. It is refused, because the working directory may contain
 * another user's library.
 */
function relativePath(): string | undefined {
  return ['SIGMATUNE_CUDA_LIBRARY', 'SIGMATUNE_CUDA_PATH'].find((name) => {
    const path = process.env[name];
    return path && !isAbsolute(path);
  });
}

/** How to get a backend. The build script is in a clone of the repository, not in the published package. */
function advice(): string {
  const isClone = packageRoot !== undefined && existsSync(join(packageRoot, 'scripts', 'build-cuda.mjs'));
  if (isClone) {
    return 'build it with "npm run build:cuda", or set SIGMATUNE_CUDA_LIBRARY to the absolute path of a library';
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `there is one for linux-x64 only, and this is ${process.platform}-${process.arch}`;
  }
  return `install it with "npm install @sigmatune/cuda-linux-x64@${version}"`;
}

/** Opens the CUDA backend. Never throws and never prints. */
export function openCuda(): DeviceStatus {
  const tried: string[] = [];
  try {
    return open(tried);
  } catch (error) {
    return unavailable('LOAD_FAILED', error instanceof Error ? error.message : String(error), tried);
  }
}

/** Appends to `tried` the paths that it looks at. */
function open(tried: string[]): DeviceStatus {
  const off = switchedOff('SIGMATUNE_CUDA', 'CUDA');
  if (off !== undefined) return unavailable('DISABLED', off, []);
  const relative = relativePath();
  if (relative !== undefined) {
    return unavailable('LOAD_FAILED', `${relative}: expected an absolute path, got '${process.env[relative]}'`, []);
  }
  tried.push(...candidates());
  const present = tried.filter((candidate) => existsSync(candidate));
  // A driver that is too old for one library may serve the next.
  let status: DeviceStatus | undefined;
  for (const path of present) {
    const before = status?.searched ?? [];
    status = read(path, native.deviceOpen('cudaStatus', path), before);
    if (status.code !== 'DRIVER_TOO_OLD') break;
  }
  return status ?? unavailable('NOT_BUILT', `no CUDA backend was found: ${advice()}`, tried);
}

/** `before` was searched for another library. */
function read(path: string, opened: OpenedBackend, before: readonly string[]): DeviceStatus {
  if (opened.loadError !== undefined) {
    return unavailable('LOAD_FAILED', `the CUDA backend cannot be loaded: ${opened.loadError}`, [...before, path]);
  }
  const searched = [...before, path, ...opened.searched.split('\n').filter((line) => line !== '')];
  if (opened.reason !== 0) return unavailable(reasons[opened.reason] ?? 'LOAD_FAILED', opened.detail, searched);
  if (opened.simulated && process.env['SIGMATUNE_CUDA_SIMULATION'] !== '1') {
    return unavailable('LOAD_FAILED', `${path} only simulates a device, for this package's own tests`, searched);
  }
  const devices = Object.freeze((opened.devices ?? []).map((device) => Object.freeze(device)));
  const backend = [opened.backend, opened.libraries].filter((text) => text).join(', ');
  return Object.freeze({ available: true, devices, searched: Object.freeze(searched), backend });
}
