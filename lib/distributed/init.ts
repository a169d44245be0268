import { isMainThread } from 'node:worker_threads';
import { checkNumber, checkOptions } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { Communicator } from './communicator.js';
import { watchExit } from './exit.js';
import { inTime } from './in-time.js';
import { checkSize, launcherOf } from './launcher.js';
import { mpiStatus } from './status.js';
import { mpiTransport, soloTransport } from './transport.js';

export interface InitOptions {
  /**
   * How long a call waits for the other ranks, in seconds. Then it rejects with TIMED_OUT, and the job cannot go on. Choose
   * it longer than the longest work that one rank does alone, such as an evaluation. Default 600.
   */
  timeoutSeconds?: number;
}

let world: Promise<Communicator> | undefined;

/**
 * Joins the job that `mpirun` started. All ranks call it. In a process that was started alone, or if `mpiStatus()` says that
 * MPI is unavailable, it gives a world of one rank, and the same program runs.
 *
 * A process has one world: later calls return the same one. When a rank fails (an uncaught exception, an exit code other than
 * 0) all ranks of the job end.
 *
 * @throws SigmaError (as a rejection) UNSUPPORTED if `mpirun` started several processes but the library for MPI is missing or
 * was compiled against another MPI, and in a worker thread; TIMED_OUT if not all ranks call it; NATIVE; INVALID_ARGUMENT
 * @example
 * const comm = await init();
 * console.log(`rank ${comm.rank} of ${comm.size}`);
 */
export async function init(options: InitOptions = {}): Promise<Communicator> {
  const op = 'init';
  const { timeoutSeconds = 600 } = checkOptions(op, 'options', options, ['timeoutSeconds']);
  checkNumber(op, 'options.timeoutSeconds', timeoutSeconds, 0.001);
  world ??= joined(op, timeoutSeconds);
  return world;
}

async function joined(op: string, seconds: number): Promise<Communicator> {
  const launcher = launcherOf(process.env);
  if (launcher === undefined || launcher.size === 1) return Communicator.over(soloTransport(), seconds);
  const status = mpiStatus();
  if (!status.available) {
    if (launcher.size === undefined) return Communicator.over(soloTransport(), seconds);
    // Each process would train alone, and all would write the same files.
    const message = `MPI: expected a library for the ${launcher.size} ranks that ${launcher.name} started, got ${status.code}: ${status.detail}`;
    throw new SigmaError('UNSUPPORTED', op, message, status);
  }
  if (!isMainThread) {
    throw new SigmaError('UNSUPPORTED', op, "MPI: expected a call on the process's main thread, got one in a worker");
  }
  let comm: Communicator | undefined;
  watchExit(() => comm);
  const late = `ranks: expected all to call init within ${seconds} s (timeoutSeconds), got fewer`;
  const transport = await inTime(op, mpiTransport(op), seconds, late);
  comm = Communicator.over(transport, seconds);
  checkSize(op, launcher, comm.size, status.library ?? '');
  return comm;
}
