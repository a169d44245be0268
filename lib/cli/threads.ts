import { setThreads } from '../index.js';
import { readInteger } from './arguments.js';
import type { OptionTable } from './command.js';

/** The option of the commands that compute. */
export const threadsOption = {
  threads: { type: 'string', value: 'N', about: 'processors to use; default: all that the process may use' },
} as const satisfies OptionTable;

export function useThreads(given: string | undefined): void {
  if (given !== undefined) setThreads(readInteger('threads', given, 1, 1024));
}
