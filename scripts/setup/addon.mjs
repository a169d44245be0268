// The native addon, built by node-gyp as binding.gyp says: build/Release/sigmatune.node, and variants next to it.
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { locked } from './modules.mjs';
import { nodeDir } from './node.mjs';
import { must, root, step } from './run.mjs';
import { fingerprint, readStamp, writeStamp } from './stamp.mjs';

/** A variant is a title, the folder that node-gyp works in (its output is always ./build) and binding.gyp's variables. */
export const standard = { title: 'native addon', folder: root, variables: {} };

/** A variant of its own keeps its own object files: build-<name>/ looks to node-gyp like the repository. */
export function variant(name, title, variables) {
  const folder = join(root, `build-${name}`);
  mkdirSync(folder, { recursive: true });
  for (const link of ['native', 'binding.gyp', 'package.json']) {
    if (!existsSync(join(folder, link))) symlinkSync(join('..', link), join(folder, link));
  }
  return { title, folder, variables };
}

/** What make does not see: it follows our own files, but not the tools and headers from elsewhere. */
const tools = [
  `${process.platform}-${process.arch}`,
  `node ${process.versions.node.split('.')[0]}`,
  ...['node-gyp', 'node-addon-api', 'node-api-headers'].map((name) => `${name} ${locked(name).version}`),
].join(', ');

/** Everything an addon is made from, as one hash. */
export function addonSources() {
  return fingerprint({ paths: ['native', 'binding.gyp'], texts: [tools] });
}

export function addonFile({ folder }) {
  return join(folder, 'build', 'Release', 'sigmatune.node');
}

export function addonIsStale(variant) {
  return readStamp(stampFile(variant)).sources !== addonSources() || !existsSync(addonFile(variant));
}

export function buildAddon(variant) {
  if (!addonIsStale(variant)) return;
  step(`building the ${variant.title}`, () => {
    const build = join(variant.folder, 'build');
    const stamp = stampFile(variant);
    const unfinished = join(build, 'sigmatune.unfinished');
    // Other tools, or a build killed half-way through an object file: make could not tell, so nothing of it is kept.
    if (readStamp(stamp).tools !== tools || existsSync(unfinished)) rmSync(build, { recursive: true, force: true });
    mkdirSync(build, { recursive: true });
    rmSync(stamp, { force: true });
    writeFileSync(unfinished, '');
    const sources = addonSources();
    try {
      nodeGyp(variant);
      writeStamp(stamp, { tools, sources });
    } finally {
      rmSync(unfinished);
    }
  });
}

/** Configure and build, never rebuild: that would throw away every object file. */
function nodeGyp({ folder, variables }) {
  const program = join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  const options = ['--jobs=max', '--loglevel=warn', `--nodedir=${nodeDir(folder)}`];
  must(process.execPath, [program, 'configure', 'build', ...options], {
    cwd: folder,
    env: { ...process.env, GYP_DEFINES: gypDefines(variables) },
  });
}

/** binding.gyp's variables in the form gyp reads from the environment. What is built here is built strictly. */
export function gypDefines(variables) {
  return Object.entries({ strict: 1, ...variables })
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

function stampFile({ folder }) {
  return join(folder, 'build', 'sigmatune.stamp');
}
