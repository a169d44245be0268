import type { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import { type ByName, checkOptions } from '../runtime/check.js';
import type { Device } from '../runtime/device.js';
import type { TensorLike } from '../tensor/view.js';
import type { ModelOptions } from './plan.js';
import { type DecomposedRow, type Decompositions, decomposeShare, decompositionsOf } from './share.js';

export interface DecomposeModelOptions
  extends Pick<ModelOptions, 'targets' | 'exclude' | 'layout' | 'split' | 'storage' | 'signal' | 'onProgress'> {
  /** A folder, or an open cache, that keeps the factors. */
  cache: string | FactorCache;
  /**
   * Where the decompositions run. Give the device of the later layers: the CPU's factors are not found for layers on a CUDA device,
   * and the reverse. Default: the CPU for a file, the weights' device for tensors.
   */
  device?: Device;
}

const optionNames = [
  'targets',
  'exclude',
  'layout',
  'split',
  'storage',
  'cache',
  'device',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof DecomposeModelOptions)[];

/**
 * Decomposes the matrices of a model into a cache, two at a time, and keeps none of them in memory. `adaptModel` with the same
 * `cache` and `storage` then reads the factors. A run that was stopped, or killed, goes on where it was.
 *
 * @param weights an open file, of which each weight is read when its turn comes, or tensors by name, as `adaptModel` takes them
 * @returns a row for each module, in the order of the weights; of tied weights (two names of one memory) for the first
 * @throws SigmaError (as a rejection) that names the module; what is in the cache stays there
 * @example
 * const file = await openSafetensors('model.safetensors');
 * console.table(await decomposeModel(file, { targets: ['q_proj', 'v_proj'], cache: 'factors' }));
 */
export async function decomposeModel(
  weights: ByName<TensorLike> | SafetensorsFile,
  options: DecomposeModelOptions,
): Promise<readonly DecomposedRow[]> {
  const op = 'decomposeModel';
  const plan = await readDecompositions(op, weights, options);
  const rows = await decomposeShare(op, plan, [...plan.jobs.keys()]);
  return plan.jobs.map((_, i) => rows.get(i) as DecomposedRow);
}

/** The decompositions that the options of `decomposeModel` ask for. */
export function readDecompositions(
  op: string,
  weights: ByName<TensorLike> | SafetensorsFile,
  options: DecomposeModelOptions,
): Promise<Decompositions> {
  const { device, ...given } = checkOptions(op, 'options', options, optionNames);
  // Modules are chosen for a family, but the factors are the same for all.
  const family = { family: 'svdiff', options: device === undefined ? {} : { device } } as const;
  return decompositionsOf(op, weights, { ...given, ...family });
}
