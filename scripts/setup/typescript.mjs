// dist/: the TypeScript of lib/, compiled.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { locked } from './modules.mjs';
import { must, root, step } from './run.mjs';
import { fingerprint, readStamp, writeStamp } from './stamp.mjs';

const dist = join(root, 'dist');
const stampFile = join(root, '.cache', 'typescript.stamp');

export function compileTypeScript() {
  const sources = fingerprint({ paths: ['lib', 'tsconfig.json'], texts: [locked('typescript').version] });
  if (readStamp(stampFile).sources === sources && existsSync(join(dist, 'index.js'))) return;
  step('compiling TypeScript', () => {
    // Compiled as a whole next to dist and moved into its place: no file of a deleted source stays, none is missing half-way.
    // It saves a second at most to compile incrementally, and takes care to keep its record and dist in step.
    const fresh = join(root, 'build-dist');
    rmSync(fresh, { recursive: true, force: true });
    must(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--outDir', fresh]);
    writeCommonJs(fresh);
    // CommonJS as it stands; its types are in a file next to it, which is not published.
    const runtime = join(root, 'lib', 'runtime');
    for (const name of readdirSync(runtime).filter((name) => name.endsWith('.cjs'))) {
      copyFileSync(join(runtime, name), join(fresh, 'runtime', name));
    }
    rmSync(dist, { recursive: true, force: true });
    renameSync(fresh, dist);
    mkdirSync(join(root, '.cache'), { recursive: true });
    writeStamp(stampFile, { sources });
  });
}

/** The entries of package.json's exports, in dist/. */
const entries = ['index.js', join('distributed', 'index.js'), join('integrations', 'tfjs', 'index.js')];

/**
 * dist/require: what CommonJS gets. The code loads the ES modules, so there is one copy of the package in a process. The
 * declarations are copies, because TypeScript's node16 lets no CommonJS file require those of an ES module.
 */
function writeCommonJs(dist) {
  const folder = join(dist, 'require');
  const filter = (path) => statSync(path).isDirectory() || path.endsWith('.d.ts');
  for (const part of readdirSync(dist)) cpSync(join(dist, part), join(folder, part), { recursive: true, filter });
  writeFileSync(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
  for (const entry of entries) {
    const file = join(folder, entry);
    const target = relative(dirname(file), join(dist, entry)).replaceAll('\\', '/');
    writeFileSync(file, `module.exports = require('${target}');\n`);
  }
}
