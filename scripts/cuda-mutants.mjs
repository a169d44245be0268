// Removes each wait of the CUDA backend in turn, and sees whether a check of the backend fails: npm run test:cuda --
// mutants [part of a file's name]. The simulated device runs everything as late as the waits allow, so each should.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ensureToolkit } from './setup/cuda.mjs';
import { must, root, run, SetupError, step } from './setup/run.mjs';

const folder = join(root, 'build-simulation', 'mutants');
const source = join(folder, 'source');
const built = join(folder, 'build');

/** A call of the CUDA runtime whose result counts, and a statement that only waits. */
const calls =
  /\b(?<!cudaError_t )(?:wait_for|cuda(?:StreamSynchronize|EventSynchronize|DeviceSynchronize|StreamWaitEvent|EventRecord))\(/g;
const statements = /^\s*(?:context(?:\.|->)synchronize\(\)|(?:lane\.)?wait\(\)|trim_memory\([\w.()]+\));/gm;

/** Orders of the simulated queues in which the checks run. */
const orders = ['0', '1', '2'];
const parts = ['waits', 'memory', 'libraries'];

/** Returns the mutants that no check has caught. */
export function checkMutants(filter = '') {
  step('building the backend without mutants', prepare);
  const failure = firstFailure();
  if (failure !== undefined) throw new SetupError(`The backend fails without any mutant:\n${failure}`);
  const missed = [];
  let count = 0;
  for (const file of sources().filter((name) => name.includes(filter))) {
    for (const { line, text, mutated } of mutants(file)) {
      count += 1;
      const title = `${file}:${line} without ${text}`;
      const caught = step(title, () => isCaught(file, mutated));
      if (caught) continue;
      missed.push(title);
      process.stderr.write('  not caught\n');
    }
  }
  console.log(`${count} mutants, ${count - missed.length} caught`);
  return missed;
}

/** A copy of the sources, in which a warning (of a variable that is no longer used) is no error. */
function prepare() {
  mkdirSync(source, { recursive: true });
  for (const name of ['native', join('test', 'cuda')]) {
    cpSync(join(root, name), join(source, name), { recursive: true, preserveTimestamps: true });
  }
  const rules = readFileSync(join(root, 'CMakeLists.txt'), 'utf8').replace(' -Werror)', ')');
  writeFileSync(join(source, 'CMakeLists.txt'), rules);
  const { include } = ensureToolkit([13]);
  const options = {
    SIGMATUNE_NATIVE_CHECK: 'OFF',
    SIGMATUNE_SIMULATION: 'ON',
    SIGMATUNE_CUDA_INCLUDE: include,
    SANITIZE: 'address',
    CMAKE_BUILD_TYPE: 'None',
    CMAKE_CXX_FLAGS: '-O1',
  };
  must('cmake', ['-S', source, '-B', built, ...Object.entries(options).map(([name, value]) => `-D${name}=${value}`)]);
  build();
}

function build() {
  must('cmake', ['--build', built, '--target', 'simulation_check', '--parallel', `${availableParallelism()}`]);
}

function sources() {
  return readdirSync(join(source, 'native', 'cuda'), { recursive: true })
    .filter((name) => /\.(cc|cu|h)$/.test(name))
    .sort();
}

function* mutants(file) {
  const text = readFileSync(join(source, 'native', 'cuda', file), 'utf8');
  const at = (start, end, replacement) => ({
    line: text.slice(0, start).split('\n').length,
    text: text.slice(start, end).trim(),
    mutated: text.slice(0, start) + replacement + text.slice(end),
  });
  for (const { index, 0: name } of text.matchAll(calls)) {
    yield at(index, closing(text, index + name.length), 'cudaSuccess');
  }
  for (const { index, 0: found } of text.matchAll(statements)) {
    yield at(index + found.search(/\S/), index + found.length, ';');
  }
}

/** The position after the bracket that closes the one before `start`. */
function closing(text, start) {
  let depth = 1;
  let end = start;
  for (; depth > 0; end += 1) depth += { '(': 1, ')': -1 }[text[end]] ?? 0;
  return end;
}

function isCaught(file, mutated) {
  const path = join(source, 'native', 'cuda', file);
  const original = readFileSync(path, 'utf8');
  writeFileSync(path, mutated);
  try {
    build();
    return firstFailure() !== undefined;
  } finally {
    writeFileSync(path, original);
  }
}

/** What the first check that fails says. */
function firstFailure() {
  for (const order of orders) {
    const env = {
      ...process.env,
      SIGMA_SIMULATED_ORDER: order,
      SIGMATUNE_CUDA_PATH: join(built, 'libraries'),
      ASAN_OPTIONS: 'detect_leaks=0',
    };
    // A check that waits for ever has found something too.
    const { ok, log } = run(
      'timeout',
      ['120', join(built, 'simulation_check'), join(built, 'libsigmatune_cuda_simulated.so'), ...parts],
      { env },
    );
    if (!ok) return log;
  }
  return undefined;
}
