// How a command ends, and what it says then.
import { reasonOf, SigmaError } from '../runtime/errors.js';

/** Documented in docs/cli.md. `sigmatune bench` has codes of its own. */
export const exitCodes = {
  done: 0,
  /** What was asked for cannot be done: a file, a value, a disk. */
  failed: 1,
  /** The command line is not understood. */
  usage: 2,
  /** A fault of this program. */
  fault: 4,
} as const;

/** A command line that is not understood: a misspelt command or option, a missing or malformed argument. */
export class UsageError extends Error {}

/** What was asked for cannot be done, for a reason that the message tells. */
export class Failure extends Error {}

/** An error as it is told: to people by `message`, to programs by all fields. */
export interface Told {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  /** Only a fault of this program has one. */
  readonly stack?: string;
}

export function told(error: unknown): Told {
  if (error instanceof UsageError) return { exitCode: exitCodes.usage, code: 'USAGE', message: error.message };
  if (error instanceof Failure) return { exitCode: exitCodes.failed, code: 'FAILED', message: error.message };
  if (error instanceof SigmaError) return { exitCode: exitCodes.failed, code: error.code, message: reasonOf(error) };
  const { code, syscall, message, stack } = (error instanceof Error ? error : new Error(String(error))) as Error & {
    code?: unknown;
    syscall?: unknown;
  };
  // What the system refuses (ENOENT, ENOSPC, …) is no fault of the program.
  if (typeof code === 'string' && typeof syscall === 'string') return { exitCode: exitCodes.failed, code, message };
  return { exitCode: exitCodes.fault, code: 'FAULT', message, ...(stack !== undefined && { stack }) };
}
