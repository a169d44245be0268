/** Runs scripts of fixtures/ in separate processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

export async function runScript(name: string, ...parameters: readonly string[]): Promise<Outcome> {
  const script = fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
  // Without the test runner's loaders, as for a user.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(process.execPath, [script, ...parameters], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, out, err };
}

/** Runs `body` with these environment variables, for the native code of this process and for its children. */
export async function withEnvironment<T>(
  variables: Readonly<Record<string, string>>,
  body: () => T | Promise<T>,
): Promise<T> {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return await body();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** The outcome of a process that exits by itself and prints nothing to stderr. */
export const quiet = (out: string, code = 0): Outcome => ({ code, signal: null, out, err: '' });

/**
 * How long a process may work before it is killed. After a round without a result the next delay is longer, after one with a
 * result it is shorter: so on any machine some kills come before the result and some after it.
 */
export class KillDelay {
  #milliseconds = 3;

  wait(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#milliseconds));
  }

  sawResult(result: boolean): void {
    this.#milliseconds = result ? this.#milliseconds * 0.7 : Math.min(2000, this.#milliseconds * 1.6);
  }
}
