// The weights of a model: an open checkpoint, or shapes as JSON.
import { open, readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { openSafetensors, type SafetensorsFile } from '../index.js';
import { isRecord } from '../runtime/check.js';
import { Failure } from './failures.js';
import { several } from './text.js';

/** What `planModel` takes. */
export type Weights = SafetensorsFile | Shapes;
type Shapes = Readonly<Record<string, readonly number[]>>;

export const fileHelp =
  'FILE is a safetensors file, its index, a folder with one of them, or JSON with shapes by name: {"fc1.weight": [512, 784]}.\n"-" reads such JSON from stdin.';

/** Runs `body` with the weights in a file, which is closed afterwards. */
export async function withWeights<T>(
  path: string,
  signal: AbortSignal,
  body: (weights: Weights) => Promise<T>,
): Promise<T> {
  if (path === '-' || path.endsWith('.json')) {
    const shapes = shapesOf(path, await readText(path, signal));
    if (shapes !== undefined) return body(shapes);
  }
  return withCheckpoint(path, body);
}

/** Runs `body` with an open checkpoint. */
export async function withCheckpoint<T>(path: string, body: (file: SafetensorsFile) => Promise<T>): Promise<T> {
  const file = await openSafetensors(path);
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

/** The types of the format that a layer can be made of. */
const weightTypes = ['F64', 'F32', 'BF16', 'F16'];

/** The numbers in all weights, and how many tensors of a file are none. */
export function sizeOf(weights: Weights): { readonly numbers: number; readonly others: number } {
  const isFile = (each: Weights): each is SafetensorsFile => 'names' in each && typeof each['info'] === 'function';
  const all = isFile(weights)
    ? weights.names.map((name) => weights.info(name))
    : Object.values(weights).map((shape) => ({ shape, dtype: 'F32' }));
  const floats = all.filter(({ dtype }) => weightTypes.includes(dtype));
  const numbers = floats.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  return { numbers, others: all.length - floats.length };
}

/** A remark about tensors that no layer can take. */
export function othersRemark(others: number): string {
  return `Left out: ${several(others, 'tensor')} of integers or of another type that no layer takes.`;
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
function shapesOf(path: string, text: string): Shapes | undefined {
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
