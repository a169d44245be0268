/** What went wrong, for programs to compare. The message explains it to people. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'SHAPE_MISMATCH'
  | 'DTYPE_MISMATCH'
  | 'DEVICE_MISMATCH'
  | 'NON_FINITE'
  | 'NOT_CONVERGED'
  | 'DISPOSED'
  | 'CONSUMED'
  | 'ABORTED'
  | 'OUT_OF_MEMORY'
  | 'DEVICE_UNAVAILABLE'
  | 'UNSUPPORTED'
  | 'CORRUPT_FILE'
  | 'BASE_MISMATCH'
  | 'NATIVE';

/**
 * Every error that this package throws. `op` names the function that was called. `detail` depends on the code: the
 * device status for DEVICE_UNAVAILABLE, the signal's reason for ABORTED.
 *
 * @example
 * try {
 *   await svd(tensor([[NaN]]));
 * } catch (error) {
 *   if (error instanceof SigmaError && error.code === 'NON_FINITE') console.log(error.message);
 * }
 */
export class SigmaError extends Error {
  readonly code: ErrorCode;
  readonly op: string;
  readonly detail?: unknown;

  constructor(code: ErrorCode, op: string, message: string, detail?: unknown) {
    super(`${op}: ${message}`);
    this.name = 'SigmaError';
    this.code = code;
    this.op = op;
    if (detail !== undefined) this.detail = detail;
  }
}

/** The same error under the name of the function that the user called. */
export function renamed(error: unknown, op: string): unknown {
  if (!(error instanceof SigmaError) || error.op === op) return error;
  return new SigmaError(error.code, op, error.message.slice(`${error.op}: `.length), error.detail);
}
