/** Runs scripts of fixtures/ in separate processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

/** The path of a script of fixtures/. */
export const scriptPath = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** This process's environment without the test runner's loaders, as a user has it. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return env;
}

/** What a program has written, and how it ended. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { env = {}, cwd, timeout = 90_000 }: { env?: Readonly<Record<string, string>>; cwd?: string; timeout?: number } = {},
): Promise<Outcome> {
  const child = spawn(program, args, {
    env: { ...plainEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
    ...(cwd && { cwd }),
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

export function runScript(name: string, ...parameters: readonly string[]): Promise<Outcome> {
  return runProgram(process.execPath, [scriptPath(name), ...parameters]);
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
class KillDelay {
  #milliseconds = 3;

  wait(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#milliseconds));
  }

  sawResult(result: boolean): void {
    this.#milliseconds = result ? this.#milliseconds * 0.7 : Math.min(2000, this.#milliseconds * 1.6);
  }
}

/** Starts scripts that work until they are killed, and waits until each has said that it is ready. */
export async function startScripts(name: string, ...each: readonly (readonly string[])[]): Promise<ChildProcess[]> {
  const children = each.map((parameters) =>
    spawn(process.execPath, [scriptPath(name), ...parameters], {
      env: plainEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  await Promise.all(children.map((child) => once(child.stdout, 'data')));
  return children;
}

export async function killAll(children: readonly ChildProcess[]): Promise<void> {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map((child) => once(child, 'exit')));
}

/**
 * Kills processes while they work, 15 times: `start` starts those of a round, `sawResult` says whether they had a result.
 * Returns the number of rounds with one.
 */
export async function killRounds(
  start: (round: number) => Promise<readonly ChildProcess[]>,
  sawResult: (round: number) => Promise<boolean>,
): Promise<number> {
  const delay = new KillDelay();
  let results = 0;
  for (let round = 0; round < 15; round++) {
    const children = await start(round);
    await delay.wait();
    await killAll(children);
    const result = await sawResult(round);
    delay.sawResult(result);
    results += Number(result);
  }
  return results;
}
