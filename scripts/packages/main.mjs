// The package `sigmatune`: JavaScript, documentation, and the sources of the addon for those who compile it.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { must, root } from '../setup/run.mjs';
import { cudaPackages } from './binaries.mjs';
import { addresses, own, writeManifest } from './manifest.mjs';

/** binding.gyp at the root of a package makes npm, pnpm and Bun compile it, or warn that they do not. */
const source = /^(native|binding\.gyp)(\/|$)/;

export function stageMain(npm, built, repository) {
  const folder = join(npm, 'sigmatune');
  const [{ files }] = JSON.parse(must('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error']));
  for (const { path } of files) {
    const to = join(folder, source.test(path) ? join('source', path) : path);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(join(root, path), to);
  }
  writeManifest(folder, manifest(built, repository));
  // node-gyp reads the manifest next to binding.gyp.
  const { name, version, binary } = own;
  writeManifest(join(folder, 'source'), { name: `${name}-source`, version, private: true, gypfile: true, binary });
  const page = join(folder, 'README.md');
  writeFileSync(page, withAbsoluteLinks(readFileSync(page, 'utf8'), repository));
  return 'sigmatune';
}

function manifest(built, repository) {
  const { private: _, scripts: __, devDependencies: ___, gypfile: ____, files: _____, binary: ______, ...kept } = own;
  return {
    ...kept,
    ...addresses(repository),
    optionalDependencies: Object.fromEntries(built.map(({ name }) => [`@sigmatune/${name}`, own.version])),
    // An optional peer is never installed unasked, and strict package managers let sigmatune load it.
    peerDependencies: { ...cuda(() => own.version), ...own.peerDependencies },
    peerDependenciesMeta: { ...cuda(() => ({ optional: true })), ...own.peerDependenciesMeta },
  };
}

/** One entry of a manifest for each of the CUDA backend's packages. */
const cuda = (value) => Object.fromEntries(cudaPackages.map(({ name }) => [`@sigmatune/${name}`, value()]));

/** npmjs.com shows the README without the other files: links lead to the repository, else to the published files. */
export function withAbsoluteLinks(text, repository) {
  const base = repository
    ? `${repository.replace(/(\.git)?\/*$/, '')}/blob/v${own.version}/`
    : `https://unpkg.com/${own.name}@${own.version}/`;
  return text.replace(/\]\((?!https?:|#)([^)]*)\)/g, (_, target) => `](${base}${posix.normalize(target)})`);
}
