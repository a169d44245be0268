import type { AdaptedLinear } from '../layers/types.js';
import { AdaptiveVectorFreezing } from '../optim/adaptive-vector-freezing.js';
import type { Optimizer } from '../optim/optimizer.js';
import { type ByName, checkOptions, fail, isRecord, reject, rejectInstance } from '../runtime/check.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import type { NumericArray } from '../runtime/native.js';
import { readLayers } from './adapters.js';
import { parameterKey } from './checkpoint-content.js';
import type { NamedLayers } from './checkpoint-layers.js';
import type { Loaded } from './checkpoint-read.js';

/** A training run: what it takes to go on with it. */
export interface TrainingRun {
  layers: ByName<AdaptedLinear>;
  optimizer: Optimizer;
  freezing?: AdaptiveVectorFreezing;
}

/** The same, checked and read once. */
export interface Run {
  readonly layers: NamedLayers;
  readonly optimizer: Optimizer;
  readonly freezing: AdaptiveVectorFreezing | undefined;
  readonly extra: unknown;
}

export function readRun(op: string, run: unknown): Run {
  if (!isRecord(run)) reject(op, 'run', 'an object { layers, optimizer }', run);
  // `extra` may be null, which options may not.
  const { extra, ...others } = run;
  const { layers, optimizer, freezing } = checkOptions<Record<string, unknown>>(op, 'run', others, [
    'layers',
    'optimizer',
    'freezing',
  ]);
  const isOptimizer =
    isRecord(optimizer) && [optimizer['state'], optimizer['loadState']].every((each) => typeof each === 'function');
  if (!isOptimizer) reject(op, 'run.optimizer', 'an optimiser, with state() and loadState()', optimizer);
  if (freezing !== undefined && !AdaptiveVectorFreezing.is(freezing)) {
    rejectInstance(op, 'run.freezing', 'AdaptiveVectorFreezing', freezing);
  }
  return {
    layers: readLayers(op, 'run.layers', layers),
    optimizer: optimizer as unknown as Optimizer,
    freezing,
    extra,
  };
}

/** Writes all of it. What refuses its state is asked first; what was written before is then taken back. */
export function restore(
  op: string,
  { layers, optimizer, freezing }: Run,
  { states, layers: saved, values }: Loaded,
): void {
  if ((freezing === undefined) !== (states.freezing === null)) {
    const [expected, got] =
      freezing === undefined
        ? ['the AdaptiveVectorFreezing of the saved run', 'none']
        : ['none, as the saved run had none', 'one'];
    fail('BASE_MISMATCH', op, 'run.freezing', expected, got);
  }
  const before = optimizer.state();
  refusing(op, 'run.optimizer', () => optimizer.loadState(states.optimizer));
  try {
    refusing(op, 'run.freezing', () => freezing?.loadState(states.freezing));
  } catch (error) {
    optimizer.loadState(before);
    throw error;
  }
  for (const [name, layer] of layers) {
    const description = saved.find((each) => each.name === name) as Loaded['layers'][number];
    for (const [i, parameter] of layer.parameters.entries()) {
      parameter.value.assign(values.get(parameterKey(op, name, layer, parameter)) as NumericArray);
      parameter.trainable = description.parameters[i]?.trainable === true;
    }
  }
}

/** A state of something that was built in another way is refused as INVALID_ARGUMENT of `state`. */
function refusing(op: string, argument: string, load: () => void): void {
  try {
    load();
  } catch (error) {
    if (!(error instanceof SigmaError) || error.code !== 'INVALID_ARGUMENT') throw error;
    throw new SigmaError(
      'BASE_MISMATCH',
      op,
      `${argument}: built in another way than the saved one (${reasonOf(error)})`,
      error,
    );
  }
}
