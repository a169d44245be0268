/**
 * What went wrong, for programs to compare; the message explains it to people.
 *
 * INVALID_ARGUMENT: a wrong type or value. SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH: a tensor whose shape, type
 * or device does not fit. NON_FINITE: NaN or Infinity in the input. NOT_CONVERGED: an SVD failed its accuracy check.
 * DISPOSED: a tensor, pass or layer was used after `dispose`. CONSUMED: a second `backward` of one pass. ABORTED: the
 * signal fired. OUT_OF_MEMORY: an allocation failed. DEVICE_UNAVAILABLE: CUDA cannot be used, see `cudaStatus`.
 * UNSUPPORTED: no kernel or strategy for these arguments. CORRUPT_FILE: a damaged file. BASE_MISMATCH: factors of
 * another weight. RANK_MISMATCH: the ranks of a job disagree about a call, its parameters or their numbers. TIMED_OUT: not
 * all ranks took part in a call in time. NATIVE: any other failure of the native code.
 */
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
  | 'RANK_MISMATCH'
  | 'TIMED_OUT'
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

/** The message without the name of the function. */
export function reasonOf({ op, message }: SigmaError): string {
  return message.slice(`${op}: `.length);
}

/** The same error under the name of the function that the user called. */
export function renamed(error: unknown, op: string): unknown {
  if (!(error instanceof SigmaError) || error.op === op) return error;
  return new SigmaError(error.code, op, reasonOf(error), error.detail);
}
