// @ts-check
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from '../usage.js';
import { parse, schemaOf } from './checks.js';
import { checkedGate, gateSchemaName } from './gate-schema.js';
import { checkedRun, readRun, schemaName } from './schema.js';

/** @typedef {import('./schema.js').Run} Run */
/** @typedef {import('./gate-schema.js').GateRecord} GateRecord */

/** @param {unknown} error */
const reason = (error) => (error instanceof Error ? error.message : String(error));

/** @param {import('node:fs').Stats} stats */
function kindOf(stats) {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a FIFO';
  if (stats.isSocket()) return 'a socket';
  return stats.isCharacterDevice() || stats.isBlockDevice() ? 'a device' : 'a link to nothing';
}

/** @template T @param {string} file @param {() => T} work @returns {T} */
function toWrite(file, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file}: could not be written (${reason(error)})`);
  }
}

/**
 * The file that an output replaces: a plain file, the one that a link leads to, or one that is not there yet. A
 * UsageError for anything else. Commands ask before they measure.
 * @param {string} file @returns {{ path: string, mode: number | undefined }}
 */
export const checkOutput = (file) =>
  toWrite(file, () => {
    const there = lstatSync(file, { throwIfNoEntry: false });
    if (!there) return { path: file, mode: undefined };
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats?.isFile()) return { path: realpathSync(file), mode: stats.mode & 0o777 };
    throw new UsageError(
      `${file}: could not be written: expected a plain file or a new name, got ${kindOf(stats ?? there)}`,
    );
  });

/**
 * Writes all files or none: each is written next to its place first, and moved there when all have been written.
 * @param {readonly (readonly [file: string, content: string | Uint8Array])[]} files
 */
export function writeAll(files) {
  /** @type {{ part: string, path: string }[]} */
  const parts = [];
  try {
    for (const [file, content] of files) {
      const { path, mode } = checkOutput(file);
      toWrite(file, () => {
        mkdirSync(dirname(path), { recursive: true });
        const part = `${path}.${process.pid}.part`;
        const handle = openSync(part, 'wx'); // never through a link that another program put there
        parts.push({ part, path });
        try {
          writeFileSync(handle, content);
        } finally {
          closeSync(handle);
        }
        if (mode !== undefined) chmodSync(part, mode);
      });
    }
    for (const { part, path } of parts) toWrite(path, () => renameSync(part, path));
  } finally {
    for (const { part } of parts) rmSync(part, { force: true });
  }
}

/** @param {string} file @param {string | Uint8Array} content */
export const writeWhole = (file, content) => writeAll([[file, content]]);

/** @param {string} file */
export function readText(file) {
  try {
    const stats = statSync(file);
    // A terminal or a device may never end.
    if (stats.isCharacterDevice() || stats.isBlockDevice()) throw new Error('expected a file, got a device');
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: could not be read (${reason(error)})`);
  }
}

/** @param {string} file */
export const loadRun = (file) => readRun(file, readText(file));

/** A kept run or a kept gate. @param {string} file @param {string} [json] what the file holds @returns {{ run: Run } | { gate: GateRecord }} */
export function loadKept(file, json = readText(file)) {
  const parsed = parse(file, json);
  const schema = schemaOf(parsed);
  if (schema === schemaName) return { run: checkedRun(file, parsed) };
  if (schema === gateSchemaName) return { gate: checkedGate(file, parsed) };
  throw new UsageError(
    `${file}: not a run or a gate of sigmatune bench (no "schema": "${schemaName}" or "${gateSchemaName}")`,
  );
}

/** Every run kept in a folder, the oldest first. @param {string} folder */
export function loadRuns(folder) {
  /** @type {string[]} */
  let names;
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch (error) {
    throw new UsageError(`${folder}: expected a folder of kept runs (${reason(error)})`);
  }
  return byDate(names.map((name) => loadRun(join(folder, name))));
}

/** @param {readonly Run[]} runs */
export const byDate = (runs) => [...runs].sort((a, b) => Date.parse(a.created) - Date.parse(b.created));
