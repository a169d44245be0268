// What is in a cache of factors.
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemCode } from '../files/complaints.js';
import { isEntry } from '../files/factor-cache.js';
import { noteName } from '../files/factor-entry.js';
import { isRecord } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { readValue } from './arguments.js';
import { withCheckpoint } from './checkpoint.js';
import { type Column, table } from './table.js';
import { bytes, several, shape } from './text.js';

/** The factors of one weight, as it was stored. */
interface Entry {
  readonly key: string;
  readonly shape: readonly number[];
  readonly rank: number;
  readonly dtype: string;
  readonly bytes: number;
  readonly residual: number;
  readonly orthogonality: number;
}

/** The paths of the entries in a folder. */
export async function entriesIn(folder: string): Promise<string[]> {
  return (await readdir(folder))
    .filter(isEntry)
    .sort()
    .map((name) => join(folder, name));
}

export async function inspectCache(path: string, paths: readonly string[]) {
  const read = await Promise.all(paths.map(readEntry));
  const entries = read.filter((entry) => entry !== undefined);
  const damaged = paths.length - entries.length;
  return {
    answer: { kind: 'cache', path, entries, damaged },
    lines: () => {
      const size = bytes(entries.reduce((sum, entry) => sum + entry.bytes, 0));
      const more = damaged === 0 ? '' : `; ${damaged} more cannot be read, and will be computed again`;
      const what = `a cache with the factors of ${several(entries.length, 'weight')}, ${size}${more}`;
      return [`${path}: ${what}`, '', ...table(columns, entries)];
    },
  };
}

/** undefined for an entry that is damaged, or that another process has removed. The numbers are not read. */
async function readEntry(path: string): Promise<Entry | undefined> {
  try {
    return await withCheckpoint(path, async (file) => {
      const note = readValue(file.metadata[noteName] ?? '');
      if (!isRecord(note) || !['u', 's', 'vt'].every((name) => file.names.includes(name))) return undefined;
      const [u, s, vt] = [file.info('u'), file.info('s'), file.info('vt')];
      return {
        key: basename(path, '.safetensors'),
        shape: [u.shape[0] as number, vt.shape[1] as number],
        rank: s.shape[0] as number,
        dtype: u.dtype,
        bytes: u.bytes + s.bytes + vt.bytes,
        residual: Number(note['residual']),
        orthogonality: Number(note['orthogonality']),
      };
    });
  } catch (error) {
    const isGone = error instanceof SigmaError && systemCode(error.detail) === 'ENOENT';
    if (isGone || (error instanceof SigmaError && error.code === 'CORRUPT_FILE')) return undefined;
    throw error;
  }
}

const columns: readonly Column<Entry>[] = [
  { title: 'weight', cell: ({ key }) => `${key.slice(0, 12)}…` },
  { title: 'shape', number: true, cell: (entry) => shape(entry.shape) },
  { title: 'rank', number: true, cell: ({ rank }) => `${rank}` },
  { title: 'type', cell: ({ dtype }) => dtype },
  { title: 'size', number: true, cell: (entry) => bytes(entry.bytes) },
  { title: 'residual', number: true, cell: ({ residual }) => residual.toExponential(1) },
  { title: 'orthogonality', number: true, cell: ({ orthogonality }) => orthogonality.toExponential(1) },
];
