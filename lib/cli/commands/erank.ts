import { effectiveRank, type FactorCache, numericalRank, openFactorCache, svd } from '../../index.js';
import type { Job } from '../../model/jobs.js';
import { factorsFor } from '../../model/work.js';
import type { RealArray } from '../../runtime/native.js';
import { dtypeOf, epsilonOf } from '../../tensor/dtype.js';
import { numbersOf } from '../../tensor/operand.js';
import type { Matrix } from '../../tensor/tensor.js';
import { cacheOption } from '../cache.js';
import { withCheckpoint } from '../checkpoint.js';
import { command } from '../command.js';
import { UsageError } from '../failures.js';
import { matricesOf, selectModules, workOf } from '../matrices.js';
import { readSelection, targetOptions } from '../selection.js';
import { type Column, table } from '../table.js';
import { count, percent, shape } from '../text.js';
import { threadsOption, useThreads } from '../threads.js';
import { tellUpdates } from '../updates.js';

export default command({
  usage: 'erank FILE [--targets NAMES] [--adapter FOLDER] [options]',
  about:
    'Shows the effective rank of each weight (exp of the entropy of σ / Σσ), its numerical rank (σ > max(out, in) · ε · σ₁), and\n' +
    'its largest and smallest singular value. With an adapter: the effective rank before and after, and that of the update ΔW.\n' +
    'FILE is a safetensors file, its index, or a folder with one of them.',
  positionals: ['FILE'],
  options: {
    ...targetOptions,
    adapter: { type: 'string', value: 'FOLDER', about: 'a folder of saveAdapters: its layers instead of the targets' },
    ...cacheOption,
    ...threadsOption,
  },
  example: 'sigmatune erank model.safetensors --targets q_proj,v_proj',

  async run(session, [file], { adapter, cache, threads, ...targets }) {
    if (adapter !== undefined) {
      const more = Object.entries(targets).find(([name, value]) => name in targetOptions && name !== 'split' && value);
      if (more !== undefined)
        throw new UsageError(`--${more[0]}: expected nothing next to --adapter, whose layers count`);
      return tellUpdates(session, [file, adapter], { cache, threads, split: targets.split });
    }
    const selection = await readSelection(targets, session.signal);
    useThreads(threads);
    const factorCache = cache === undefined ? undefined : await openFactorCache(cache);
    await withCheckpoint(file, async (checkpoint) => {
      const jobs = selectModules('erank', checkpoint, { targets: 'all', ...selection });
      const total = jobs.reduce((sum, { chosen }) => sum + workOf(chosen.module), 0);
      const rows = await session.working(total, async (progress) => {
        const found: Row[] = [];
        for await (const { job, matrix } of matricesOf('erank', jobs, session.signal)) {
          const { name, out, in: inFeatures } = job.chosen.module;
          const sigma = await sigmaOf(matrix, job, factorCache, session.signal);
          found.push({ name, out, in: inFeatures, ...ranksOf(sigma, matrix.shape) });
          progress.advance(workOf(job.chosen.module), name);
        }
        return found;
      });
      session.answer({ modules: rows }, () => table(columns, rows));
    });
  },
});

interface Row {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly effectiveRank: number;
  readonly numericalRank: number;
  readonly largest: number;
  readonly smallest: number;
}

const columns: readonly Column<Row>[] = [
  { title: 'module', cell: ({ name }) => name },
  { title: 'out × in', number: true, cell: (row) => shape([row.out, row.in]) },
  { title: 'effective rank', number: true, cell: (row) => row.effectiveRank.toFixed(1) },
  { title: 'of r', number: true, cell: (row) => percent(row.effectiveRank / Math.min(row.out, row.in)) },
  { title: 'numerical rank', number: true, cell: (row) => count(row.numericalRank) },
  { title: 'σ max', number: true, cell: ({ largest }) => largest.toPrecision(4) },
  { title: 'σ min', number: true, cell: ({ smallest }) => smallest.toPrecision(4) },
];

/** The singular values of a matrix. */
async function sigmaOf(
  matrix: Matrix,
  job: Job,
  cache: FactorCache | undefined,
  signal: AbortSignal,
): Promise<RealArray> {
  const cached = cache && (await factorsFor('erank', matrix, job, cache, signal)).factors;
  const { u, s, vt } = cached ?? (await svd(matrix, { signal }));
  try {
    return numbersOf('erank', 's', s).slice();
  } finally {
    for (const tensor of [u, s, vt]) tensor.dispose();
  }
}

function ranksOf(sigma: RealArray, sizes: readonly number[]): Omit<Row, 'name' | 'out' | 'in'> {
  const largest = sigma[0] as number;
  // As NumPy's matrix_rank and MATLAB's rank decide.
  const epsilon = epsilonOf(dtypeOf(sigma));
  return {
    effectiveRank: effectiveRank(sigma),
    numericalRank: numericalRank(sigma, { tolerance: Math.max(...sizes) * epsilon }),
    largest,
    smallest: sigma[sigma.length - 1] as number,
  };
}
