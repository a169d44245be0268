// build-cuda/libsigmatune_cuda.so: the CUDA backend, built as CMakeLists.txt says and looked at before it is used.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ensureToolkit } from './cuda.mjs';
import { alone } from './lock.mjs';
import { installModules, locked } from './modules.mjs';
import { checkNode } from './node.mjs';
import { parseResources, resourceTable, spilling } from './ptxas.mjs';
import { must, root, SetupError, step, which } from './run.mjs';
import { fingerprint, readStamp, writeStamp } from './stamp.mjs';
import { ensureSystem } from './system.mjs';

const folder = join(root, 'build-cuda');
const stamp = join(folder, 'sigmatune.stamp');
const unfinished = join(folder, 'sigmatune.unfinished');

export const cudaLibrary = join(folder, 'libsigmatune_cuda.so');

/** What each kernel takes of each chip, for who tunes them. */
const kernelTable = join(folder, 'kernels.txt');

/**
 * Brings the library up to date. `architectures` is a list as CMake takes it, such as '90-real;120-virtual', for a
 * build that is for one's own card only; without it the library is for all of them.
 */
export function buildCudaLibrary(architectures = '') {
  checkNode();
  ensureSystem(['g++', 'make', 'cmake']);
  alone(installModules);
  alone(() => {
    const toolkit = ensureToolkit();
    const tools = toolsOf(toolkit, architectures);
    const sources = fingerprint({ paths: ['native', 'CMakeLists.txt', join('scripts', 'setup')] });
    const made = readStamp(stamp);
    if (made.tools === tools && made.sources === sources && existsSync(cudaLibrary)) return;
    // Other tools, or a build killed half-way through an object file: nothing of it is kept.
    if (made.tools !== tools || existsSync(unfinished)) rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeStamp(stamp, { tools });
    writeFileSync(unfinished, '');
    try {
      build(toolkit, architectures);
    } finally {
      rmSync(unfinished);
    }
    step('looking for kernels that spill registers', checkKernels);
    step('looking at what the library needs and shows', checkLibrary);
    writeStamp(stamp, { tools, sources });
  }, 'cuda');
}

/** A change of any of these makes CMake start from scratch; it follows changes in our own files by itself. */
function toolsOf({ folder, version }, architectures) {
  return [
    `${process.platform}-${process.arch}`,
    `CUDA ${version} in ${folder}`,
    must(process.env.CXX ?? 'g++', ['--version']).split('\n')[0],
    must('cmake', ['--version']).split('\n')[0],
    which('ninja') ? 'ninja' : 'make',
    `cmake-js ${locked('cmake-js').version}`,
    architectures,
  ].join(', ');
}

function build({ nvcc }, architectures) {
  const definitions = {
    SIGMATUNE_NATIVE_CHECK: 'OFF',
    SIGMATUNE_CUDA: 'ON',
    CMAKE_CUDA_COMPILER: nvcc,
    CMAKE_CUDA_COMPILER_LAUNCHER: `${process.execPath};${join(root, 'scripts', 'setup', 'nvcc.mjs')}`,
    CMAKE_CUDA_ARCHITECTURES: architectures,
  };
  const cmakeJs = (...args) =>
    must(process.execPath, [
      join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js'),
      ...args,
      '--log-level=error',
      `--out=${folder}`,
    ]);
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

function checkKernels() {
  const functions = demangle(
    readdirSync(join(root, 'native', 'cuda'), { recursive: true })
      .filter((name) => name.endsWith('.cu'))
      .flatMap((name) => parseResources(readFileSync(resourceFile(name), 'utf8'))),
  );
  const table = resourceTable(functions);
  writeFileSync(kernelTable, table);
  const seen = new Set(functions.map(({ arch }) => arch));
  const unseen = askedFor().filter((arch) => !seen.has(arch));
  if (unseen.length > 0) throw new SetupError(`ptxas told of no kernel for ${unseen.join(', ')}; see ${kernelTable}.`);
  const spills = spilling(functions);
  if (spills.length > 0) {
    throw new SetupError(
      `${resourceTable(spills)}\nThese keep in memory what belongs into registers (bytes a thread): use fewer variables,\n` +
        'unroll every loop that indexes an array, or ask for fewer threads a block.',
    );
  }
}

/** Where scripts/setup/nvcc.mjs puts what ptxas says of one source file, named from native/cuda. */
function resourceFile(name) {
  return join(folder, 'CMakeFiles', 'sigmatune_cuda.dir', 'native', 'cuda', `${name}.o.ptxas`);
}

/** The architectures with machine code of their own, by ptxas's names: what CMake was told, or chose. */
function askedFor() {
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

/** glibc's own libraries and the loader: on every system that Node runs on. */
const everywhere = /^(libc|libm|libpthread|libdl|librt|ld-linux[-\w]*)\.so\.\d+$/;

function checkLibrary() {
  const env = { ...process.env, LC_ALL: 'C' };
  const needed = must('readelf', ['--dynamic', '--wide', cudaLibrary], { env }).matchAll(/\(NEEDED\).*\[(.*)\]/g);
  const foreign = [...needed].map(([, name]) => name).filter((name) => !everywhere.test(name));
  if (foreign.length > 0) throw new SetupError(`${cudaLibrary} must not need ${foreign.join(', ')}`);
  const shown = must('nm', ['--dynamic', '--defined-only', '--format=posix', cudaLibrary])
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(' ')[0]);
  if (shown.join() !== 'sigma_open_backend') {
    throw new SetupError(`${cudaLibrary} must show sigma_open_backend and nothing else, not: ${shown.join(', ')}`);
  }
}
