#!/usr/bin/env node
// npm/: the packages as they are published, as folders and as tarballs. sigmatune has no binary; each platform's binary is
// a package of its own, and an optional dependency of sigmatune. The manifest in the repository has no such dependencies,
// because `npm ci` would ask the registry for a version that is not published yet.
//
//   node scripts/packages.mjs [--complete] [--repository https://github.com/owner/name]
//                             [--cuda-library FILE] [--cuda12-library FILE] [--out FOLDER] [--no-tarballs]
//
// Packs what prebuilds/, build-cuda/ and build-cuda12/ have. --complete: fails if a platform or a CUDA library is missing.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cudaPackages, stageCuda, stagePlatform } from './packages/binaries.mjs';
import { stageMain } from './packages/main.mjs';
import { cudaLibrary } from './setup/cuda-library.mjs';
import { must, root, SetupError, step } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';
import { targets } from './setup/targets.mjs';

main(() => {
  const { values } = parseArgs({
    options: {
      complete: { type: 'boolean', default: false },
      repository: { type: 'string' },
      'cuda-library': { type: 'string', default: cudaLibrary(13) },
      'cuda12-library': { type: 'string', default: cudaLibrary(12) },
      out: { type: 'string', default: join(root, 'npm') },
      'no-tarballs': { type: 'boolean', default: false },
    },
  });
  const folder = resolve(values.out);
  setup();
  const built = targets.filter(({ name }) => existsSync(join(root, 'prebuilds', name, 'sigmatune.node')));
  const libraries = { 13: values['cuda-library'], 12: values['cuda12-library'] };
  const builtCuda = cudaPackages.filter(({ generation }) => existsSync(libraries[generation]));
  if (built.length === 0) throw new SetupError('prebuilds/ has no addon: run "npm run prebuilds" first.');
  const missing = [...targets, ...cudaPackages].filter((each) => !built.includes(each) && !builtCuda.includes(each));
  if (values.complete && missing.length > 0) {
    throw new SetupError(`missing: ${missing.map(({ name }) => name).join(', ')}`);
  }
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // The platforms first: sigmatune is published when everything that it depends on is there.
  const staged = [
    ...built.map((target) => stagePlatform(folder, target, values.repository)),
    ...builtCuda.map((each) => stageCuda(folder, each, libraries[each.generation], values.repository)),
    stageMain(folder, built, values.repository),
  ];
  writeFileSync(join(folder, 'order.txt'), staged.map((name) => `${name}\n`).join(''));
  if (values['no-tarballs']) return;
  step(`packing ${staged.length} packages`, () => {
    for (const name of staged) must('npm', ['pack', '--pack-destination', folder, join(folder, name)]);
  });
});
