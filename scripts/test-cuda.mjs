#!/usr/bin/env node
// The CUDA backend without a GPU: every kernel run by the host under sanitizers, and the test suite on a device that
// the host plays. All of it, or one part: npm run test:cuda [-- kernels | backend | simulation | suite [tap's arguments]]
// `mutants` removes each wait of the backend in turn, which takes minutes and is not part of all.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { checkMutants } from './cuda-mutants.mjs';
import { ensureToolkit } from './setup/cuda.mjs';
import { alone } from './setup/lock.mjs';
import { must, mustBeside, root, SetupError, step, stepBeside } from './setup/run.mjs';
import { runSanitized } from './setup/sanitized.mjs';
import { main, setup } from './setup/steps.mjs';
import { bytesOfFiles, plans, tools } from './setup/suite.mjs';
import { ensureSystem, forSimulation } from './setup/system.mjs';

/** Tests that the run on the CPU has made already, and why a device adds nothing. */
const elsewhere = {
  'about something else, or on the host': tools,
  'a plan is a function of shapes': plans,
  'a device computes all triples': ['test/linalg/svd-rank.test.ts'],
  'tensors of other frameworks are on the host': ['test/integrations/**'],
  'the bytes of files, and writers that are killed': [
    ...bytesOfFiles,
    'test/files/malformed.test.ts',
    'test/files/python.test.ts',
  ],
  'processes and workers of their own, on the CPU; test/cuda has those of a device': [
    'test/robustness/exit.test.ts',
    'test/robustness/limits.test.ts',
    'test/robustness/release.test.ts',
    'test/robustness/workers.test.ts',
  ],
};

const parts = {
  kernels: checkKernels,
  backend: checkBackend,
  simulation: () => buildSimulation(),
  suite: runSuite,
  mutants: ([file]) => {
    const missed = checkMutants(file);
    if (missed.length > 0) throw new SetupError(`No check fails for\n  ${missed.join('\n  ')}`);
  },
};

main(async () => {
  const [part, ...tapArguments] = process.argv.slice(2);
  if (part !== undefined && parts[part] === undefined) {
    throw new SetupError(`there is no part ${part}, only ${Object.keys(parts).join(', ')}`);
  }
  ensureSystem([...forSimulation, 'cmake']);
  const chosen = part === undefined ? [checkKernels, checkBackend, runSuite] : [parts[part]];
  for (const work of chosen) await work(tapArguments);
});

/** Every kernel's source, compiled by g++ and run thread by thread, against float64. */
async function checkKernels() {
  const folder = buildIn(folderOf('address,undefined'), 'kernel_check', 'address,undefined');
  const check = (...args) => mustBeside(join(folder, 'kernel_check'), args);
  const [log] = await Promise.all([
    stepBeside('running kernel_check', () => check()),
    // What passes without a single __syncthreads() has not checked any of them.
    stepBeside('seeing it fail without barriers', () => check('--without-barriers')),
  ]);
  console.log(log);
}

/** The backend without Node, on the simulation: all of it, and its threads, each under the sanitizers for them. */
async function checkBackend() {
  // Each in the latest order, and in one that is chosen at random.
  const turns = { 'address,undefined': [], thread: ['memory', 'waits', 'threads', 'ranks'] };
  for (const [sanitizer, checks] of Object.entries(turns)) {
    const { folder, library, libraries } = buildSimulation(sanitizer, 'simulation_check');
    const check = (order) => {
      const env = { ...process.env, SIGMATUNE_CUDA_PATH: libraries, SIGMA_SIMULATED_ORDER: order };
      return stepBeside(`checking the backend with ${sanitizer}, order ${order}`, () =>
        runSanitized(join(folder, 'simulation_check'), [library, ...checks], { env }),
      );
    };
    for (const text of await Promise.all(['0', '1'].map(check))) console.log(text);
  }
}

/** The whole backend, with a stand-in for the CUDA runtime in it and for NVIDIA's math libraries next to it. */
function buildSimulation(sanitizer = '', target = 'simulation') {
  const folder = buildIn(folderOf(sanitizer), target, sanitizer);
  return { folder, library: join(folder, 'libsigmatune_cuda_simulated.so'), libraries: join(folder, 'libraries') };
}

function folderOf(sanitizer) {
  return join(root, 'build-simulation', ...(sanitizer ? [sanitizer.replace(',', '-')] : []));
}

/** The test suite on the simulation: what a test makes without naming a device is made there (test/on-device). */
function runSuite(tapArguments) {
  setup();
  const { library, libraries } = buildSimulation();
  const environment = {
    SIGMATUNE_CUDA_LIBRARY: library,
    SIGMATUNE_CUDA_SIMULATION: '1',
    SIGMATUNE_CUDA_PATH: libraries,
    SIGMATUNE_TEST_DEVICE: 'cuda',
  };
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', '.bin', 'tap'),
      // The first is .taprc's, which the command line replaces.
      '--node-arg=--require=./test/typescript/register.cjs',
      '--node-arg=--import=./test/on-device/register.mjs',
      ...Object.values(elsewhere)
        .flat()
        .map((files) => `--exclude=${files}`),
      '--timeout=600',
      ...Object.entries(environment).map(([name, value]) => `--test-env=${name}=${value}`),
      ...tapArguments,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (status !== 0) process.exitCode = status ?? 1;
}

/**
 * Builds a target of the checks and returns the folder. All of it is compiled by the host's compiler, and typed by NVIDIA's
 * headers. The parts with one sanitizer share a folder, and so the kernels' objects.
 */
function buildIn(folder, target, sanitizer) {
  alone(() => {
    const { include } = ensureToolkit([13]);
    const options = {
      SIGMATUNE_NATIVE_CHECK: 'OFF',
      SIGMATUNE_KERNEL_CHECK: 'ON',
      SIGMATUNE_SIMULATION: 'ON',
      SIGMATUNE_CUDA_INCLUDE: include,
      SANITIZE: sanitizer,
      // To compile optimised code for a sanitizer takes longer than the checks do.
      CMAKE_BUILD_TYPE: 'None',
      CMAKE_CXX_FLAGS: sanitizer ? '-O1 -g1' : '-O2',
    };
    const settings = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
    step(`building ${target}${sanitizer && ` with ${sanitizer}`}`, () => {
      must('cmake', ['-S', root, '-B', folder, ...settings]);
      must('cmake', ['--build', folder, '--target', target, '--parallel', `${availableParallelism()}`]);
    });
  }, 'cuda');
  return folder;
}
