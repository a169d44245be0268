import { type Communicator, decomposeModelSharded, init } from '../../distributed/index.js';
import {
  type DecomposedRow,
  type DecomposeModelOptions,
  decomposeModel,
  type ModelOptions,
  planModel,
} from '../../index.js';
import { required } from '../arguments.js';
import { withCheckpoint } from '../checkpoint.js';
import { command } from '../command.js';
import { workOf } from '../matrices.js';
import { readSelection, type Selection, targetOptions } from '../selection.js';
import type { Session } from '../session.js';
import { type Column, type Line, table } from '../table.js';
import { bytes, several, shape } from '../text.js';
import { threadsOption, useThreads } from '../threads.js';

const cache = {
  type: 'string',
  value: 'FOLDER',
  about: 'where the factors are kept; it is made if there is none',
} as const;

export default command({
  usage: 'decompose FILE --targets NAMES --cache FOLDER [options]',
  about:
    'Decomposes weights, W0 = U diag(σ) Vᵀ, and keeps the factors in a folder. adaptModel with the same cache and the other\n' +
    'commands read them. Weights are found by their bits, so one folder may serve any number of files. Two are in memory at a\n' +
    'time. A run that was stopped or killed goes on where it was: give the same command again. Under mpirun the processes\n' +
    'share the work, on as many hosts as see the folder.\n' +
    'FILE is a safetensors file, its index, or a folder with one of them.',
  positionals: ['FILE'],
  options: {
    ...targetOptions,
    cache,
    storage: {
      type: 'string',
      value: 'TYPE',
      about: 'float32, float64, bfloat16, float16 or int8, as in adaptModel; default: as the weights',
    },
    device: { type: 'string', value: 'DEVICE', about: 'cpu (default), or the CUDA device of the later layers' },
    ...threadsOption,
  },
  example: 'sigmatune decompose model.safetensors --preset llama:QV --cache factors',

  async run(session, [file], { cache: folder, storage, device, threads, ...targets }) {
    const place = required('cache', cache, folder);
    const selection = await readSelection(targets, session.signal);
    if (selection.targets === undefined) required('targets', targetOptions.targets, undefined);
    useThreads(threads);
    const comm = await init();
    const rows = await withCheckpoint(file, (checkpoint) => {
      const { targets: chosen, exclude, layout, split } = selection as Selection & Pick<ModelOptions, 'targets'>;
      const choice = { targets: chosen, exclude, layout, split };
      const defined = Object.entries({ ...choice, storage, device }).filter(([, value]) => value !== undefined);
      const options = { ...Object.fromEntries(defined), cache: place } as DecomposeModelOptions;
      const modules = planModel(checkpoint, { ...choice, family: 'svdiff' } as ModelOptions);
      return decomposed(session, modules, comm, (more) =>
        comm.size === 1
          ? decomposeModel(checkpoint, { ...options, ...more })
          : decomposeModelSharded(comm, checkpoint, { ...options, ...more }),
      );
    }).catch(async (error) => {
      // What all ranks have failed at is told by each, and need not end with an abort of the job.
      await comm.finalize().catch(() => undefined);
      throw error;
    });
    if (comm.rank === 0) session.answer({ cache: place, modules: rows }, () => linesOf(place, rows));
    await comm.finalize();
  },
});

/** Runs the decompositions. Rank 0 tells its progress and the time that is left. */
async function decomposed(
  session: Session,
  modules: readonly { readonly name: string; readonly out: number; readonly in: number }[],
  { rank, size }: Pick<Communicator, 'rank' | 'size'>,
  work: (more: Pick<DecomposeModelOptions, 'signal' | 'onProgress'>) => Promise<readonly DecomposedRow[]>,
): Promise<readonly DecomposedRow[]> {
  if (rank > 0) return work({ signal: session.signal });
  const works = new Map(modules.map((module) => [module.name, workOf(module)]));
  // How much of it this process will get is not known before.
  const total = [...works.values()].reduce((sum, each) => sum + each, 0) / size;
  let done = 0;
  try {
    return await session.working(total, (progress) =>
      work({
        signal: session.signal,
        onProgress: ({ modules: count, name, cached }) => {
          done = count;
          const own = works.get(name) ?? 0;
          // What is read takes no time that would tell how long the others take.
          if (cached) progress.skip(own);
          progress.advance(cached ? 0 : own, name);
        },
      }),
    );
  } finally {
    if (size === 1 && done > 0 && done < works.size)
      session.remark(`${several(done, 'module')} of ${works.size} done: the same command goes on there`);
  }
}

const columns: readonly Column<DecomposedRow>[] = [
  { title: 'module', cell: ({ name }) => name },
  { title: 'out × in', number: true, cell: (row) => shape([row.out, row.in]) },
  { title: 'factors', number: true, cell: (row) => bytes(row.bytes) },
  { title: 'residual', number: true, cell: ({ residual }) => residual.toExponential(1) },
  { title: 'orthogonality', number: true, cell: ({ orthogonality }) => orthogonality.toExponential(1) },
  { title: '', cell: ({ cached }) => (cached ? 'found' : 'computed') },
];

function linesOf(place: string, rows: readonly DecomposedRow[]): Line[] {
  const cached = rows.filter((row) => row.cached).length;
  const size = bytes(rows.reduce((sum, row) => sum + row.bytes, 0));
  const summary = `${several(rows.length, 'module')}, ${size}: ${rows.length - cached} computed, ${cached} found in ${place}`;
  return [...table(columns, rows), '', summary];
}
