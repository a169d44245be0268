// The matrices of a checkpoint that a command works on, one weight at a time.
import type { ModelOptions, SafetensorsFile } from '../index.js';
import { type Job, prepared } from '../model/jobs.js';
import { matrixOf } from '../model/parts.js';
import { chosenModules } from '../model/plan.js';
import { readSource, type Stored } from '../model/source.js';
import type { Matrix } from '../tensor/tensor.js';
import type { Selection } from './selection.js';

/** The modules that the options choose, those of one weight next to each other. */
export function selectModules(op: string, file: SafetensorsFile, selection: Selection): readonly Job[] {
  const source = readSource(op, file);
  // Modules are chosen for a family, which does not matter here.
  const options = { ...selection, family: 'svdiff', options: {}, modules: undefined } as unknown as ModelOptions;
  const { chosen } = chosenModules(op, [...source.values()], options);
  return chosen.map((each) => prepared(op, each, source, new Map(), undefined));
}

/** The flops of a module's SVD, up to a factor. */
export function workOf({ out, in: inFeatures }: { readonly out: number; readonly in: number }): number {
  return out * inFeatures * Math.min(out, inFeatures);
}

/** Reads each weight once and gives its modules' matrices, as they are stored. They are disposed afterwards. */
export async function* matricesOf(
  op: string,
  jobs: readonly Job[],
  signal: AbortSignal,
): AsyncGenerator<{ readonly job: Job; readonly matrix: Matrix }> {
  let loaded: { readonly weight: Stored; readonly whole: Matrix } | undefined;
  const release = () => {
    loaded?.weight.release(loaded.whole);
    loaded = undefined;
  };
  try {
    for (const job of jobs) {
      const { weight, chosen } = job;
      if (loaded?.weight !== weight) {
        release();
        loaded = { weight, whole: (await weight.load(op, signal)) as Matrix };
      }
      const { whole } = loaded;
      const matrix = matrixOf(op, whole, chosen.module);
      try {
        yield { job, matrix };
      } finally {
        if (matrix !== whole) matrix.dispose();
      }
    }
  } finally {
    release();
  }
}
