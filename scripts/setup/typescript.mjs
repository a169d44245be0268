// dist/: the TypeScript of lib/, compiled.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
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
    rmSync(dist, { recursive: true, force: true });
    renameSync(fresh, dist);
    mkdirSync(join(root, '.cache'), { recursive: true });
    writeStamp(stampFile, { sources });
  });
}
