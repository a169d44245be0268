// The shapes of a model's weights: from a checkpoint's header, or from JSON.
import { open, readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { openSafetensors, type SafetensorsFile } from '../index.js';
import { isRecord } from '../runtime/check.js';
import { Failure } from './failures.js';

export const fileHelp =
  'FILE is a safetensors file, its index, a folder with one of them, or JSON with shapes by name: {"fc1.weight": [512, 784]}.\n"-" reads such JSON from stdin.';

/** Shapes by the names of the weights; and how many tensors the file has that are no weights. */
export interface Shapes {
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** Tensors that no layer can take: integers, float8, a dimension of 0. */
  readonly others: number;
}

/** The types of the format that a layer can be made of. */
const weightTypes = ['F64', 'F32', 'BF16', 'F16'];

export function weightNames(file: SafetensorsFile): readonly string[] {
  return file.names.filter((name) => {
    const { dtype, shape } = file.info(name);
    return weightTypes.includes(dtype) && !shape.includes(0);
  });
}

export async function readShapes(path: string, signal: AbortSignal): Promise<Shapes> {
  if (path === '-' || path.endsWith('.json')) {
    const found = parseShapes(path, await readText(path, signal));
    if (found !== undefined) return { shapes: found, others: 0 };
  }
  const file = await openSafetensors(path);
  try {
    const names = weightNames(file);
    const shapes = Object.fromEntries(names.map((name) => [name, file.info(name).shape]));
    return { shapes, others: file.names.length - names.length };
  } finally {
    await file.close();
  }
}

/** JSON of the command line's files. */
export async function readJson(path: string, signal: AbortSignal): Promise<unknown> {
  return parsed(path, await readText(path, signal));
}

async function readText(path: string, signal: AbortSignal): Promise<string> {
  if (path === '-') return textOf(addAbortSignal(signal, process.stdin));
  const handle = await open(path);
  try {
    // A device may never end.
    const stats = await handle.stat();
    if (!stats.isFile() && !stats.isFIFO()) throw new Failure(`'${path}': expected a file, got a folder or a device`);
    return await readFile(handle, { encoding: 'utf8', signal });
  } finally {
    await handle.close();
  }
}

/** As messages name a file. */
const called = (path: string) => (path === '-' ? 'stdin' : `'${path}'`);

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure(`${called(path)}: expected JSON, got ${(error as Error).message}`);
  }
}

/** undefined for the index of a sharded checkpoint. */
function parseShapes(path: string, text: string): Readonly<Record<string, number[]>> | undefined {
  const value = parsed(path, text);
  if (isRecord(value) && isRecord(value['weight_map'])) return undefined;
  const isShape = (each: unknown) =>
    Array.isArray(each) && each.every((size) => Number.isSafeInteger(size) && size > 0);
  if (!isRecord(value)) throw new Failure(`${called(path)}: expected an object of shapes by name, got other JSON`);
  for (const [name, each] of Object.entries(value)) {
    if (isShape(each)) continue;
    throw new Failure(`${called(path)}, '${name}': expected a shape [out, in], got ${JSON.stringify(each)}`);
  }
  return value as Record<string, number[]>;
}
