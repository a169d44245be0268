/** The readers of JSON that a file may hold: an index of shards, an adapter's config, a checkpoint's contents. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  AdamW,
  type AdaptedLinear,
  AdaptiveVectorFreezing,
  inspectAdapters,
  loadAdapters,
  loadCheckpoint,
  memory,
  readSafetensors,
  SigmaError,
  SparsityPattern,
  saveAdapters,
  saveCheckpoint,
  siva,
  svft,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import { disposeAll, gaussian, seeded, snapshot } from './helpers.js';
import { perturb } from './layer.js';

export interface JsonReader {
  /** A right document. */
  readonly document: unknown;
  /** The binary file that the document belongs to. */
  readonly companion: Buffer;
  readonly write: (text: string) => void | Promise<void>;
  readonly read: () => Promise<void>;
  /** With which a document may be refused. */
  readonly codes: readonly string[];
}

/** Makes a reader in a folder, of what this version writes, or of the companion of a kept corpus. */
type MakeReader = (folder: string, companion?: Buffer) => Promise<JsonReader>;

/** Shards a and b, and c; the companion is each of them. */
const index: MakeReader = async (folder, companion) => {
  const path = join(folder, 'model.safetensors.index.json');
  const shard = join(folder, '0.safetensors');
  using one = tensor([1, 2]);
  if (companion === undefined)
    await writeSafetensors(
      shard,
      ['a', 'b'].map((name) => [name, one] as const),
    );
  else writeFileSync(shard, companion);
  return {
    document: {
      metadata: { total_size: 16, deep: [{ x: [1.5, null] }] },
      weight_map: { a: '0.safetensors', b: '0.safetensors' },
    },
    companion: readFileSync(shard),
    write: (text) => writeFileSync(path, text),
    read: async () => disposeAll(...(await readSafetensors(path)).tensors.values()),
    // A shard that is not there is an argument's fault.
    codes: ['CORRUPT_FILE', 'INVALID_ARGUMENT'],
  };
};

const adapter: MakeReader = async (folder, companion) => {
  const [path, model] = ['adapter_config.json', 'adapter_model.safetensors'].map((name) => join(folder, name)) as [
    string,
    string,
  ];
  const random = seeded(1);
  const one = gaussian(random, [5, 4], 'float32');
  const other = gaussian(random, [6, 6], 'float32');
  using bias = gaussian(random, [6], 'float32');
  const pattern = SparsityPattern.fromCoordinates([0, 1], [1, 2], 4);
  using first = await svft(one, { pattern });
  using second = await siva(other, { count: 2, bias, strategy: 'lowrank' });
  const options = { rank: 3, pattern: 'random', offDiagonals: 1, seed: 3, microBatches: 2, passBytes: 1000 } as const;
  using third = await svft(other, { ...options, residual: 'keep' });
  for (const layer of [first, second, third] as AdaptedLinear[]) perturb(layer);
  await saveAdapters(folder, { one: first, other: second, third }, { vectors: true });
  const document = JSON.parse(readFileSync(path, 'utf8'));
  if (companion !== undefined) writeFileSync(model, companion);
  return {
    document,
    companion: readFileSync(model),
    write: (text) => writeFileSync(path, text),
    read: async () => {
      await inspectAdapters(folder);
      disposeAll(...Object.values(await loadAdapters(folder, { one, other, third: other })));
    },
    // A changed name, size or SHA-256 asks for other weights than those that are given.
    codes: ['CORRUPT_FILE', 'UNSUPPORTED', 'BASE_MISMATCH', 'INVALID_ARGUMENT'],
  };
};

const checkpoint: MakeReader = async (folder, companion) => {
  const path = join(folder, 'checkpoint.safetensors');
  using weight = gaussian(seeded(1), [5, 4], 'float32');
  const layer = await svft(weight, { pattern: 'banded', offDiagonals: 1 });
  const { parameters } = layer;
  const run = {
    layers: { w: layer as AdaptedLinear },
    optimizer: new AdamW([{ parameters }], { lr: 0.1 }),
    freezing: new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 }),
  };
  for (const { value } of parameters) value.assign(new Float32Array(value.size).fill(0.5));
  await saveCheckpoint(folder, { ...run, extra: { epoch: 3, order: new Int32Array(4), odd: [Number.NaN, -0] } });
  if (companion !== undefined) writeFileSync(path, companion);
  const saved = readFileSync(path);
  const { tensors, metadata } = await readSafetensors(path);
  const state = () => [
    run.optimizer.state(),
    run.freezing.state(),
    parameters.map(({ value, trainable }) => [...snapshot(value), trainable]),
  ];
  const key = 'sigmatune_checkpoint';
  return {
    document: JSON.parse(metadata[key] ?? ''),
    companion: saved,
    // Without the checksum, which would refuse each change.
    write: (text) => writeSafetensors(path, tensors, { metadata: { [key]: text } }),
    read: async () => {
      const before = state();
      try {
        await loadCheckpoint(folder, run);
      } catch (error) {
        if (!isDeepStrictEqual(state(), before)) throw new Error('something is changed');
        throw error;
      }
    },
    codes: ['CORRUPT_FILE', 'UNSUPPORTED', 'BASE_MISMATCH'],
  };
};

export const jsonReaders = { index, adapter, checkpoint };

/** Reads a text: the code of the error and its message, or 'read'. Any other outcome is an error of the reader. */
export async function outcomeOf(reader: JsonReader, text: string): Promise<{ code: string; message: string }> {
  await reader.write(text);
  const { tensors } = memory();
  const began = performance.now();
  const error = await reader.read().then(
    () => undefined,
    (each: unknown) => each,
  );
  if (performance.now() - began > 2000) throw new Error('more than 2 s');
  if (memory().tensors !== tensors) throw new Error(`${memory().tensors - tensors} tensors are left`);
  if (error === undefined) return { code: 'read', message: '' };
  const { codes } = reader;
  if (!(error instanceof SigmaError) || !codes.includes(error.code) || error.message.length > 4000) throw error;
  return { code: error.code, message: error.message };
}
