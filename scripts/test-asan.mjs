#!/usr/bin/env node
// The test suite on an addon that watches its own memory and arithmetic: npm run test:asan [-- tap's arguments]
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addonFile, buildAddon, variant } from './setup/addon.mjs';
import { root } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';
import { bytesOfFiles, tools } from './setup/suite.mjs';
import { libraryPath } from './setup/system.mjs';

/** These run no native code, or not this addon's, or only what others run too, or time it. */
const elsewhere = [...tools, ...bytesOfFiles];

main(() => {
  setup();
  const sanitized = variant('asan', 'addon with address and undefined behaviour sanitizers', {
    sanitize: 'address,undefined',
  });
  buildAddon(sanitized);
  // Reports go to files, one a process: so that none is lost, not even one of a process whose end no test looks at.
  const reports = join(sanitized.folder, 'reports');
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  const log = `log_path="${join(reports, 'process')}"`;
  const environment = {
    SIGMATUNE_ADDON: addonFile(sanitized),
    // Node itself is not built with the sanitizer, so its runtime has to come first; then the C++ library, whose
    // throw it wraps.
    LD_PRELOAD: `${libraryPath('libasan.so')}:${libraryPath('libstdc++.so')}`,
    // What V8 and Node leave to the end of the process is no leak of ours. A request for more memory than there is
    // should fail as it does elsewhere.
    ASAN_OPTIONS: `detect_leaks=0:allocator_may_return_null=1:${log}`,
    UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:${log}`,
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
  // Others only warn, of a request for memory that could not be met.
  const found = readdirSync(reports)
    .map((name) => readFileSync(join(reports, name), 'utf8'))
    .filter((report) => /ERROR: |runtime error: /.test(report));
  for (const report of found) process.stderr.write(report);
  process.exitCode = found.length > 0 ? 1 : (status ?? 1);
});
