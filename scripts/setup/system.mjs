// Programs and libraries that npm cannot bring: found by trying them, installed with apt where that is possible.
import { MissingError, run, step, which } from './run.mjs';

const compiler = (process.env.CXX ?? 'g++').split(' ');
const compile = (...args) => run(compiler[0], [...compiler.slice(1), ...args]);

/** The preprocessor finds the header. */
const header = (name) => compile('-E', '-x', 'c++', '-include', name, '-o', '/dev/null', '/dev/null').ok;
const library = (name) => libraryPath(name) !== undefined;
const program = (name) => which(name) !== undefined;

/** Debian's name of each need, and how to see that it is met, whoever brought it. */
const needs = {
  'g++': () => program(compiler[0]),
  make: () => program(process.env.MAKE ?? 'make'),
  binutils: () => program('readelf'),
  python3: () => program('python3'),
  'python3-pip': () => run('python3', ['-m', 'pip', '--version']).ok,
  // The build that starts no threads, as an archive.
  'libopenblas-serial-dev': () => library('openblas-serial/libopenblas.a'),
  'liblapacke-dev': () => header('lapack.h'),
  cmake: () => program('cmake'),
  'clang-format': () => program('clang-format'),
  'openmpi-bin': () => program('mpirun.openmpi'),
  'libopenmpi-dev': () => program('mpicc.openmpi'),
  mpich: () => program('mpirun.mpich'),
  'libmpich-dev': () => program('mpicc.mpich'),
  iproute2: () => program('ip'),
};

/** What else will do if a package cannot be installed: native/openblas.mjs links whichever OpenBLAS there is. */
const substitutes = {
  'libopenblas-serial-dev': () => library('libopenblas.a') || library('libopenblas.so'),
};

/** Where the compiler finds a library. It answers with the bare name if it does not. */
export function libraryPath(name) {
  const { ok, log } = compile(`-print-file-name=${name}`);
  return ok && log.trim() !== name ? log.trim() : undefined;
}

export const forNative = ['g++', 'make', 'libopenblas-serial-dev'];
/** The simulation of CUDA's libraries includes their headers. */
export const forSimulation = [...forNative, 'liblapacke-dev'];
/** Two MPIs, and network namespaces that stand for hosts. No build needs them. */
export const forMpiTests = ['cmake', 'openmpi-bin', 'libopenmpi-dev', 'mpich', 'libmpich-dev', 'iproute2'];
export const forAddon = [...forNative, 'python3'];

/** Returns when all `names` are there; installs what is missing, or stops with the command that does. */
export function ensureSystem(names) {
  const missing = names.filter((name) => !needs[name]());
  if (missing.length > 0) install(missing);
  if (names.includes('g++') && !compile('-std=c++20', '-E', '-x', 'c++', '-o', '/dev/null', '/dev/null').ok) {
    throw new MissingError(
      `${compiler.join(' ')} does not know C++20; GCC 10 or newer does (set CXX to choose another).`,
    );
  }
}

function install(missing) {
  const packages = missing.join(' ');
  const substituted = () => missing.every((name) => substitutes[name]?.());
  if (!which('apt-get')) {
    if (substituted()) return;
    throw new MissingError(
      `missing on this system: ${packages} (these are Debian's names).\n` +
        'Install what your system calls them, then type the same command again: a C++20 compiler, make, Python 3 and\n' +
        'OpenBLAS.',
    );
  }
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  if (asRoot.length > 0 && !run('sudo', ['-n', 'true']).ok) {
    if (substituted()) return;
    throw new MissingError(
      `missing on this system: ${packages}. Type this, then the same command again:\n\n` +
        `  sudo apt-get update && sudo apt-get install -y ${packages}\n`,
    );
  }
  step(`installing ${packages} with apt`, () => {
    const apt = (...args) => {
      const command = [
        ...asRoot,
        'env',
        'DEBIAN_FRONTEND=noninteractive',
        'apt-get',
        '-o',
        'DPkg::Lock::Timeout=120',
        ...args,
      ];
      return run(command[0], command.slice(1));
    };
    // One of several sources out of reach is no reason to stop: the install says whether it mattered.
    const update = apt('update');
    const installation = apt('install', '-y', '--no-install-recommends', ...missing);
    const still = missing.filter((name) => !needs[name]());
    if (substituted()) return;
    if (!installation.ok || still.length > 0) {
      throw new MissingError(`${update.log}${installation.log}\napt could not install ${still.join(' ') || packages}.`);
    }
  });
}
