// Which files make up a checkpoint: one file, or the shards that an index names.
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { fail } from '../runtime/check.js';
import { corrupt, quoted, system } from './complaints.js';
import { type Entry, type Header, mostHeaderBytes, prefixBytes, readHeader } from './header.js';
import { Malformed } from './json.js';
import { readJson } from './json-file.js';
import { exists, ReadableFile } from './readable.js';

/** Where one tensor's bytes are. */
export interface Located {
  readonly entry: Entry;
  readonly file: ReadableFile;
  /** The first byte in the file. */
  readonly position: number;
}

/** A checkpoint's files, open, and what their headers say. */
export interface Opened {
  readonly files: readonly ReadableFile[];
  readonly names: readonly string[];
  readonly metadata: ReadonlyMap<string, string>;
  find(name: string): Located | undefined;
}

/** One file, and its header. */
interface Shard extends Header {
  readonly file: ReadableFile;
  /** Where its data begins. */
  readonly data: number;
}

const indexName = 'model.safetensors.index.json';
const wholeName = 'model.safetensors';

/** Opens what `path` names: a safetensors file, an index, or a folder that has one of them under its usual name. */
export async function openCheckpoint(op: string, path: string): Promise<Opened> {
  const file = await fileOf(op, path);
  const files: ReadableFile[] = [];
  try {
    return file.endsWith('.json') ? await openShards(op, file, files) : await openWhole(op, file, files);
  } catch (error) {
    await Promise.all(files.map((each) => each.close()));
    throw error;
  }
}

async function fileOf(op: string, path: string): Promise<string> {
  const where = `path ${quoted(path)}`;
  const stats = await system(op, where, 'a safetensors file, an index or a folder with one', stat(path));
  if (!stats.isDirectory()) return path;
  const names = [indexName, wholeName];
  const found: string[] = [];
  for (const name of names) if (await exists(join(path, name))) found.push(name);
  const [name] = found;
  if (name === undefined || found.length > 1) {
    const got =
      name === undefined ? 'a folder with neither' : 'a folder with both: give the path of the one that is meant';
    fail('INVALID_ARGUMENT', op, where, `a file, or a folder with ${names.join(' or ')}`, got);
  }
  return join(path, name);
}

async function openWhole(op: string, path: string, files: ReadableFile[]): Promise<Opened> {
  const file = await ReadableFile.open(op, path);
  files.push(file);
  const shard = await readShard(op, file);
  const { entries, metadata } = shard;
  return { files, names: [...entries.keys()], metadata, find: (name) => locate(shard, name) };
}

function locate({ file, data, entries }: Shard, name: string): Located | undefined {
  const entry = entries.get(name);
  return entry && { entry, file, position: data + entry.begin };
}

async function readShard(op: string, file: ReadableFile): Promise<Shard> {
  const { path, bytes } = file;
  if (bytes < prefixBytes) corrupt(op, path, undefined, `at least ${prefixBytes} bytes`, `${bytes}`);
  const prefix = Buffer.alloc(prefixBytes);
  await file.read(op, prefix, 0);
  const given = prefix.readBigUInt64LE();
  const most = Math.min(mostHeaderBytes, bytes - prefixBytes);
  if (given > most) {
    const why = given > mostHeaderBytes ? `, the limit is ${mostHeaderBytes}` : `: the file has ${bytes} bytes`;
    corrupt(op, path, undefined, `a header of at most ${most} bytes`, `a length of ${given}${why}`);
  }
  const length = Number(given);
  const text = Buffer.alloc(length);
  await file.read(op, text, prefixBytes);
  const data = prefixBytes + length;
  return { file, data, ...readHeader(op, path, text, bytes - data) };
}

async function openShards(op: string, path: string, files: ReadableFile[]): Promise<Opened> {
  const weightMap = await readIndex(op, path);
  const folder = dirname(path);
  const shards = new Map<string, Shard>();
  for (const [tensor, name] of weightMap) {
    if (shards.has(name)) continue;
    const file = await ReadableFile.open(op, await shardPath(op, path, tensor, folder, name));
    files.push(file);
    shards.set(name, await readShard(op, file));
  }
  checkAgreement(op, path, weightMap, shards);
  return {
    files,
    names: [...weightMap.keys()],
    metadata: common([...shards.values()].map(({ metadata }) => metadata)),
    find: (name) => {
      const shard = shards.get(weightMap.get(name) ?? '');
      return shard && locate(shard, name);
    },
  };
}

/** Each shard has exactly the tensors that the index says. */
function checkAgreement(
  op: string,
  path: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, Shard>,
): void {
  for (const [tensor, name] of weightMap) {
    if (shards.get(name)?.entries.has(tensor)) continue;
    corrupt(op, path, tensor, `${quoted(name)} to have it`, 'a shard without it');
  }
  for (const [name, { entries }] of shards) {
    for (const tensor of entries.keys()) {
      const named = weightMap.get(tensor);
      if (named === name) continue;
      const got = named === undefined ? 'an index without it' : `${quoted(named)} in the index`;
      corrupt(op, path, tensor, `${quoted(name)}, which has it`, got);
    }
  }
}

/** The weight map of an index: the shard of each tensor. */
async function readIndex(op: string, path: string): Promise<Map<string, string>> {
  const weightMap = new Map<string, string>();
  await readJson(op, path, (json) => {
    let mapped = false;
    json.object('an object with weight_map', (key) => {
      if (key !== 'weight_map') {
        json.value();
        return;
      }
      mapped = true;
      const readOne = (tensor: string) => {
        weightMap.set(tensor, json.string('the name of a shard in quotes'));
      };
      json.object('weight_map to be an object', readOne, (tensor) => weightMap.has(tensor));
    });
    if (!mapped) throw new Malformed('an object with weight_map', 'one without');
  });
  return weightMap;
}

/** The real path of a shard, which must be in the index's folder. */
async function shardPath(op: string, index: string, tensor: string, folder: string, shard: string): Promise<string> {
  const parts = shard.split(/[/\\]/);
  if (shard === '' || isAbsolute(shard) || parts.includes('..') || shard.includes('\0') || /^[A-Za-z]:/.test(shard)) {
    corrupt(op, index, tensor, "a shard's path inside of the index's folder", quoted(shard));
  }
  const path = join(folder, shard);
  const real = await system(op, `path ${quoted(path)}`, 'the shard that the index names', realpath(path));
  const roots = await rootsOf(folder);
  if (!roots.some((root) => isInside(root, real))) {
    corrupt(op, index, tensor, `${quoted(shard)} inside of the index's folder`, `a link to ${quoted(real)}`);
  }
  return real;
}

/** The folders in which shards may be. In Hugging Face's cache, snapshots/<revision>/ has links to files in blobs/. */
async function rootsOf(folder: string): Promise<string[]> {
  const root = await realpath(folder);
  const parent = dirname(root);
  return basename(parent) === 'snapshots' ? [root, join(dirname(parent), 'blobs')] : [root];
}

function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** What all shards say alike. */
function common(all: readonly ReadonlyMap<string, string>[]): Map<string, string> {
  const [first = new Map<string, string>(), ...rest] = all;
  return new Map([...first].filter(([key, value]) => rest.every((each) => each.get(key) === value)));
}
