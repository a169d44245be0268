import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Adapter } from '../layers/adapter.js';
import { aligned, frameOf, patternCoordinates, probes, type Sketch, sketchOf } from '../layers/frame.js';
import type { AdaptedLinear } from '../layers/types.js';
import { AdaptiveVectorFreezing } from '../optim/adaptive-vector-freezing.js';
import type { Optimizer } from '../optim/optimizer.js';
import { checkOptions, describe, fail, isArray, isRecord, reject, rejectInstance } from '../runtime/check.js';
import { libraryVersion } from '../runtime/device.js';
import { SigmaError } from '../runtime/errors.js';
import type { NumericArray, RealArray } from '../runtime/native.js';
import { dtypeOf, vectorType } from '../tensor/dtype.js';
import { numbersOf } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { readLayers, roleOf } from './adapters.js';
import { writeAtomically } from './atomic.js';
import { corrupt, quoted, system } from './complaints.js';
import { fingerprintOf } from './fingerprint.js';
import { JsonReader, Malformed } from './json.js';
import { pack, unpack } from './packed.js';
import { checkHost, checkPath, openNamed, type SafetensorsFile } from './safetensors.js';
import { tolerances } from './tolerances.js';
import { writeTensors } from './write-safetensors.js';

const fileName = 'checkpoint.safetensors';
const formatVersion = 1;
const sketchSeed = 1;

/** A training run: what it takes to go on with it. */
export interface TrainingRun {
  layers: Readonly<Record<string, AdaptedLinear>> | ReadonlyMap<string, AdaptedLinear>;
  optimizer: Optimizer;
  freezing?: AdaptiveVectorFreezing;
}

/** What a layer must have in common with the one that was saved. */
interface Description {
  readonly name: string;
  readonly family: string;
  readonly out: number;
  readonly in: number;
  readonly rank: number;
  readonly dtype: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly trainable: boolean;
  }[];
  /** Of the base weight, if it could be reached. */
  readonly weight: string | null;
  readonly bias: string | null;
  /** SHA-256 of the coordinates of M; null for a core that is dense or has no M. */
  readonly pattern: string | null;
  readonly rectified: boolean;
  /** Whether W' has the directions beyond the truncated rank. */
  readonly whole: boolean;
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
    for (const [name, layer] of layers) {
      for (const parameter of layer.parameters) {
        const { value } = parameter;
        own(keyOf(name, roleOf(layer, op, parameter.name)), value.cast(value.dtype));
      }
    }
    const states = {
      optimizer: pack(op, 'run.optimizer.state()', optimizer.state(), keepArray),
      freezing: freezing === undefined ? null : pack(op, 'run.freezing.state()', freezing.state(), keepArray),
      extra: extra === undefined ? null : { value: pack(op, 'run.extra', extra, keepArray) },
    };
    const descriptions: Description[] = [];
    const flags = layers.map(([, layer]) => layer.parameters.map(({ trainable }) => trainable));
    for (const [i, [name, layer]] of layers.entries()) {
      descriptions.push(await describeLayer(op, name, layer, flags[i] as boolean[]));
      const { left, right } = await sketchOfLayer(op, layer);
      const dtype = vectorType(layer.anatomy(op).terms.u.dtype);
      const sketched = (numbers: RealArray) =>
        Tensor.make(op, dtype, numbers as never, [probes, numbers.length / probes]);
      own(keyOf(name, 'sigmatune', 'left'), sketched(left));
      own(keyOf(name, 'sigmatune', 'right'), sketched(right));
    }
    const content = {
      format_version: formatVersion,
      library_version: libraryVersion(),
      layers: descriptions,
      ...states,
    };
    const notes = new Map([
      ['format', 'pt'],
      ['sigmatune_checkpoint', JSON.stringify(content)],
    ]);
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
      arrays.set(name, await numbersIn(op, file, name));
    const values = new Map<string, NumericArray>();
    for (const [name, layer] of given.layers) {
      for (const parameter of layer.parameters) {
        const key = keyOf(name, roleOf(layer, op, parameter.name));
        values.set(key, await numbersIn(op, file, key));
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
  readonly layers: readonly (readonly [string, Adapter])[];
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

const keyOf = (layer: string, ...parts: readonly string[]) => ['layers', layer, ...parts].join('.');

async function describeLayer(
  op: string,
  name: string,
  layer: Adapter,
  trainable: readonly boolean[],
): Promise<Description> {
  const { terms, base } = layer.anatomy(op);
  const weight = base.weight();
  const coordinates = terms.core?.pattern && patternCoordinates(terms);
  return {
    name,
    family: layer.family,
    out: layer.outFeatures,
    in: layer.inFeatures,
    rank: layer.rank,
    dtype: terms.u.dtype,
    parameters: layer.parameters.map((parameter, i) => {
      return {
        name: roleOf(layer, op, parameter.name),
        shape: parameter.value.shape,
        trainable: trainable[i] as boolean,
      };
    }),
    pattern: coordinates
      ? createHash('sha256').update(coordinates.rows).update(coordinates.columns).digest('hex')
      : null,
    rectified: terms.rectified,
    whole: terms.base !== undefined || base.original !== undefined,
    weight: weight === undefined ? null : await fingerprintOf(op, weight, undefined),
    bias: base.bias === undefined ? null : await fingerprintOf(op, base.bias, undefined),
  };
}

async function sketchOfLayer(op: string, layer: Adapter): Promise<Sketch> {
  const anatomy = layer.anatomy(op);
  return sketchOf(op, anatomy, frameOf(op, anatomy), sketchSeed, undefined);
}

interface Content {
  readonly layers: readonly Description[];
  readonly optimizer: unknown;
  readonly freezing: unknown;
  readonly extra: unknown;
}

function readContent(op: string, path: string, file: SafetensorsFile): Content {
  const text = file.metadata['sigmatune_checkpoint'];
  if (text === undefined) corrupt(op, path, undefined, "metadata of the name 'sigmatune_checkpoint'", 'none');
  let content: unknown;
  try {
    const json = new JsonReader(Buffer.from(text));
    content = json.value();
    json.end();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    corrupt(op, path, undefined, error.expected, error.got);
  }
  if (!isRecord(content)) return corrupt(op, path, undefined, 'an object', describe(content));
  const { format_version: version, library_version: library, layers, optimizer, freezing, extra } = content;
  if (typeof version !== 'number') corrupt(op, path, undefined, 'format_version to be a number', describe(version));
  if (version > formatVersion) {
    const got = `version ${version}, which sigmatune ${String(library)} wrote: update this package`;
    fail('UNSUPPORTED', op, `${quoted(path)}, format_version`, `at most ${formatVersion}`, got);
  }
  if (!isArray(layers) || !layers.every((each) => isRecord(each) && typeof each['name'] === 'string')) {
    corrupt(op, path, undefined, 'a list of layers', describe(layers));
  }
  return { layers: layers as Description[], optimizer, freezing, extra };
}

/** BASE_MISMATCH if a layer was not built as the saved one. */
async function checkLayers(
  op: string,
  path: string,
  file: SafetensorsFile,
  layers: Run['layers'],
  saved: readonly Description[],
) {
  const own = layers.map(([name]) => name);
  const missing =
    saved.find(({ name }) => !own.includes(name))?.name ??
    own.find((name) => saved.every((each) => each.name !== name));
  if (missing !== undefined) {
    const got = own.includes(missing)
      ? `${quoted(missing)}, which it does not have`
      : `none of the name ${quoted(missing)}`;
    fail('BASE_MISMATCH', op, 'run.layers', `the ${saved.length} layers of the checkpoint`, got);
  }
  for (const [name, layer] of layers) {
    const wanted = saved.find((each) => each.name === name) as Description;
    const found = await describeLayer(op, name, layer, []);
    compare(op, name, wanted, found);
    for (const { name: role, shape } of found.parameters) {
      const key = keyOf(name, role);
      if (!file.names.includes(key)) corrupt(op, path, key, 'it', 'a file without it');
      if (String(file.info(key).shape) !== String(shape))
        corrupt(op, path, key, `shape [${shape.join(', ')}]`, describe([...file.info(key).shape]));
    }
    await compareVectors(op, path, file, name, layer);
  }
}

function compare(op: string, name: string, wanted: Description, found: Description): void {
  const where = `run.layers[${quoted(name)}]`;
  const keys = ['family', 'out', 'in', 'rank', 'dtype', 'pattern', 'rectified', 'whole'] as const;
  for (const key of keys) {
    if (wanted[key] !== found[key])
      fail('BASE_MISMATCH', op, where, `${key} ${describe(wanted[key])}, as the saved layer has`, describe(found[key]));
  }
  const parameters = ({ parameters: list }: Description) =>
    (isArray(list) ? list : []).map((each) => `${each?.name} [${each?.shape}]`).join(', ');
  if (parameters(wanted) !== parameters(found))
    fail('BASE_MISMATCH', op, where, `the parameters ${parameters(wanted)}`, parameters(found));
  for (const key of ['weight', 'bias'] as const) {
    const known = key === 'bias' || (wanted.weight !== null && found.weight !== null);
    if (known && wanted[key] !== found[key]) {
      fail(
        'BASE_MISMATCH',
        op,
        where,
        `the ${key} that the saved layer was made with`,
        found[key] === null ? 'none' : 'another',
      );
    }
  }
}

/** The singular vectors must be the same, signs and all: moments of an optimiser belong to them, too. */
async function compareVectors(
  op: string,
  path: string,
  file: SafetensorsFile,
  name: string,
  layer: Adapter,
): Promise<void> {
  const anatomy = layer.anatomy(op);
  const frame = frameOf(op, anatomy);
  const found = await sketchOf(op, anatomy, frame, sketchSeed, undefined);
  const read = async (side: 'left' | 'right') => {
    const key = keyOf(name, 'sigmatune', side);
    if (!file.names.includes(key)) corrupt(op, path, key, 'it', 'a file without it');
    const { shape } = file.info(key);
    const wanted = [probes, frame[side].length];
    if (String(shape) !== String(wanted)) corrupt(op, path, key, `shape [${wanted.join(', ')}]`, describe([...shape]));
    return (await numbersIn(op, file, key)) as RealArray;
  };
  const alignment = aligned(op, anatomy, frame, found, { left: await read('left'), right: await read('right') });
  const turned = alignment.left.filter((sign, i) => sign < 0 || (alignment.right[i] as number) < 0).length;
  const off = Math.max(
    ...frame.left.map((i) => alignment.leftOff[i] as number),
    ...frame.right.map((j) => alignment.rightOff[j] as number),
  );
  if (turned === 0 && off <= tolerances[anatomy.terms.u.dtype]) return;
  const got = turned > 0 ? `others: ${turned} of them with another sign` : `others: off by ${off.toPrecision(2)}`;
  const wayOut = 'give the layer the decomposition of the first run as its option factors';
  fail(
    'BASE_MISMATCH',
    op,
    `run.layers[${quoted(name)}]`,
    'the singular vectors that the saved layer had',
    `${got} (${wayOut})`,
  );
}

async function numbersIn(op: string, file: SafetensorsFile, key: string): Promise<NumericArray> {
  const tensor = await file.readAs(op, key, undefined);
  try {
    return numbersOf(op, key, tensor).slice();
  } finally {
    tensor.dispose();
  }
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
      parameter.value.assign(values.get(keyOf(name, roleOf(layer, op, parameter.name))) as NumericArray);
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
    const message = error.message.slice(`${error.op}: `.length);
    throw new SigmaError(
      'BASE_MISMATCH',
      op,
      `${argument}: built in another way than the saved one (${message})`,
      error,
    );
  }
}
