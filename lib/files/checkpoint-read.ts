// Finds a checkpoint of a folder and reads all of it.
import { fail, isRecord } from '../runtime/check.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import type { NumericArray } from '../runtime/native.js';
import { checkChecksum } from './checkpoint-checksum.js';
import { type Description, parameterKey, readContent } from './checkpoint-content.js';
import { type CheckpointFile, checkpointsIn, singleIn } from './checkpoint-folder.js';
import { checkLayers, type NamedLayers } from './checkpoint-layers.js';
import { corrupt, quoted, systemCode } from './complaints.js';
import { unpack } from './packed.js';
import { openNamed } from './safetensors.js';
import { readNumbers } from './stored.js';

/** What is read of a checkpoint before anything is written. */
export interface Loaded {
  readonly states: { readonly optimizer: unknown; readonly freezing: unknown };
  readonly extra: unknown;
  readonly layers: readonly Description[];
  /** By the names of the tensors. */
  readonly values: ReadonlyMap<string, NumericArray>;
}

/** Attempts to read the newest checkpoint while another process removes it. */
const attempts = 5;

/** Reads the checkpoint of a number, or the newest, or if `skips` the newest that is whole. */
export async function readChosen(
  op: string,
  folder: string,
  wanted: number | undefined,
  skips: boolean,
  layers: NamedLayers,
): Promise<Loaded> {
  for (let attempt = 1; ; attempt++) {
    const all = await checkpointsIn(op, folder);
    // Opening what is missing says why.
    const files = all.length === 0 ? [{ checkpoint: 0, path: singleIn(folder) }] : all;
    const chosen = wanted === undefined ? files : files.filter((each) => each.checkpoint === wanted);
    if (chosen.length === 0) {
      const expected = `one of ${files.map((each) => each.checkpoint).join(', ')}, as ${quoted(folder)} has`;
      fail('INVALID_ARGUMENT', op, 'options.checkpoint', expected, `${wanted}`);
    }
    try {
      return await readFirst(op, chosen, skips, files, layers);
    } catch (error) {
      const removed = error instanceof SigmaError && systemCode(error.detail) === 'ENOENT' && all.length > 0;
      if (!removed || attempt === attempts) throw error;
    }
  }
}

/** Reads the first of the files, or if `skips` the first that is whole. */
async function readFirst(
  op: string,
  files: readonly CheckpointFile[],
  skips: boolean,
  all: readonly CheckpointFile[],
  layers: NamedLayers,
): Promise<Loaded> {
  const errors: SigmaError[] = [];
  for (const { path } of skips ? files : files.slice(0, 1)) {
    try {
      return await readCheckpoint(op, path, layers);
    } catch (error) {
      if (!(error instanceof SigmaError) || error.code !== 'CORRUPT_FILE') throw error;
      errors.push(error);
    }
  }
  const others = all.filter((each) => !files.slice(0, errors.length).includes(each));
  throw await withWayOut(op, errors[0] as SigmaError, others);
}

/** The error of a damaged file, and which checkpoint of the folder is whole. */
async function withWayOut(op: string, error: SigmaError, files: readonly CheckpointFile[]): Promise<SigmaError> {
  for (const { checkpoint, path } of files) {
    const file = await openNamed(op, path).catch(() => undefined);
    try {
      if (file === undefined) continue;
      readContent(op, path, file);
      await checkChecksum(op, path, file);
    } catch {
      continue;
    } finally {
      await file?.close();
    }
    const wayOut = `checkpoint ${checkpoint} is whole: options.checkpoint takes it, options.skipDamaged the newest whole one`;
    return new SigmaError(error.code, op, `${reasonOf(error)} (${wayOut})`, error.detail);
  }
  return error;
}

async function readCheckpoint(op: string, path: string, layers: NamedLayers): Promise<Loaded> {
  const file = await openNamed(op, path);
  try {
    const content = readContent(op, path, file);
    await checkChecksum(op, path, file);
    await checkLayers(op, path, file, layers, content.layers);
    const arrays = new Map<string, NumericArray>();
    for (const name of file.names.filter((each) => each.startsWith('arrays.')))
      arrays.set(name, await readNumbers(op, file, name));
    const values = new Map<string, NumericArray>();
    for (const [name, layer] of layers) {
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
    return { states, extra, layers: content.layers, values };
  } finally {
    await file.close();
  }
}
