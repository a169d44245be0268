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
  const script = fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
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

/** A process that ended by itself and complained of nothing. */
export const quiet = (out: string, code = 0): Outcome => ({ code, signal: null, out, err: '' });
