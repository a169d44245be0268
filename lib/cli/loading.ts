// An adapter on its base checkpoint: for the commands that merge and export it.
import { inspectAdapters, openSafetensors } from '../index.js';
import { type LoadedModel, loadAdaptedModel } from '../model/load-adapted.js';
import type { OptionTable, Values } from './command.js';
import { Failure } from './failures.js';
import { readSplit, targetOptions } from './selection.js';
import type { Session } from './session.js';
import { threadsOption, useThreads } from './threads.js';

export const adapterHelp =
  'BASE is the checkpoint that was adapted: a safetensors file, its index or its folder. ADAPTER is a folder of saveAdapters.\n' +
  'Each adapted weight is decomposed again, unless the adapter was saved with its vectors.';

export const loadOptions = { split: targetOptions.split, ...threadsOption } as const satisfies OptionTable;

/** Runs `body` with the model, which is disposed afterwards. */
export async function withAdapter<T>(
  session: Session,
  [base, folder]: readonly [base: string, adapter: string],
  { split, threads }: Values<typeof loadOptions>,
  body: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  useThreads(threads);
  const { layers } = await inspectAdapters(folder);
  // The flops of an SVD grow with out · in · min(out, in).
  const work = new Map(layers.map((layer) => [layer.name, layer.out * layer.in * Math.min(layer.out, layer.in)]));
  const total = [...work.values()].reduce((sum, each) => sum + each, 0);
  const file = await openSafetensors(base);
  try {
    const loaded = await session.working(total, (progress) =>
      loadAdaptedModel('load', folder, file, {
        ...(split.length > 0 && { split: Object.fromEntries(split.map(readSplit)) }),
        signal: session.signal,
        onProgress: ({ name }) => progress.advance(work.get(name) ?? 0, name),
      }),
    );
    try {
      return await body(loaded);
    } finally {
      loaded.model.dispose();
    }
  } finally {
    await file.close();
  }
}

/** A LoRA's modules are the base model's: a part of a fused weight is none. */
export function refuseParts({ parts }: LoadedModel): void {
  if (parts.length === 0) return;
  throw new Failure(`'${parts[0]}' is a part of a weight, which a LoRA cannot name: use sigmatune merge`);
}
