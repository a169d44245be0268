// What the manifests of all published packages have in common.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../setup/run.mjs';

export const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** The fields that need the address of the repository, if one is given. */
export function addresses(repository) {
  if (!repository) return {};
  const url = repository.replace(/(\.git)?\/*$/, '');
  return {
    homepage: `${url}#readme`,
    bugs: { url: `${url}/issues` },
    repository: { type: 'git', url: `git+${url}.git` },
  };
}

export function writeManifest(folder, manifest) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
