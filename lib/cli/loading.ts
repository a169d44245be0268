// An adapter on its base checkpoint: for the commands that merge and export it.
import { inspectAdapters } from '../index.js';
import { type LoadedModel, loadAdaptedModel } from '../model/load-adapted.js';
import { cacheOption } from './cache.js';
import { withCheckpoint } from './checkpoint.js';
import type { OptionTable, Values } from './command.js';
import { workOf } from './matrices.js';
import { readSplit, targetOptions } from './selection.js';
import type { Session } from './session.js';
import { threadsOption, useThreads } from './threads.js';

export const adapterHelp =
  'BASE is the checkpoint that was adapted: a safetensors file, its index or its folder. ADAPTER is a folder of saveAdapters.\n' +
  'Each adapted weight is decomposed again, unless the adapter was saved with its vectors, or --cache has the factors.';

export const loadOptions = {
  split: targetOptions.split,
  ...cacheOption,
  ...threadsOption,
} as const satisfies OptionTable;

/** Runs `body` with the model, which is disposed afterwards. */
export async function withAdapter<T>(
  session: Session,
  [base, folder]: readonly [base: string, adapter: string],
  { split, cache, threads }: Values<typeof loadOptions>,
  body: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  useThreads(threads);
  const { layers } = await inspectAdapters(folder);
  const work = new Map(layers.map((layer) => [layer.name, workOf(layer)]));
  const total = [...work.values()].reduce((sum, each) => sum + each, 0);
  return withCheckpoint(base, async (file) => {
    const loaded = await session.working(total, (progress) =>
      loadAdaptedModel('load', folder, file, {
        ...(split.length > 0 && { split: Object.fromEntries(split.map(readSplit)) }),
        ...(cache !== undefined && { cache }),
        signal: session.signal,
        onProgress: ({ name }) => progress.advance(work.get(name) ?? 0, name),
      }),
    );
    try {
      return await body(loaded);
    } finally {
      loaded.model.dispose();
    }
  });
}
