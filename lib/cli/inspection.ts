// What a file or a folder is, and what is in it.
import { stat } from 'node:fs/promises';
import { configName, modelName } from '../files/adapter-config.js';
import { type Content, contentKey, readContent } from '../files/checkpoint-content.js';
import { type CheckpointFile, checkpointsIn } from '../files/checkpoint-folder.js';
import { pathIn } from '../files/folder.js';
import { type GgufHeader, readGguf } from '../files/read-gguf.js';
import { exists } from '../files/readable.js';
import { type InspectedAdapter, inspectAdapters, openSafetensors, type SafetensorsFile } from '../index.js';
import { isRecord } from '../runtime/check.js';
import { readJson } from './checkpoint.js';
import { entriesIn, inspectCache } from './inspect-cache.js';
import { type Column, type Line, table } from './table.js';
import { bytes, count, several, shape } from './text.js';

/** What was found, for programs and for people. */
export interface Inspection {
  readonly answer: object;
  readonly lines: () => readonly Line[];
}

/** A tensor as a file's header describes it. */
interface StoredTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** undefined for a type whose size is not known. */
  readonly bytes: number | undefined;
}

export async function inspectPath(path: string, signal: AbortSignal): Promise<Inspection> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (isFolder) {
    const config = await pathIn(path, configName);
    if (await exists(config)) return inspectAdapter(path, config, signal);
    const [newest, ...older] = await checkpointsIn('inspect', path);
    if (newest !== undefined) return inspectRun(newest, older);
    const entries = await entriesIn(path);
    if (entries.length > 0) return inspectCache(path, entries);
  }
  if (path.endsWith('.gguf')) return ofGguf(path, await readGguf('inspect', path));
  return inspectTensors(path);
}

async function inspectAdapter(folder: string, config: string, signal: AbortSignal): Promise<Inspection> {
  const found = await readJson(config, signal);
  const type = isRecord(found) ? found['peft_type'] : undefined;
  if (type === 'SIGMATUNE') return ofAdapter(folder, await inspectAdapters(folder));
  const file = await openSafetensors(await pathIn(folder, modelName));
  try {
    return ofPeft(folder, found, tensorsOf(file));
  } finally {
    await file.close();
  }
}

/** The newest checkpoint of a folder. */
async function inspectRun(newest: CheckpointFile, older: readonly CheckpointFile[]): Promise<Inspection> {
  const { answer, lines } = await inspectTensors(newest.path);
  const numbers = older.map(({ checkpoint }) => checkpoint);
  return {
    answer: { ...answer, checkpoint: newest.checkpoint, older: numbers },
    lines: () => [...lines(), ...(numbers.length === 0 ? [] : ['', `older checkpoints: ${numbers.join(', ')}`])],
  };
}

async function inspectTensors(path: string): Promise<Inspection> {
  const file = await openSafetensors(path);
  try {
    if (file.metadata[contentKey] !== undefined) return ofCheckpoint(path, readContent('inspect', path, file));
    return ofTensors(path, tensorsOf(file), file.metadata);
  } finally {
    await file.close();
  }
}

function tensorsOf(file: SafetensorsFile): StoredTensor[] {
  return file.names.map((name) => ({ name, ...file.info(name) }));
}

const sizeOf = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

const tensorColumns: readonly Column<StoredTensor>[] = [
  { title: 'tensor', cell: ({ name }) => name },
  { title: 'type', cell: ({ dtype }) => dtype },
  { title: 'shape', number: true, cell: (tensor) => shape(tensor.shape) },
  { title: 'size', number: true, cell: (tensor) => (tensor.bytes === undefined ? '?' : bytes(tensor.bytes)) },
];

/** '3 tensors, 1,234 numbers, 4.9 kB (F32, I64)' */
function tensorSummary(tensors: readonly StoredTensor[]): string {
  const numbers = sum(tensors.map((tensor) => sizeOf(tensor.shape)));
  const types = [...new Set(tensors.map(({ dtype }) => dtype))].join(', ');
  const size = bytes(sum(tensors.map((tensor) => tensor.bytes ?? 0)));
  return `${several(tensors.length, 'tensor')}, ${count(numbers)} numbers, ${size}${types === '' ? '' : ` (${types})`}`;
}

function ofTensors(
  path: string,
  tensors: readonly StoredTensor[],
  metadata: Readonly<Record<string, string>>,
): Inspection {
  return {
    answer: { kind: 'safetensors', path, metadata, tensors },
    lines: () => [
      `${path}: ${tensorSummary(tensors)}`,
      ...Object.entries(metadata).map(([key, value]) => `  ${key}: ${shortened(value)}`),
      '',
      ...table(tensorColumns, tensors),
    ],
  };
}

/** Metadata may hold whole files. */
function shortened(text: string, most = 100): string {
  return text.length > most ? `${text.slice(0, most)}… (${count(text.length)} characters)` : text;
}

const layerColumns: readonly Column<
  Pick<InspectedAdapter, 'name' | 'family' | 'out' | 'in' | 'rank' | 'dtype' | 'parameters'>
>[] = [
  { title: 'layer', cell: ({ name }) => name },
  { title: 'family', cell: ({ family }) => family },
  { title: 'out × in', number: true, cell: (layer) => shape([layer.out, layer.in]) },
  { title: 'rank', number: true, cell: ({ rank }) => count(rank) },
  { title: 'type', cell: ({ dtype }) => dtype },
  { title: 'parameters', number: true, cell: ({ parameters }) => count(parameters) },
];

function ofAdapter(
  path: string,
  { version, layers }: { readonly version: string; readonly layers: readonly InspectedAdapter[] },
): Inspection {
  return {
    answer: { kind: 'adapter', path, version, layers },
    lines: () => {
      const options = new Set(
        layers.map(({ family, options: { name, ...options } }) => `${family} ${JSON.stringify(options)}`),
      );
      const parameters = count(sum(layers.map((layer) => layer.parameters)));
      return [
        `${path}: an adapter of ${several(layers.length, 'layer')}, ${parameters} parameters, saved by sigmatune ${version}`,
        ...[...options].map((each) => `  ${each}`),
        '',
        ...table(layerColumns, layers),
      ];
    },
  };
}

function ofCheckpoint(path: string, { layers: saved }: Content): Inspection {
  const layers = saved.map(({ name, family, out, in: inFeatures, rank, dtype, parameters }) => {
    const sizes = (trainable: boolean) =>
      sum(parameters.filter((each) => each.trainable === trainable).map((each) => sizeOf(each.shape)));
    const [trained, frozen] = [sizes(true), sizes(false)];
    return { name, family, out, in: inFeatures, rank, dtype, parameters: trained + frozen, frozen };
  });
  return {
    answer: { kind: 'checkpoint', path, layers },
    lines: () => {
      const columns = [
        ...layerColumns,
        { title: 'frozen', number: true, cell: ({ frozen }: (typeof layers)[number]) => count(frozen) } as const,
      ];
      const parameters = count(sum(layers.map((layer) => layer.parameters)));
      const what = `a training run of ${several(layers.length, 'layer')}, ${parameters} parameters`;
      return [`${path}: ${what}`, '', ...table(columns, layers)];
    },
  };
}

function ofPeft(path: string, config: unknown, tensors: readonly StoredTensor[]): Inspection {
  return {
    answer: { kind: 'peft', path, config, tensors },
    lines: () => {
      const fields = Object.entries(isRecord(config) ? config : {}).map(
        ([key, value]) => `  ${key}: ${shortened(JSON.stringify(value))}`,
      );
      return [
        `${path}: an adapter of PEFT, ${tensorSummary(tensors)}`,
        ...fields,
        '',
        ...table(tensorColumns, tensors),
      ];
    },
  };
}

function ofGguf(path: string, { version, metadata, tensors }: GgufHeader): Inspection {
  return {
    answer: { kind: 'gguf', path, version, metadata, tensors },
    lines: () => [
      `${path}: GGUF ${version}, ${tensorSummary(tensors)}`,
      ...Object.entries(metadata).map(([key, value]) => `  ${key}: ${shortened(JSON.stringify(value))}`),
      '',
      ...table(tensorColumns, tensors),
    ],
  };
}
