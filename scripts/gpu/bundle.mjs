#!/usr/bin/env node
// All that a box with a card needs to run the tests and benchmarks, where there is neither network nor Node:
// build-gpu-bundle/sigmatune-gpu.tar.xz, and run.sh next to it: npm run gpu:bundle [-- --library file] [-- --no-library].
// It is for our own machines: Node and NVIDIA's static runtime go along as they are.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildCudaLibrary, cudaLibrary } from '../setup/cuda-library.mjs';
import { must, root, run, SetupError, step } from '../setup/run.mjs';
import { main, setup } from '../setup/steps.mjs';
import { hostTarget } from '../setup/targets.mjs';
import { packagesFor } from './closure.mjs';
import { transpileTests } from './transpile.mjs';

const work = join(root, 'build-gpu-bundle');
const name = 'sigmatune-gpu';
const bundle = join(work, name);
const archive = join(work, `${name}.tar.xz`);

/** What a run on a card may carry along. */
const limit = 60 * 2 ** 20;

main(() => {
  const { values } = parseArgs({
    options: {
      library: { type: 'string' },
      'no-library': { type: 'boolean', default: false },
      'no-archive': { type: 'boolean', default: false },
    },
  });
  setup();
  must(process.execPath, [join(root, 'scripts', 'prebuilds.mjs')]);
  const library = values['no-library'] ? undefined : (values.library ?? buildCudaLibrary());
  rmSync(work, { recursive: true, force: true });
  mkdirSync(bundle, { recursive: true });
  const imports = step('transpiling the tests', () => transpileTests(join(bundle, 'test')));
  step('copying what they need', () => {
    copyPackage();
    copyPackages(imports);
    if (library !== undefined) copyLibrary(library);
    copyNode();
  });
  if (values['no-archive']) return;
  step('packing', pack);
  step('trying the archive', tryArchive);
  const size = statSync(archive).size;
  console.log(`${archive}: ${(size / 2 ** 20).toFixed(1)} MiB; run ${join(work, 'run.sh')} next to it`);
  if (size > limit) throw new SetupError(`The bundle is larger than ${limit / 2 ** 20} MiB.`);
});

/** The package as it is published, with its sources, benchmarks and the scripts that run them. */
function copyPackage() {
  const { name, version, type, license, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(
    join(bundle, 'package.json'),
    `${JSON.stringify({ name, version, type, license, exports }, null, 2)}\n`,
  );
  const code = (path) => statSync(path).isDirectory() || !/\.(d\.ts|map)$/.test(path);
  for (const path of ['dist', 'native', 'bench', 'CMakeLists.txt', 'LICENSE']) {
    cpSync(join(root, path), join(bundle, path), { recursive: true, filter: code });
  }
  rmSync(join(bundle, 'bench', 'results'), { recursive: true, force: true });
  const built = join(root, 'prebuilds', hostTarget().name, 'sigmatune.node');
  cpSync(built, join(bundle, 'build', 'Release', 'sigmatune.node'));
  for (const script of ['run', 'stages', 'suite', 'sanitizer', 'process', 'merge']) {
    cpSync(join(root, 'scripts', 'gpu', `${script}.mjs`), join(bundle, 'scripts', 'gpu', `${script}.mjs`));
  }
  for (const script of ['run.sh', 'rebuild.sh']) cpSync(join(root, 'scripts', 'gpu', script), join(bundle, script));
  cpSync(join(bundle, 'run.sh'), join(work, 'run.sh'));
  const git = (...args) => run('git', ['-C', root, ...args]);
  const head = git('rev-parse', 'HEAD');
  const commit = {
    id: head.ok ? head.log.trim() : 'unknown',
    changed: git('status', '--porcelain', '--untracked-files=no').log !== '',
  };
  writeFileSync(join(bundle, 'commit.json'), `${JSON.stringify(commit)}\n`);
}

/** Of each package what Node may load: no types, no sources, no nested packages that are never loaded. */
function copyPackages(names) {
  const modules = join(root, 'node_modules');
  for (const path of packagesFor(names, join(work, 'trace'))) {
    const from = join(modules, path);
    const wanted = (file) => {
      const inside = file.slice(from.length);
      return !inside.includes('/node_modules') && !/\.(d\.[cm]?ts|[cm]?ts|tsx|map|md)$/.test(inside);
    };
    cpSync(from, join(bundle, 'node_modules', path), { recursive: true, dereference: true, filter: wanted });
  }
  rmSync(join(work, 'trace'), { recursive: true });
}

function copyLibrary(from) {
  if (/cuda \(simulated\)/.test(readFileSync(from, 'latin1'))) {
    throw new SetupError(`${from} simulates a device: that has no place in a bundle for real ones.`);
  }
  const to = join(bundle, 'build-cuda', basename(cudaLibrary()));
  cpSync(from, to);
  must('strip', ['--strip-unneeded', to]);
}

/** This process's Node, and the C++ library that it was linked to, for systems whose own is older. */
function copyNode() {
  const folder = join(bundle, 'node');
  mkdirSync(join(folder, 'lib'), { recursive: true });
  cpSync(process.execPath, join(folder, 'node'), { dereference: true });
  must('strip', [join(folder, 'node')]);
  for (const path of process.report.getReport().sharedObjects) {
    if (/libstdc\+\+|libgcc_s/.test(path)) cpSync(path, join(folder, 'lib', basename(path)), { dereference: true });
  }
}

function pack() {
  const env = { ...process.env, XZ_OPT: '-6 -T0' };
  must('tar', ['--owner=0', '--group=0', '--sort=name', '-cJf', archive, '-C', work, name], { env });
}

/** Elsewhere, since below this repository Node would find what is missing; and without an environment. */
function tryArchive() {
  const folder = mkdtempSync(join(tmpdir(), 'sigmatune-'));
  try {
    must('tar', ['-xJf', archive, '-C', folder]);
    const there = join(folder, name);
    const env = { PATH: '/usr/bin:/bin' };
    const code = "import 'tap'; import { cudaStatus } from 'sigmatune'; console.log(typeof cudaStatus().available);";
    const node = join(there, 'node', 'node');
    const answer = must(node, ['--input-type=module', '-e', code], { cwd: there, env });
    if (!answer.includes('boolean')) throw new SetupError(`${answer}\nthe bundle does not run`);
    const files = readdirSync(join(there, 'test'), { recursive: true }).filter((file) => file.endsWith('.test.js'));
    if (files.length === 0 || !existsSync(join(there, 'run.sh'))) throw new SetupError('the bundle is not whole');
  } finally {
    rmSync(folder, { recursive: true });
  }
}
