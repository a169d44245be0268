// @ts-check
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * A build of the package: the one in a folder, or the one that this file belongs to.
 * @param {string | null} folder @param {number} threads 0 leaves them as they are
 * @returns {Promise<import('../cases/case.js').Library>}
 */
export async function loadLibrary(folder, threads) {
  const library = await (folder === null
    ? import('sigmatune')
    : import(pathToFileURL(join(folder, 'dist', 'index.js')).href));
  if (threads > 0) library.setThreads(threads);
  return library;
}
