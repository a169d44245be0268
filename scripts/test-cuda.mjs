#!/usr/bin/env node
// The CUDA backend without a GPU: every kernel run by the host under sanitizers, and the test suite on a device that
// the host plays. All of it, or one part: npm run test:cuda [-- kernels | simulation | suite [tap's arguments]]
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ensureToolkit } from './setup/cuda.mjs';
import { alone } from './setup/lock.mjs';
import { must, root, run, SetupError, step } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';
import { ensureSystem } from './setup/system.mjs';

const parts = { kernels: checkKernels, simulation: buildSimulation, suite: runSuite };

main(() => {
  const [part, ...tapArguments] = process.argv.slice(2);
  if (part !== undefined && parts[part] === undefined) {
    throw new SetupError(`there is no part ${part}, only ${Object.keys(parts).join(', ')}`);
  }
  ensureSystem(['g++', 'make', 'cmake', 'libopenblas-dev', 'liblapacke-dev']);
  for (const work of part === undefined ? Object.values(parts) : [parts[part]]) work(tapArguments);
});

/** Every kernel's source, compiled by g++ and run thread by thread, against float64. */
function checkKernels() {
  const folder = join(root, 'build-kernels');
  build('kernel_check', folder, { SIGMATUNE_KERNEL_CHECK: 'ON', SANITIZE: 'address,undefined' });
  console.log(step('running kernel_check', () => must(join(folder, 'kernel_check'), [])));
  step('seeing it fail without barriers', () => {
    if (!run(join(folder, 'kernel_check_without_barriers'), []).ok) return;
    throw new SetupError('kernel_check passes without a single __syncthreads(): then it has not checked any of them');
  });
}

/** The backend whole, with a stand-in for the runtime in it and for NVIDIA's math libraries beside it. */
function buildSimulation() {
  const folder = join(root, 'build-simulation');
  build('the simulation', folder, { SIGMATUNE_SIMULATION: 'ON' });
  return { library: join(folder, 'libsigmatune_cuda_simulated.so'), libraries: join(folder, 'libraries') };
}

/** The test suite, with `device: 'cuda'` on the simulation. What it needs of its environment is named here. */
function runSuite(tapArguments) {
  setup();
  const { library, libraries } = buildSimulation();
  const environment = {
    SIGMATUNE_CUDA_LIBRARY: library,
    SIGMATUNE_CUDA_SIMULATION: '1',
    SIGMATUNE_CUDA_PATH: libraries,
  };
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', '.bin', 'tap'),
      ...Object.entries(environment).map(([name, value]) => `--test-env=${name}=${value}`),
      ...tapArguments,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (status !== 0) process.exitCode = status ?? 1;
}

/** All of it is compiled by the host's compiler, and typed by NVIDIA's headers. */
function build(title, folder, definitions) {
  alone(() => {
    const { include } = ensureToolkit();
    const options = { SIGMATUNE_NATIVE_CHECK: 'OFF', SIGMATUNE_CUDA_INCLUDE: include, ...definitions };
    const settings = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
    step(`building ${title}`, () => {
      must('cmake', ['-S', root, '-B', folder, ...settings]);
      must('cmake', ['--build', folder, '--parallel', `${availableParallelism()}`]);
    });
  }, 'cuda');
}
