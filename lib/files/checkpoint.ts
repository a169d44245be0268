import { mkdir, stat } from 'node:fs/promises';
import { checkBoolean, checkInteger, checkOptions } from '../runtime/check.js';
import type { NumericArray } from '../runtime/native.js';
import { dtypeOf } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Sink } from './atomic.js';
import { withChecksum } from './checkpoint-checksum.js';
import {
  contentNotes,
  type DescribedParameter,
  type Description,
  parameterKey,
  sketchKey,
} from './checkpoint-content.js';
import { checkpointsIn, writeNumbered, writeSingle } from './checkpoint-folder.js';
import { describeLayer, parametersOf } from './checkpoint-layers.js';
import { readChosen } from './checkpoint-read.js';
import { quoted, system } from './complaints.js';
import { directionsOf } from './identity.js';
import { pack } from './packed.js';
import { checkHost, checkPath } from './safetensors.js';
import { sketchTensors } from './stored.js';
import { readRun, restore, type TrainingRun } from './training-run.js';
import { writeTensors } from './write-safetensors.js';

export interface SaveCheckpointOptions {
  /**
   * Saves under a new number, `checkpoint-000001.safetensors` and so on, and keeps as many numbered checkpoints of the folder
   * as this. Older ones are removed when the new one is whole and on the disk. Default: `checkpoint.safetensors` is replaced.
   */
  keep?: number;
}

export interface LoadCheckpointOptions {
  /** The number of the checkpoint to load, as `listCheckpoints` shows it. Default: the newest. */
  checkpoint?: number;
  /** Takes the newest checkpoint that is whole, if newer ones are damaged. Default false: that is CORRUPT_FILE. */
  skipDamaged?: boolean;
}

/**
 * Saves a training run: the trained numbers, the optimiser's state, who is frozen, and plain data of your own. It is one file
 * of the folder, `checkpoint.safetensors`, which is replaced atomically; with `keep` a new numbered file. A process that is
 * killed leaves the last checkpoint. Save between two steps: gradients are not saved.
 *
 * The first save of a layer computes a SHA-256 of its base weight. Later saves use it again, so they cost what the trained
 * numbers cost.
 *
 * @param run `extra` is plain data (epoch, order of the data, state of a random generator): JSON, typed arrays, and numbers
 * that JSON lacks. It comes back as it was.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, also for `extra` that is no plain data, for a folder that cannot be
 * written (the system's error is the detail), and without `keep` for a folder with numbered checkpoints; DISPOSED, NATIVE for
 * a full disk
 * @example
 * await saveCheckpoint('run', { layers: { fc1, fc2 }, optimizer, extra: { epoch: 3 } }, { keep: 3 });
 */
export async function saveCheckpoint(
  folder: string,
  run: TrainingRun & { extra?: unknown },
  options?: SaveCheckpointOptions,
): Promise<void> {
  const op = 'saveCheckpoint';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const { keep: kept } = checkOptions(op, 'options', options, ['keep']);
  if (kept !== undefined) checkInteger(op, 'options.keep', kept, 1);
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
      const { sketch } = await directionsOf(op, layer, undefined);
      for (const [side, tensor] of sketchTensors(op, sketch, layer.anatomy(op).terms.dtype)) {
        own(sketchKey(name, side), tensor);
      }
    }
    const notes = await withChecksum(op, tensors, contentNotes({ layers: descriptions, ...states }));
    await system(op, `folder ${quoted(folder)}`, 'a folder that can be written', mkdir(folder, { recursive: true }));
    const fill = (file: Sink) => writeTensors(op, file, tensors, notes);
    await (kept === undefined ? writeSingle(op, folder, fill) : writeNumbered(op, folder, kept, fill));
  } finally {
    for (const [, tensor] of tensors) tensor.dispose();
  }
}

/**
 * Goes on with a run that `saveCheckpoint` saved: writes the trained numbers, the optimiser's state and who is frozen into
 * objects that were built in the same way, and returns `extra`. On the same machine the run then goes on to the bit as if it
 * had not been interrupted. If anything does not fit, nothing is changed. Of several checkpoints the newest is taken.
 *
 * @throws SigmaError (as a rejection) BASE_MISMATCH if a layer, its base weight, its singular vectors or the optimiser are
 * others, CORRUPT_FILE (the message names the newest checkpoint that is whole), UNSUPPORTED for a newer format,
 * INVALID_ARGUMENT for a folder that cannot be read or a number that it does not have
 * @example
 * const { epoch } = await loadCheckpoint('run', { layers: { fc1, fc2 }, optimizer });
 */
export async function loadCheckpoint(
  folder: string,
  run: TrainingRun,
  options?: LoadCheckpointOptions,
): Promise<unknown> {
  const op = 'loadCheckpoint';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const { checkpoint, skipDamaged } = checkOptions(op, 'options', options, ['checkpoint', 'skipDamaged']);
  if (checkpoint !== undefined) checkInteger(op, 'options.checkpoint', checkpoint, 0, Number.MAX_SAFE_INTEGER);
  const skips = checkBoolean(op, 'options.skipDamaged', skipDamaged ?? false);
  const given = readRun(op, run);
  const loaded = await readChosen(op, folder, checkpoint, skips, given.layers);
  restore(op, given, loaded);
  return loaded.extra;
}

/** A checkpoint of a folder. */
export interface ListedCheckpoint {
  /** The number, for the option `checkpoint` of `loadCheckpoint`; 0 for `checkpoint.safetensors`. */
  readonly checkpoint: number;
  readonly path: string;
  readonly bytes: number;
  /** When it was saved. */
  readonly saved: Date;
}

/**
 * The checkpoints of a folder, the newest first, without reading them; none if there is no folder.
 *
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT for a folder that cannot be read (the system's error is the detail)
 * @example
 * console.table(await listCheckpoints('run'));
 */
export async function listCheckpoints(folder: string): Promise<readonly ListedCheckpoint[]> {
  const op = 'listCheckpoints';
  checkPath(op, 'folder', folder);
  const listed: ListedCheckpoint[] = [];
  for (const { checkpoint, path } of await checkpointsIn(op, folder)) {
    // Another process may have removed it.
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) listed.push({ checkpoint, path, bytes: found.size, saved: found.mtime });
  }
  return listed;
}
