#!/usr/bin/env node
// All that there is to prove on a real card, in this repository: the backend built for it, the test suite with
// device: 'cuda', the benchmarks, compute-sanitizer; one report of it: npm run test:gpu [-- --stages suite,bench ...]. The
// options are those of scripts/gpu/run.mjs; --keep keeps the report under bench/results/gpu/.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { reportName } from '../bench/figures/report.js';
import { root, run, SetupError } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';

const folder = join(root, 'build-gpu');

main(() => {
  setup();
  buildBackend();
  const args = process.argv.slice(2);
  const keep = args.includes('--keep');
  const own = args.filter((arg) => arg !== '--keep');
  const { status } = spawnSync(
    process.execPath,
    [join(root, 'scripts', 'gpu', 'run.mjs'), '--out', folder, '--seconds', '1800', ...own],
    { cwd: root, stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
  if (keep && status !== 3) keepReport();
});

/** For this card alone, which takes a fraction of the time. One that the environment names is used as it is. */
function buildBackend() {
  if (process.env.SIGMATUNE_CUDA_LIBRARY) return;
  // nvidia-smi sees all cards; the tests see those of the variable, which are numbers or UUIDs.
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const chosen = visible ? [`--id=${visible}`] : [];
  const { log } = run('nvidia-smi', [...chosen, '--query-gpu=compute_cap', '--format=csv,noheader']);
  const found = [...log.matchAll(/^(\d+)\.(\d+)$/gm)].map(([, major, minor]) => `${major}${minor}-real`);
  // Without either there is no card to build for: what runs next says what is missing.
  if (found.length === 0 && !existsSync('/dev/nvidiactl')) return;
  const named = process.env.SIGMATUNE_CUDA_ARCHITECTURES ?? [...new Set(found)].join(';');
  const architectures = named === '' ? [] : ['--arch', named];
  const script = join(root, 'scripts', 'build-cuda.mjs');
  const { status } = spawnSync(process.execPath, [script, ...architectures], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new SetupError('The CUDA backend was not built, so that there is nothing to test.');
}

/** Reports that were really run are kept by date and card. */
function keepReport() {
  const made = join(folder, 'report.json');
  const results = join(root, 'bench', 'results', 'gpu');
  mkdirSync(results, { recursive: true });
  const kept = join(results, reportName(JSON.parse(readFileSync(made, 'utf8')).machine));
  copyFileSync(made, kept);
  console.log(kept);
}
