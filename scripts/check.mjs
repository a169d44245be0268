#!/usr/bin/env node
// Every check that reads the sources without running them. All run, whichever fail; the last line counts them.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { mustBeside, root, SetupError, stepBeside } from './setup/run.mjs';
import { nativeSources } from './setup/sources.mjs';
import { main, setup } from './setup/steps.mjs';
import { ensureSystem } from './setup/system.mjs';
import { findZig } from './setup/zig.mjs';

const bin = (name) => join(root, 'node_modules', '.bin', name);

const checks = {
  'form of TypeScript, JavaScript and JSON': [bin('biome'), 'check', '--error-on-warnings', '.'],
  'form of C++': ['clang-format', '--dry-run', '-Werror', ...nativeSources()],
  'types of the library and its tests': [bin('tsc'), '-p', 'tsconfig.test.json'],
  'types of the examples': [bin('tsc'), '-p', 'examples'],
  'types of the benchmarks': [bin('tsc'), '-p', 'bench'],
  'layers: who imports whom': [process.execPath, join('scripts', 'layers.mjs')],
  'package manifest': [bin('publint'), '--strict'],
  ...(findZig() && {
    'native code of other platforms': [
      process.execPath,
      join('scripts', 'prebuilds.mjs'),
      '--compile-only',
      ...['darwin-arm64', 'win32-x64'].flatMap((target) => ['--target', target]),
    ],
  }),
  'types as users resolve them': [bin('attw'), '--pack', '.'],
};

main(async () => {
  setup();
  ensureSystem(['clang-format']);
  if (!findZig())
    console.error('check: native code of other platforms is skipped: zig is missing (npm run prebuilds gets it)');
  const waiting = Object.entries(checks);
  const failures = [];
  // Most of them keep one core busy.
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [title, [command, ...args]] = next;
      try {
        await stepBeside(title, () => mustBeside(command, args));
      } catch (error) {
        if (!(error instanceof SetupError)) throw error;
        failures.push(`\n── ${title} ──\n${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  for (const failure of failures) console.error(failure);
  console.log(`${Object.keys(checks).length - failures.length} passed, ${failures.length} failed`);
  if (failures.length > 0) process.exitCode = 1;
});
