/** Scripts of fixtures/ in processes of their own. */
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
  // Without the test runner's loaders: a process as a user has it.
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

/** Runs `body` with these variables in the environment, for this process's own native code and for its children. */
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

/** A process that ended by itself and complained of nothing. */
export const quiet = (out: string, code = 0): Outcome => ({ code, signal: null, out, err: '' });
