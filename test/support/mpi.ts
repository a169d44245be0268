/** The MPIs of this machine, and programs that run under them. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Outcome, runProgram, scriptPath } from './process.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** An MPI with its compiler and launcher, as Debian names them. */
interface Implementation {
  readonly name: string;
  readonly mpicc: string;
  readonly mpirun: string;
  /** Of the launcher: more ranks than processors, and as root. */
  readonly options: readonly string[];
}

const implementations: readonly Implementation[] = [
  {
    name: 'Open MPI',
    mpicc: 'mpicc.openmpi',
    mpirun: 'mpirun.openmpi',
    options: ['--allow-run-as-root', '--oversubscribe', '--mca', 'btl_vader_single_copy_mechanism', 'none'],
  },
  { name: 'MPICH', mpicc: 'mpicc.mpich', mpirun: 'mpirun.mpich', options: [] },
];

export interface Mpi extends Implementation {
  /** The library that is compiled against it. */
  readonly library: string;
}

export interface RunOptions {
  /** Node's arguments: a script and its arguments. */
  readonly script: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** More options of the launcher. */
  readonly options?: readonly string[];
  readonly cwd?: string;
  /** After which the launcher is killed, in milliseconds. */
  readonly timeout?: number;
}

export function has(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Each MPI that is installed, with its library, which is built if need be; and the names of those that are missing. */
export async function installed(): Promise<{ readonly mpis: readonly Mpi[]; readonly missing: readonly string[] }> {
  const mpis: Mpi[] = [];
  const missing: string[] = [];
  for (const each of implementations) {
    if (!has(each.mpicc) || !has(each.mpirun)) {
      missing.push(`${each.name}: no ${each.mpicc} and ${each.mpirun}`);
      continue;
    }
    // Set by npm run test:mpi -- sanitized.
    const sanitize = process.env['SIGMATUNE_MPI_SANITIZE'] ?? '';
    const out = `build-${each.mpicc.replace('mpicc.', 'mpi-')}${sanitize && '-sanitized'}`;
    const build = [`--mpicc=${each.mpicc}`, `--out=${out}`, `--sanitize=${sanitize}`];
    // A compiler is no program to watch.
    const env = { LD_PRELOAD: '' };
    const { code, err } = await output(process.execPath, [join(root, 'scripts', 'build-mpi.mjs'), ...build], { env });
    if (code !== 0) throw new Error(`the library for ${each.name} could not be built:\n${err}`);
    mpis.push({ ...each, library: join(root, out, 'libsigmatune_mpi.so') });
  }
  return { mpis, missing };
}

/** Runs Node under the launcher, with `ranks` processes. */
export function mpirun(mpi: Mpi, ranks: number, { script, env = {}, options = [], cwd, timeout }: RunOptions) {
  const [file, ...parameters] = script;
  const path = file?.includes('/') ? file : scriptPath(file ?? '');
  const args = [...mpi.options, ...options, '-n', `${ranks}`, process.execPath, path, ...parameters];
  const library = { SIGMATUNE_MPI_LIBRARY: mpi.library };
  return output(mpi.mpirun, args, { env: { ...library, ...env }, ...(cwd && { cwd }), ...(timeout && { timeout }) });
}

/** Runs a program without colours, and takes its time. */
export async function output(
  program: string,
  args: readonly string[],
  { env = {}, timeout = 100_000, ...rest }: NonNullable<Parameters<typeof runProgram>[2]> = {},
): Promise<Outcome & { readonly seconds: number }> {
  const started = performance.now();
  const outcome = await runProgram(program, args, { ...rest, timeout, env: { NO_COLOR: '1', ...env } });
  return { ...outcome, seconds: (performance.now() - started) / 1000 };
}

/** What the ranks have said in a case, or in all: one JSON a line, in the order of the ranks. */
export function told<T extends { readonly rank: number }>({ out }: { readonly out: string }, name?: string): T[] {
  return out
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as T & { case: string })
    .filter((line) => name === undefined || line.case === name)
    .sort((a, b) => a.rank - b.rank);
}
