// Running other programs: quietly when all is well, with their whole output when it is not.
import { spawn, spawnSync } from 'node:child_process';
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

/** The same without waiting, for programs that run side by side. */
export function runBeside(command, args, { cwd = root, env = process.env } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        log += text;
      });
    }
    child.on('error', (error) => resolve({ ok: false, log: `${log}${error.message}\n` }));
    child.on('close', (status) => resolve({ ok: status === 0, log }));
  });
}

const program = basename(process.argv[1] ?? '', '.mjs');
const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

/** One line on stderr for one piece of work: what it is, then the seconds it took. stdout stays free for results. */
export function step(title, work) {
  const start = performance.now();
  process.stderr.write(`${program}: ${title} ... `);
  try {
    const result = work();
    process.stderr.write(`${since(start)}\n`);
    return result;
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  }
}

/** The same for several pieces of work at a time: the line of each comes when it has ended. */
export async function stepBeside(title, work) {
  const start = performance.now();
  let outcome = 'failed';
  try {
    const result = await work();
    outcome = since(start);
    return result;
  } finally {
    process.stderr.write(`${program}: ${title} ... ${outcome}\n`);
  }
}

/** `run`, for a program that has to succeed. */
export function must(command, args, options) {
  return succeeded(command, args, run(command, args, options));
}

/** `runBeside`, for a program that has to succeed. */
export async function mustBeside(command, args, options) {
  return succeeded(command, args, await runBeside(command, args, options));
}

function succeeded(command, args, { ok, log }) {
  if (!ok) throw new SetupError(`${log}\n${command} ${args.join(' ')} failed; its output stands above.`);
  return log;
}
