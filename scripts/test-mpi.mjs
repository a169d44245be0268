#!/usr/bin/env node
// The tests of test/distributed under Open MPI and MPICH, which are installed if need be: npm run test:mpi [-- tap's arguments]
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { MissingError, root } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';
import { ensureSystem, forMpiTests } from './setup/system.mjs';

main(() => {
  setup();
  try {
    ensureSystem(forMpiTests);
  } catch (error) {
    if (!(error instanceof MissingError)) throw error;
    process.stderr.write(`\n${error.message}\nThe tests of what is missing are skipped.\n`);
  }
  const tap = join(root, 'node_modules', '.bin', 'tap');
  const given = process.argv.slice(2);
  const files = given.some((word) => !word.startsWith('-')) ? [] : ['test/distributed'];
  const { status } = spawnSync(process.execPath, [tap, '--timeout=600', ...given, ...files], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
});
