// Programs that may take long, hang or crash: run with an end in time, their output kept in a file.
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';

/**
 * Runs a program for `seconds` at most, then ends it and all it has started. What it prints goes to the file `log`, what it
 * says on stderr is shown as well with `echo`.
 * @returns {Promise<{ status: number | null, signal: string | null, late: boolean, seconds: number, output: string }>}
 */
export function runLogged(command, args, { cwd, env = process.env, log, seconds, echo = false }) {
  return new Promise((resolve) => {
    const start = performance.now();
    const file = createWriteStream(log);
    // A group of its own, so that its children end with it.
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      endGroup(child.pid);
    }, 1000 * seconds);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        output += text;
        file.write(text);
        if (echo && stream === child.stderr) process.stderr.write(text);
      });
    }
    const finish = (status, signal) => {
      clearTimeout(timer);
      file.end(() => resolve({ status, signal, late, seconds: (performance.now() - start) / 1000, output }));
    };
    child.on('error', (error) => {
      output += `${error.message}\n`;
      file.write(`${error.message}\n`);
      finish(null, null);
    });
    child.on('close', finish);
  });
}

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** In words, where it did not end well. */
export function ending({ status, signal, late, seconds }) {
  if (late) return `stopped after ${seconds.toFixed(0)} s`;
  if (signal !== null) return `ended by ${signal}`;
  return status === 0 ? '' : `exit code ${status}`;
}
