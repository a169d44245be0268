// A process of a job ends: the other ranks must neither wait for it nor go on without it.
import { hostname } from 'node:os';
import { native } from '../runtime/native.js';
import { cardOf } from './agreement.js';
import type { Communicator } from './communicator.js';

/** How long an exit may wait for the other ranks to exit too, and for MPI to end the job. */
const leaveSeconds = 10;
const abandonSeconds = 5;

/**
 * From here on an exit of this process is an exit of the job: a program that comes to its end finalizes, and one that fails
 * ends all ranks. `joined` is the communicator once MPI has started.
 */
export function watchExit(joined: () => Communicator | undefined): void {
  let failure: unknown;
  process.on('uncaughtExceptionMonitor', (error) => {
    failure = error;
  });
  process.on('beforeExit', (code) => {
    const comm = joined();
    if (comm === undefined || code !== 0) return;
    comm.finalize().catch((error) => {
      failure = error;
      process.exit(1);
    });
  });
  process.on('exit', (code) => {
    const comm = joined();
    if (comm?.isFinalized) return;
    const op = 'Communicator.finalize';
    if (code === 0 && hasLeft(op)) return;
    const name = comm === undefined ? 'a rank' : `rank ${comm.rank} of ${comm.size}`;
    const reason =
      failure !== undefined
        ? `failed: ${failure instanceof Error ? failure.message : String(failure)}`
        : code === 0
          ? 'has ended without finalize(), and the other ranks have not'
          : `has ended with code ${code}`;
    // Node would print the stack after this handler, in which the process ends.
    const stack = failure instanceof Error && failure.stack !== undefined ? `${failure.stack}\n` : '';
    process.stderr.write(
      `sigmatune: ${name} (process ${process.pid} on ${hostname()}) ${reason}. The job is aborted\n${stack}`,
    );
    // What the system keeps of the code: of 256 that is 0, and of -1 it is 255.
    const kept = code & 0xff || 1;
    process.exitCode = kept;
    native.mpiAbandon(op, kept, abandonSeconds);
  });
}

/** Whether all ranks exit now. */
function hasLeft(op: string): boolean {
  try {
    return native.mpiLeave(op, cardOf(op), leaveSeconds);
  } catch {
    return false;
  }
}
