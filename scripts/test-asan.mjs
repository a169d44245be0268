#!/usr/bin/env node
// The test suite on an addon that watches its own memory and arithmetic: npm run test:asan [-- tap's arguments]
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './setup/run.mjs';
import { sanitizedAddon } from './setup/sanitized.mjs';
import { main, setup } from './setup/steps.mjs';
import { bytesOfFiles, plans, tools } from './setup/suite.mjs';

/** These run no native code, or not this addon's, or only what others run too, or time it. */
const elsewhere = [...tools, ...plans, ...bytesOfFiles];

main(() => {
  setup();
  const { environment, tell } = sanitizedAddon();
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', '.bin', 'tap'),
      ...elsewhere.map((file) => `--exclude=${file}`),
      '--timeout=300',
      ...Object.entries(environment).map(([name, value]) => `--test-env=${name}=${value}`),
      ...process.argv.slice(2),
    ],
    { cwd: root, stdio: 'inherit' },
  );
  process.exitCode = tell() ? 1 : (status ?? 1);
});
