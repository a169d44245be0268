#!/usr/bin/env node
// The packages as users get them: package managers, runtimes, bundlers, TypeScript. npm run test:packages [-- GROUP…]
// The tools come from the npm registry into .cache/package-tools (1.3 GB). Without the registry everything is skipped.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checks as bundlers } from './packages/checks/bundlers.mjs';
import { checks as managers } from './packages/checks/managers.mjs';
import { checks as runtimes } from './packages/checks/runtimes.mjs';
import { checks as source } from './packages/checks/source.mjs';
import { checks as types } from './packages/checks/types.mjs';
import { checks as workflows } from './packages/checks/workflows.mjs';
import { npm } from './packages/checks/workspace.mjs';
import { cudaLibrary } from './setup/cuda-library.mjs';
import { must, root, run, SetupError, step } from './setup/run.mjs';
import { hostTarget } from './setup/targets.mjs';

const groups = { runtimes, bundlers, types, managers, workflows, source };

const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !(name in groups));
if (unknown.length > 0) throw new Error(`expected ${Object.keys(groups).join(', ')}, got ${unknown.join(', ')}`);

const upstream = run('npm', ['config', 'get', 'registry']).log.trim();
if (!installTools()) {
  console.log(
    `skipped: the registry ${upstream} cannot be reached, or has not all tools of scripts/packages/tools.json`,
  );
  console.log('0 passed, 0 failed');
  process.exit(0);
}

const target = hostTarget()?.name;
const work = mkdtempSync(join(tmpdir(), 'sigmatune-packages-'));
let registry;
const failures = [];
let passed = 0;
try {
  must(process.execPath, [join(root, 'scripts', 'prebuilds.mjs')]);
  const libraries = ['--cuda-library', libraryOf(13), '--cuda12-library', libraryOf(12)];
  must(process.execPath, [join(root, 'scripts', 'packages.mjs'), '--out', npm, ...libraries]);
  must('npm', ['pack', '--pack-destination', npm, join(root, 'node_modules', 'pure-rand')]);
  registry = await startRegistry();
  for (const [name, checks] of Object.entries(groups)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    for (const [title, check] of checks({ work, target, registry: registry.url })) {
      try {
        step(title, check);
        passed++;
      } catch (error) {
        failures.push(`\n── ${title} ──\n${error instanceof SetupError ? error.message : error.stack}`);
      }
    }
  }
} finally {
  registry?.stop();
  rmSync(work, { recursive: true, force: true });
}
for (const failure of failures) console.error(failure);
console.log(`${passed} passed, ${failures.length} failed`);
if (failures.length > 0) process.exitCode = 1;

/** Brings .cache/package-tools up to date. */
function installTools() {
  const folder = join(root, '.cache', 'package-tools');
  const wanted = readFileSync(join(root, 'scripts', 'packages', 'tools.json'), 'utf8');
  const stamp = join(folder, 'sigmatune.stamp');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return true;
  mkdirSync(folder, { recursive: true });
  cpSync(join(root, 'scripts', 'packages', 'tools.json'), join(folder, 'package.json'));
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--fetch-retries=1'];
  const { ok, log } = step('installing tools', () => run('npm', ['install', ...options], { cwd: folder }));
  if (ok) writeFileSync(stamp, wanted);
  else console.error(log);
  return ok;
}

/** Without a CUDA build any library will do: what is tested is that it is found. */
function libraryOf(generation) {
  const built = cudaLibrary(generation);
  if (existsSync(built)) return built;
  return process.report.getReport().sharedObjects.find((path) => /\/libm[.-]/.test(path));
}

async function startRegistry() {
  const server = spawn(process.execPath, [join(root, 'scripts', 'packages', 'registry.mjs'), npm, upstream], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = await Promise.race([
    server.stdout.setEncoding('utf8').take(1).toArray(),
    new Promise((_, reject) => server.on('exit', () => reject(new Error('the registry ended')))),
  ]);
  return { url: `http://127.0.0.1:${port.trim()}/`, stop: () => server.kill() };
}
