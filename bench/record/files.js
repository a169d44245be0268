// @ts-check
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from '../usage.js';
import { readRun } from './schema.js';

/** Written beside its place and then moved there: what stood there stays whole until the new one is. */
/** @param {string} file @param {string | Uint8Array} content */
export function writeWhole(file, content) {
  const part = `${file}.${process.pid}.part`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(part, content);
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw new UsageError(`${file}: could not be written (${error instanceof Error ? error.message : error})`);
  }
}

/** @param {string} file */
export function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: could not be read (${error instanceof Error ? error.message : error})`);
  }
}

/** @param {string} file */
export const loadRun = (file) => readRun(file, readText(file));

/** Every run kept in a folder, the oldest first. @param {string} folder */
export function loadRuns(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return names.map((name) => loadRun(join(folder, name))).sort((a, b) => a.created.localeCompare(b.created));
}
