// Lists of our own files.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './run.mjs';

/** Every C++ and CUDA file, relative to the repository. */
export function nativeSources() {
  return ['native', join('test', 'native'), join('test', 'cuda')]
    .flatMap(filesBelow)
    .filter((name) => /\.(h|cc|inc|cu|cuh)$/.test(name));
}

function filesBelow(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name));
}
