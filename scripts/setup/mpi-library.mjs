// build-mpi/libsigmatune_mpi.so: native/mpi, compiled with the wrapper compiler of the MPI that the jobs will run under.
import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { checkShows } from './binary.mjs';
import { alone } from './lock.mjs';
import { MissingError, must, root, step, which } from './run.mjs';
import { ensureSystem } from './system.mjs';

/**
 * Brings the library up to date and returns its path. `mpicc` is the compiler of the MPI, by default the one on the path;
 * `out` is the folder of the build, `sanitize` a list of sanitizers to compile in.
 */
export function buildMpiLibrary({
  mpicc = process.env.SIGMATUNE_MPICC || 'mpicc',
  out = 'build-mpi',
  sanitize = '',
} = {}) {
  ensureSystem(['g++', 'make', 'cmake', 'binutils']);
  const compiler = isAbsolute(mpicc) && existsSync(mpicc) ? mpicc : which(mpicc);
  if (compiler === undefined) {
    throw new MissingError(
      `no '${mpicc}' was found. Install the MPI that your jobs run under, with its compiler: on Debian libopenmpi-dev and\n` +
        'openmpi-bin, or libmpich-dev and mpich; on a cluster usually "module load openmpi". Then type the same command again.',
    );
  }
  const folder = resolve(root, out);
  const library = join(folder, 'libsigmatune_mpi.so');
  alone(() => {
    step(`building the MPI part with ${compiler}`, () => {
      const settings = {
        SIGMATUNE_NATIVE_CHECK: 'OFF',
        SIGMATUNE_MPI: 'ON',
        MPI_C_COMPILER: compiler,
        SANITIZE: sanitize,
      };
      const definitions = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
      // CMake keeps what it found of an MPI, so another compiler needs a fresh start.
      const known = existsSync(join(folder, 'CMakeCache.txt'))
        ? /^MPI_C_COMPILER:\w+=(.*)$/m.exec(must('cmake', ['-L', '-N', '-B', folder]))?.[1]
        : undefined;
      const fresh = known !== undefined && known !== compiler ? ['--fresh'] : [];
      must('cmake', ['-S', root, '-B', folder, ...fresh, ...definitions]);
      must('cmake', ['--build', folder, '--parallel']);
    });
    checkShows(library, ['sigma_open_mpi']);
  }, 'mpi');
  return library;
}
