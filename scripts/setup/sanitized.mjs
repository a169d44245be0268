import { must, run, SetupError } from './run.mjs';

/** Runs a program that was built with a sanitizer; what that finds wrong, it ends the program for. */
export function runSanitized(program, args = [], options = {}) {
  const { ok, log } = run(program, args, options);
  if (ok) return log;
  // Some kernels place memory where the thread sanitizer of older compilers cannot follow, unless told not to.
  if (log.includes('unexpected memory mapping')) {
    return must('setarch', ['--addr-no-randomize', program, ...args], options);
  }
  throw new SetupError(log);
}
