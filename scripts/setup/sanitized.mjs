import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addonFile, buildAddon, variant } from './addon.mjs';
import { mustBeside, runBeside, SetupError } from './run.mjs';
import { libraryPath } from './system.mjs';

const sanitize = 'address,undefined';

/**
 * Builds the addon with the sanitizers. Returns the environment in which Node runs it, and a function that prints what they
 * have found since and returns whether that was anything.
 */
export function sanitizedAddon(reportsName = 'reports') {
  const sanitized = variant('asan', 'addon with address and undefined behaviour sanitizers', { sanitize });
  buildAddon(sanitized);
  // Reports go to files, one a process: so that none is lost, not even one of a process whose end no test looks at.
  const reports = join(sanitized.folder, reportsName);
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
  const tell = () => {
    // Others only warn, of a request for memory that could not be met.
    const found = readdirSync(reports)
      .map((name) => readFileSync(join(reports, name), 'utf8'))
      .filter((report) => /ERROR: |runtime error: /.test(report));
    for (const report of found) process.stderr.write(report);
    return found.length > 0;
  };
  return { environment, tell };
}

/** Runs a program that was built with a sanitizer; what that finds wrong, it ends the program for. */
export async function runSanitized(program, args = [], options = {}) {
  const { ok, log } = await runBeside(program, args, options);
  if (ok) return log;
  // Some kernels place memory where the thread sanitizer of older compilers cannot follow, unless told not to.
  if (log.includes('unexpected memory mapping')) {
    return mustBeside('setarch', ['--addr-no-randomize', program, ...args], options);
  }
  throw new SetupError(log);
}
