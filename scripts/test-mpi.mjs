#!/usr/bin/env node
// The tests of test/distributed under Open MPI and MPICH, which are installed if need be: npm run test:mpi [-- tap's arguments]
//   npm run test:mpi -- sanitized [tap's arguments]   with the addon's and the ranks' code under sanitizers
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { MissingError, root } from './setup/run.mjs';
import { sanitizedAddon } from './setup/sanitized.mjs';
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
  const isSanitized = process.argv[2] === 'sanitized';
  const given = process.argv.slice(isSanitized ? 3 : 2);
  const hasFiles = given.some((word) => !word.startsWith('-'));
  if (!isSanitized) {
    process.exitCode = runTap([...given, ...(hasFiles ? [] : ['test/distributed'])]);
    return;
  }
  const { environment, tell } = sanitizedAddon('reports-mpi');
  const variables = { ...environment, SIGMATUNE_MPI_SANITIZE: 'address,undefined' };
  const status = runTap([
    ...Object.entries(variables).map(([name, value]) => `--test-env=${name}=${value}`),
    ...given,
    ...(hasFiles ? [] : ['test/distributed/communicator.test.ts']),
  ]);
  process.exitCode = tell() ? 1 : status;
});

function runTap(args) {
  const tap = join(root, 'node_modules', '.bin', 'tap');
  const { status } = spawnSync(process.execPath, [tap, '--timeout=600', ...args], { cwd: root, stdio: 'inherit' });
  return status ?? 1;
}
