import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { native } from '../runtime/native.js';
import { packageRoot } from '../runtime/package-root.js';
import { switchedOff } from '../runtime/switch.js';
import { settle } from './environment.js';

/** Whether MPI can be used; if not, why, and which paths were tried. */
export interface MpiStatus {
  readonly available: boolean;
  /** Why MPI is unavailable. */
  readonly code?: 'NOT_BUILT' | 'LOAD_FAILED' | 'ABI_MISMATCH' | 'DISABLED';
  /** The reason in words, and what would help. */
  readonly detail?: string;
  /** The paths that were tried, in order. */
  readonly searched?: readonly string[];
  /** The MPI that is loaded, and its version. */
  readonly library?: string;
}

let status: MpiStatus | undefined;

/**
 * The state of the library for MPI. The first call opens it, without starting MPI; later calls return the same object.
 * Never throws.
 *
 * @example
 * const status = mpiStatus();
 * if (!status.available) console.log(status.code, status.detail);
 */
export function mpiStatus(): MpiStatus {
  status ??= Object.freeze(openMpi());
  return status;
}

function openMpi(): MpiStatus {
  const off = switchedOff('SIGMATUNE_MPI', 'MPI');
  if (off !== undefined) return unavailable('DISABLED', off, []);
  const named = process.env['SIGMATUNE_MPI_LIBRARY'];
  // The working directory may contain another user's library.
  if (named && !isAbsolute(named)) {
    return unavailable('LOAD_FAILED', `SIGMATUNE_MPI_LIBRARY: expected an absolute path, got '${named}'`, []);
  }
  const path = named || built();
  if (path === undefined) return unavailable('NOT_BUILT', `no library for MPI was found: ${advice()}`, []);
  const searched = Object.freeze([path]);
  if (!existsSync(path)) return unavailable('NOT_BUILT', `no library for MPI was found: ${advice()}`, searched);
  const restore = settle();
  try {
    const { loadError, library } = native.mpiOpen('mpiStatus', path);
    if (loadError !== undefined) {
      return unavailable('LOAD_FAILED', `the library for MPI cannot be loaded: ${loadError}`, searched);
    }
    if (library === undefined) {
      return unavailable('ABI_MISMATCH', `the library is of another version of sigmatune: ${advice()}`, searched);
    }
    return { available: true, library, searched };
  } catch (error) {
    return unavailable('LOAD_FAILED', error instanceof Error ? error.message : String(error), searched);
  } finally {
    restore();
  }
}

function unavailable(code: MpiStatus['code'], detail: string, searched: readonly string[]): MpiStatus {
  return { available: false, code, detail, searched } as MpiStatus;
}

/** The library of `npm run build:mpi`. A bundle has none. */
function built(): string | undefined {
  return packageRoot && join(packageRoot, 'build-mpi', 'libsigmatune_mpi.so');
}

/** How to get the library: only this machine's MPI can be compiled against. */
function advice(): string {
  return packageRoot && existsSync(join(packageRoot, 'scripts', 'build-mpi.mjs'))
    ? 'build it with "npm run build:mpi", or set SIGMATUNE_MPI_LIBRARY to the absolute path of a library'
    : 'docs/distributed.md says how to compile it. Then set SIGMATUNE_MPI_LIBRARY to the absolute path of the library';
}
