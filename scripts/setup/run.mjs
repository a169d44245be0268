// Running other programs: quietly when all is well, with their whole output when it is not.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository. Nothing here depends on the folder a command is typed in. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A failure the user can act on: its message is shown without a stack. */
export class SetupError extends Error {
  exitCode = 1;
}

/** A program or library is missing that only the user can install. Scripts end with 2, so that callers can tell. */
export class MissingError extends SetupError {
  exitCode = 2;
}

/** The command's path, or undefined where PATH has no such program. */
export function which(command) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, command);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** Runs a program to its end without showing anything; `log` is all it wrote. */
export function run(command, args, { cwd = root, env = process.env } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { ok: status === 0, log: `${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}` };
}

/** One line on stderr for one piece of work: what it is, then the seconds it took. stdout stays free for results. */
export function step(title, work) {
  const start = performance.now();
  process.stderr.write(`${basename(process.argv[1], '.mjs')}: ${title} ... `);
  try {
    const result = work();
    process.stderr.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  }
}

/** `run`, for a program that has to succeed. */
export function must(command, args, options) {
  const { ok, log } = run(command, args, options);
  if (!ok) throw new SetupError(`${log}\n${command} ${args.join(' ')} failed; its output stands above.`);
  return log;
}
