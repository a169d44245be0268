// What the environment tells about the launcher that started this process.
import { SigmaError } from '../runtime/errors.js';

/** A launcher of a job. `size` is known from some launchers only. */
export interface Launcher {
  readonly name: string;
  readonly size: number | undefined;
}

/** The variables that launchers set in every process of a job. */
const launchers = [
  { variable: 'OMPI_COMM_WORLD_RANK', size: 'OMPI_COMM_WORLD_SIZE', name: "Open MPI's mpirun" },
  { variable: 'PMI_RANK', size: 'PMI_SIZE', name: "MPICH's mpirun, or one that is compatible with it" },
  { variable: 'PMIX_RANK', size: undefined, name: 'a launcher that uses PMIx' },
] as const;

/** The launcher of this process; undefined if it was started alone. */
export function launcherOf(environment: NodeJS.ProcessEnv): Launcher | undefined {
  const found = launchers.find(({ variable }) => environment[variable] !== undefined);
  if (found === undefined)
    return environment['SIGMATUNE_MPI'] === 'on' ? { name: 'SIGMATUNE_MPI=on', size: undefined } : undefined;
  const size = Number(found.size && environment[found.size]);
  return { name: found.name, size: Number.isInteger(size) && size > 0 ? size : undefined };
}

/**
 * Refuses a world that is not the launcher's: processes that were started together would each train alone, and write the same files.
 */
export function checkSize(op: string, launcher: Launcher, size: number, library: string): void {
  if (launcher.size === undefined || launcher.size === size) return;
  throw new SigmaError(
    'UNSUPPORTED',
    op,
    `MPI: expected the ${launcher.size} ranks that ${launcher.name} started, got a world of ${size}. The library was compiled ` +
      `against another MPI (${library}): compile it against the launcher's with "npm run build:mpi -- --mpicc PATH", or use the other mpirun`,
  );
}
