// Removes each wait of the CUDA backend in turn, and sees whether a check of the backend fails: npm run test:cuda --
// mutants [part of a file's name]. The simulated device runs everything as late as the waits allow, so each should.
//
// All mutants are in one build: the environment variable SIGMA_MUTANT is the number of the wait that is left out.
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
  const all = step('building the backend with all mutants', prepare);
  const failure = firstFailure('0');
  if (failure !== undefined) throw new SetupError(`The backend fails without any mutant:\n${failure}`);
  const chosen = all.filter(({ title }) => title.includes(filter));
  const missed = chosen.filter(({ number, title }) => {
    const caught = step(title, () => firstFailure(String(number)) !== undefined);
    if (!caught) process.stderr.write('  not caught\n');
    return !caught;
  });
  console.log(`${chosen.length} mutants, ${chosen.length - missed.length} caught`);
  return missed.map(({ title }) => title);
}

/** A copy of the sources with a switch at each wait. Returns the mutants. */
function prepare() {
  mkdirSync(source, { recursive: true });
  for (const name of ['native', join('test', 'cuda')]) {
    cpSync(join(root, name), join(source, name), { recursive: true, preserveTimestamps: true });
  }
  cpSync(join(root, 'CMakeLists.txt'), join(source, 'CMakeLists.txt'));
  const all = [];
  for (const file of sources()) {
    const path = join(source, 'native', 'cuda', file);
    const text = readFileSync(path, 'utf8');
    const found = mutants(text);
    if (found.length === 0) continue;
    let mutated = text;
    // From the last on, so that the earlier positions stay.
    for (const [i, { start, end, without }] of [...found.entries()].reverse()) {
      mutated = mutated.slice(0, start) + without(all.length + i + 1, text.slice(start, end)) + mutated.slice(end);
    }
    writeFileSync(path, prologue + mutated);
    for (const { start, end } of found) {
      const line = text.slice(0, start).split('\n').length;
      all.push({ number: all.length + 1, title: `${file}:${line} without ${text.slice(start, end)}` });
    }
  }
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
  must('cmake', ['--build', built, '--target', 'simulation_check', '--parallel', `${availableParallelism()}`]);
  return all;
}

const prologue = `#ifndef SIGMA_MUTANT
#define SIGMA_MUTANT
#include <cstdlib>
inline bool sigma_mutant(int number) {
  const char* const chosen = std::getenv("SIGMA_MUTANT");
  return chosen != nullptr && std::atoi(chosen) == number;
}
#endif
`;

function sources() {
  return readdirSync(join(source, 'native', 'cuda'), { recursive: true })
    .filter((name) => /\.(cc|cu|h)$/.test(name))
    .sort();
}

/** In the order of the text. */
function mutants(text) {
  const ofCalls = [...text.matchAll(calls)].map(({ index, 0: name }) => ({
    start: index,
    end: closing(text, index + name.length),
    without: (number, call) => `(sigma_mutant(${number}) ? cudaSuccess : ${call})`,
  }));
  const ofStatements = [...text.matchAll(statements)].map(({ index, 0: found }) => ({
    start: index + found.search(/\S/),
    end: index + found.length,
    without: (number, statement) => `if (!sigma_mutant(${number})) ${statement}`,
  }));
  return [...ofCalls, ...ofStatements].sort((a, b) => a.start - b.start);
}

/** The position after the bracket that closes the one before `start`. */
function closing(text, start) {
  let depth = 1;
  let end = start;
  for (; depth > 0; end += 1) depth += { '(': 1, ')': -1 }[text[end]] ?? 0;
  return end;
}

/** What the first check that fails says, with one mutant; with '0' none. */
function firstFailure(mutant) {
  for (const order of orders) {
    const env = {
      ...process.env,
      SIGMA_MUTANT: mutant,
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
