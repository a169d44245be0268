#!/usr/bin/env node
// The test suite on an addon that watches its own memory and arithmetic: npm run test:asan [-- tap's arguments]
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { addonFile, buildAddon, variant } from './setup/addon.mjs';
import { root } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';
import { libraryPath } from './setup/system.mjs';

/** These run no native code, or not this addon's. */
const elsewhere = ['test/packaging.test.ts', 'test/layering.test.ts', 'test/types.test.ts'];

main(() => {
  setup();
  const sanitized = variant('asan', 'addon with address and undefined behaviour sanitizers', {
    sanitize: 'address,undefined',
  });
  buildAddon(sanitized);
  const environment = {
    SIGMATUNE_ADDON: addonFile(sanitized),
    // Node itself is not built with the sanitizer, so its runtime has to come first; then the C++ library, whose
    // throw it wraps.
    LD_PRELOAD: `${libraryPath('libasan.so')}:${libraryPath('libstdc++.so')}`,
    // What V8 and Node leave to the end of the process is no leak of ours. A request for more memory than there is
    // should fail as it does elsewhere.
    ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1',
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  };
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
  process.exitCode = status ?? 1;
});
