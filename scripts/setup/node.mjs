// The Node that runs us: is it new enough, and which headers belong to it?
import { copyFileSync, existsSync, mkdirSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { root, SetupError } from './run.mjs';

/** require() of an ES module, which CommonJS users of the package need, works from here on. */
const oldest = [20, 19];

export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) return;
  throw new SetupError(
    `sigmatune needs Node ${oldest.join('.')} or newer; this is ${process.version} (${process.execPath}).\n` +
      'Install a newer one (https://nodejs.org, or "nvm install 22"), then type the same command again.',
  );
}

/**
 * What to pass to node-gyp as --nodedir when it runs in `cwd`, so that it never downloads: the headers next to Node,
 * else those of the npm package node-api-headers, laid out as node-gyp wants them. The addon needs no more than
 * Node-API, which is the same for every Node.
 */
export function nodeDir(cwd) {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  // make cannot carry a space in an include path, so such a prefix is as good as none.
  if (existsSync(join(prefix, 'include', 'node', 'node_api.h')) && !/\s/.test(prefix)) return prefix;
  // Relative, for the same reason: the repository itself may lie in a folder with a space in its name.
  return relative(cwd, layOutHeaders(join(root, '.cache', 'node-headers')));
}

/** node-gyp reads two descriptions of Node's own build besides the headers; this is all an addon needs of them. */
const commonGypi = `{
  'target_defaults': {
    'default_configuration': 'Release',
    'configurations': {
      'Debug': { 'cflags': ['-g', '-O0'] },
      'Release': { 'cflags': ['-O3'] },
    },
    'cflags': ['-pthread'],
    'ldflags': ['-pthread'],
  },
}
`;

function layOutHeaders(folder) {
  const include = join(folder, 'include', 'node');
  const source = join(root, 'node_modules', 'node-api-headers', 'include');
  mkdirSync(include, { recursive: true });
  for (const name of readdirSync(source)) copyFileSync(join(source, name), join(include, name));
  writeFileSync(join(include, 'common.gypi'), commonGypi);
  writeFileSync(join(include, 'config.gypi'), '{}\n');
  return folder;
}
