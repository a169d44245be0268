import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdaptedLinear } from '../layers/types.js';
import { AdaptiveVectorFreezing } from '../optim/adaptive-vector-freezing.js';
import type { Optimizer } from '../optim/optimizer.js';
import { checkOptions, fail, isRecord, reject, rejectInstance } from '../runtime/check.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import type { NumericArray } from '../runtime/native.js';
import { dtypeOf } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { readLayers } from './adapters.js';
import { writeAtomically } from './atomic.js';
import {
  contentNotes,
  type DescribedParameter,
  type Description,
  parameterKey,
  readContent,
  sketchKey,
} from './checkpoint-content.js';
import { checkLayers, describeLayer, type NamedLayers, parametersOf, sketchOfLayer } from './checkpoint-layers.js';
import { corrupt, quoted, system } from './complaints.js';
import { pack, unpack } from './packed.js';
import { checkHost, checkPath, openNamed } from './safetensors.js';
import { readNumbers, sketchTensors } from './stored.js';
import { writeTensors } from './write-safetensors.js';

const fileName = 'checkpoint.safetensors';

/** A training run: what it takes to go on with it. */
export interface TrainingRun {
  layers: Readonly<Record<string, AdaptedLinear>> | ReadonlyMap<string, AdaptedLinear>;
  optimizer: Optimizer;
  freezing?: AdaptiveVectorFreezing;
}

/**
 * Saves a training run: the trained numbers, the optimiser's state, who is frozen, and plain data of your own. It is one file,
 * `checkpoint.safetensors` in the folder, which is replaced atomically: a process that is killed leaves the last checkpoint.
 * Save between two steps: gradients are not saved.
 *
 * @param run `extra` is plain data (epoch, order of the data, state of a random generator): JSON, typed arrays, and numbers
 * that JSON lacks. It comes back as it was.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, also for `extra` that is no plain data and a folder that cannot be
 * written (the system's error is the detail), DISPOSED, NATIVE for a full disk
 * @example
 * await saveCheckpoint('run', { layers: { fc1, fc2 }, optimizer, extra: { epoch: 3 } });
 */
export async function saveCheckpoint(folder: string, run: TrainingRun & { extra?: unknown }): Promise<void> {
  const op = 'saveCheckpoint';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const { layers, optimizer, freezing, extra } = readRun(op, run);
  const tensors: [string, Tensor][] = [];
  const own = (key: string, tensor: Tensor) => void tensors.push([key, keep(tensor)]);
  const keepArray = (array: NumericArray) => {
    const key = `arrays.${tensors.length}`;
    own(
      key,
      Tensor.make<'float64', readonly number[]>(op, dtypeOf(array) as 'float64', array.slice() as Float64Array, [
        array.length,
      ]),
    );
    return key;
  };
  try {
    // All that may change is copied before the first pause.
    const parameters = layers.map(([, layer]) => parametersOf(op, layer));
    for (const [name, layer] of layers) {
      for (const parameter of layer.parameters) {
        const { value } = parameter;
        own(parameterKey(op, name, layer, parameter), value.cast(value.dtype));
      }
    }
    const states = {
      optimizer: pack(op, 'run.optimizer.state()', optimizer.state(), keepArray),
      freezing: freezing === undefined ? null : pack(op, 'run.freezing.state()', freezing.state(), keepArray),
      extra: extra === undefined ? null : { value: pack(op, 'run.extra', extra, keepArray) },
    };
    const descriptions: Description[] = [];
    for (const [i, [name, layer]] of layers.entries()) {
      descriptions.push(await describeLayer(op, name, layer, parameters[i] as readonly DescribedParameter[]));
      const { sketch } = await sketchOfLayer(op, layer);
      for (const [side, tensor] of sketchTensors(op, sketch, layer.anatomy(op).terms.u.dtype)) {
        own(sketchKey(name, side), tensor);
      }
    }
    const notes = contentNotes({ layers: descriptions, ...states });
    await system(op, `folder ${quoted(folder)}`, 'a folder that can be written', mkdir(folder, { recursive: true }));
    await writeAtomically(op, join(folder, fileName), undefined, (file) => writeTensors(op, file, tensors, notes));
  } finally {
    for (const [, tensor] of tensors) tensor.dispose();
  }
}

/**
 * Goes on with a run that `saveCheckpoint` saved: writes the trained numbers, the optimiser's state and who is frozen into
 * objects that were built in the same way, and returns `extra`. On the same machine the run then goes on to the bit as if it
 * had not been interrupted. If anything does not fit, nothing is changed.
 *
 * @throws SigmaError (as a rejection) BASE_MISMATCH if a layer, its base weight, its singular vectors or the optimiser are
 * others, CORRUPT_FILE, UNSUPPORTED for a newer format, INVALID_ARGUMENT for a folder that cannot be read
 * @example
 * const { epoch } = await loadCheckpoint('run', { layers: { fc1, fc2 }, optimizer });
 */
export async function loadCheckpoint(folder: string, run: TrainingRun): Promise<unknown> {
  const op = 'loadCheckpoint';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const given = readRun(op, run);
  const path = join(folder, fileName);
  const file = await openNamed(op, path);
  try {
    const content = readContent(op, path, file);
    await checkLayers(op, path, file, given.layers, content.layers);
    const arrays = new Map<string, NumericArray>();
    for (const name of file.names.filter((each) => each.startsWith('arrays.')))
      arrays.set(name, await readNumbers(op, file, name));
    const values = new Map<string, NumericArray>();
    for (const [name, layer] of given.layers) {
      for (const parameter of layer.parameters) {
        const key = parameterKey(op, name, layer, parameter);
        values.set(key, await readNumbers(op, file, key));
      }
    }
    const found = (packed: unknown) =>
      unpack(
        packed,
        (key) => arrays.get(key),
        (expected, got) => corrupt(op, path, undefined, expected, got),
      );
    const states = { optimizer: found(content.optimizer), freezing: found(content.freezing) };
    const extra = isRecord(content.extra) ? found(content.extra['value']) : undefined;
    restore(op, given, states, content.layers, values);
    return extra;
  } finally {
    await file.close();
  }
}

interface Run {
  readonly layers: NamedLayers;
  readonly optimizer: Optimizer;
  readonly freezing: AdaptiveVectorFreezing | undefined;
  readonly extra: unknown;
}

function readRun(op: string, run: unknown): Run {
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
function restore(
  op: string,
  { layers, optimizer, freezing }: Run,
  states: { optimizer: unknown; freezing: unknown },
  saved: readonly Description[],
  values: ReadonlyMap<string, NumericArray>,
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
    const description = saved.find((each) => each.name === name) as Description;
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
