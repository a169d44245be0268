import { cudaStatus } from '../runtime/device.js';
import { native } from '../runtime/native.js';
import { switchedOff } from '../runtime/switch.js';

/** Whether NCCL can be used; if not, why, and which paths were tried. */
export interface NcclStatus {
  readonly available: boolean;
  /** Why NCCL is unavailable. */
  readonly code?: 'NO_CUDA' | 'NOT_FOUND' | 'DISABLED';
  /** The version and where it was found; or the reason in words, and what would help. */
  readonly detail: string;
  /** The paths that were tried, in order. */
  readonly searched?: readonly string[];
}

let status: NcclStatus | undefined;

/**
 * The state of NCCL, through which ranks average gradients that are on CUDA devices. The first call opens the library; later
 * calls return the same object. Never throws.
 *
 * @example
 * const status = ncclStatus();
 * if (!status.available) console.log(status.code, status.detail);
 */
export function ncclStatus(): NcclStatus {
  status ??= Object.freeze(openNccl());
  return status;
}

function openNccl(): NcclStatus {
  const off = switchedOff('SIGMATUNE_NCCL', 'NCCL');
  if (off !== undefined) return unavailable('DISABLED', off);
  const cuda = cudaStatus();
  if (!cuda.available) return unavailable('NO_CUDA', `${cuda.code}: ${cuda.detail}`);
  try {
    const opened = native.ncclOpen('ncclStatus');
    const searched = Object.freeze(opened.searched.split('\n').filter((line) => line !== ''));
    if (!opened.available) return { ...unavailable('NOT_FOUND', opened.detail), searched };
    return { available: true, detail: opened.detail, searched };
  } catch (error) {
    return unavailable('NOT_FOUND', error instanceof Error ? error.message : String(error));
  }
}

function unavailable(code: NonNullable<NcclStatus['code']>, detail: string): NcclStatus {
  return { available: false, code, detail };
}
