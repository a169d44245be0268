// libsigmatune_cuda.so, the CUDA backend, built as CMakeLists.txt says and looked at before it is used: in build-cuda/ by
// CUDA 13, in build-cuda12/ by CUDA 12, for older drivers.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkLinuxLibrary, checkThreadData } from './binary.mjs';
import { ensureToolkit } from './cuda.mjs';
import { alone } from './lock.mjs';
import { installModules, locked } from './modules.mjs';
import { checkNode } from './node.mjs';
import { parseResources, resourceTable, spilling } from './ptxas.mjs';
import { must, root, SetupError, step, which } from './run.mjs';
import { fingerprint, readStamp, writeStamp } from './stamp.mjs';
import { ensureSystem } from './system.mjs';
import { floors, hostTarget } from './targets.mjs';
import { ensureZig, zigEnvironment, zigVersion } from './zig.mjs';

/** The library that CUDA of this major version builds. */
export const cudaLibrary = (generation = 13) => join(folderOf(generation), 'libsigmatune_cuda.so');

const folderOf = (generation) => join(root, generation === 13 ? 'build-cuda' : `build-cuda${generation}`);

/** What each kernel takes of each chip, for who tunes them. */
const kernelTable = (folder) => join(folder, 'kernels.txt');

/**
 * Brings the library up to date, and returns its path. `architectures` is a list as CMake takes it, such as '90-real;120-virtual', for a
 * build that is for one's own card only; without it the library is for all of them. The package must be built: it loads the
 * library once.
 */
export function buildCudaLibrary(architectures = '') {
  checkNode();
  ensureSystem(['g++', 'make', 'cmake', 'binutils']);
  alone(installModules);
  return alone(() => {
    const toolkit = ensureToolkit();
    const folder = folderOf(toolkit.generation);
    const library = cudaLibrary(toolkit.generation);
    const stamp = join(folder, 'sigmatune.stamp');
    const unfinished = join(folder, 'sigmatune.unfinished');
    const zig = linker(architectures);
    const tools = toolsOf(toolkit, architectures, zig);
    const sources = fingerprint({ paths: ['native', 'CMakeLists.txt', join('scripts', 'setup')] });
    const made = readStamp(stamp);
    if (made.tools === tools && made.sources === sources && existsSync(library)) return library;
    // Other tools, or a build killed half-way through an object file: nothing of it is kept.
    if (made.tools !== tools || existsSync(unfinished)) rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeStamp(stamp, { tools });
    writeFileSync(unfinished, '');
    try {
      build(folder, toolkit, architectures, zig);
    } finally {
      rmSync(unfinished);
    }
    step('looking for kernels that spill registers', () => checkKernels(folder));
    step('looking at what the library needs and shows', () => {
      checkLinuxLibrary(library, ['sigma_open_backend'], { glibc: zig ? floors.glibc : null });
      // The CUDA runtime's alone is larger than what is kept for all libraries.
      checkThreadData(library, { fromStart: false });
    });
    step('loading the library', () => checkLoads(library));
    writeStamp(stamp, { tools, sources });
    return library;
  }, 'cuda');
}

/** A change of any of these makes CMake start from scratch; it follows changes in our own files by itself. */
function toolsOf({ folder, version }, architectures, zig) {
  return [
    `${process.platform}-${process.arch}`,
    `CUDA ${version} in ${folder}`,
    must(process.env.CXX ?? 'g++', ['--version']).split('\n')[0],
    must('cmake', ['--version']).split('\n')[0],
    which('ninja') ? 'ninja' : 'make',
    `cmake-js ${locked('cmake-js').version}`,
    architectures,
    zig ? `zig ${zigVersion(zig)}` : 'no zig',
  ].join(', ');
}

/**
 * zig links the library that is published, against the symbols of the oldest glibc that it is for. A library for one's own
 * card is linked by g++, unless SIGMATUNE_ZIG is set: the machine with the card may have no network.
 */
function linker(architectures) {
  return process.env.SIGMATUNE_ZIG || (architectures === '' && process.arch === 'x64') ? ensureZig() : undefined;
}

function build(folder, { nvcc }, architectures, zig) {
  const definitions = {
    SIGMATUNE_NATIVE_CHECK: 'OFF',
    SIGMATUNE_CUDA: 'ON',
    CMAKE_CUDA_COMPILER: nvcc,
    CMAKE_CUDA_COMPILER_LAUNCHER: `${process.execPath};${join(root, 'scripts', 'setup', 'nvcc.mjs')}`,
    CMAKE_CUDA_ARCHITECTURES: architectures,
    SIGMATUNE_ZIG: zig ?? '',
    SIGMATUNE_ZIG_TARGET: zig === undefined ? '' : hostTarget().zig,
  };
  const cmakeJs = (...args) =>
    must(
      process.execPath,
      [join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js'), ...args, '--log-level=error', `--out=${folder}`],
      { env: zigEnvironment() },
    );
  step('configuring the CUDA backend', () =>
    cmakeJs(
      'configure',
      ...Object.entries(definitions)
        .filter(([, value]) => value !== '')
        .map(([name, value]) => `--CD${name}=${value}`),
    ),
  );
  step('building the CUDA backend', () => cmakeJs('build', `--parallel=${availableParallelism()}`));
}

/** Node loads the library as users do; that there is no driver or no card is no fault of the library. */
function checkLoads(library) {
  const program = `import { cudaStatus } from ${JSON.stringify(pathToFileURL(join(root, 'dist', 'index.js')))};
    const { available, code, detail } = cudaStatus();
    if (!available && !/^(NO_DRIVER|DRIVER_TOO_OLD|NO_DEVICE|NO_LIBRARY)$/.test(code)) throw new Error(code + ': ' + detail);`;
  const env = { ...process.env, SIGMATUNE_CUDA: '', SIGMATUNE_CUDA_LIBRARY: library };
  must(process.execPath, ['--input-type=module', '--eval', program], { env });
}

function checkKernels(folder) {
  const functions = demangle(
    readdirSync(join(root, 'native', 'cuda'), { recursive: true })
      .filter((name) => name.endsWith('.cu'))
      .flatMap((name) => parseResources(readFileSync(resourceFile(folder, name), 'utf8'))),
  );
  const table = resourceTable(functions);
  writeFileSync(kernelTable(folder), table);
  const seen = new Set(functions.map(({ arch }) => arch));
  const unseen = askedFor(folder).filter((arch) => !seen.has(arch));
  if (unseen.length > 0)
    throw new SetupError(`ptxas told of no kernel for ${unseen.join(', ')}; see ${kernelTable(folder)}.`);
  const spills = spilling(functions);
  if (spills.length > 0) {
    throw new SetupError(
      `${resourceTable(spills)}\nThese keep in memory what belongs into registers (bytes a thread): use fewer variables,\n` +
        'unroll every loop that indexes an array, or ask for fewer threads a block.',
    );
  }
}

/** Where scripts/setup/nvcc.mjs puts what ptxas says of one source file, named from native/cuda. */
function resourceFile(folder, name) {
  return join(folder, 'CMakeFiles', 'sigmatune_cuda.dir', 'native', 'cuda', `${name}.o.ptxas`);
}

/** The architectures with machine code of their own, by ptxas's names: what CMake was told, or chose. */
function askedFor(folder) {
  const cache = readFileSync(join(folder, 'CMakeCache.txt'), 'utf8');
  const [, list] = /^CMAKE_CUDA_ARCHITECTURES:[A-Z]+=(.*)$/m.exec(cache);
  return list
    .split(';')
    .filter((arch) => !arch.endsWith('-virtual'))
    .map((arch) => `sm_${arch.replace(/-real$/, '')}`);
}

/** With the names as they are written, without the types of the arguments. */
function demangle(functions) {
  const names = [...new Set(functions.map(({ name }) => name))];
  if (names.length === 0) return [];
  const written = must('c++filt', ['--no-params', ...names])
    .trimEnd()
    .split('\n');
  return functions.map((one) => ({ ...one, name: written[names.indexOf(one.name)] }));
}
