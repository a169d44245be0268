// The tests as plain JavaScript: types go, imports stay, so that Node runs them as they are.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from '../setup/run.mjs';
import { transpile } from '../setup/tests.mjs';

/** Tests that a bundle does not have, and why. */
const leftOut = { 'package/': 'it is about the repository', 'bench/': 'it is about the CPU' };

/** @param {string} name @returns {string | undefined} */
const whyLeftOut = (name) => Object.entries(leftOut).find(([folder]) => name.startsWith(folder))?.[1];

/** Writes them to `folder` and returns the packages that they import. */
export function transpileTests(folder) {
  // Only now is it sure to be installed.
  const typescript = createRequire(import.meta.url)('typescript');
  const from = join(root, 'test');
  const packages = new Set();
  const all = readdirSync(from, { recursive: true }).filter((name) => name.endsWith('.ts'));
  for (const name of all.filter((name) => !whyLeftOut(name))) {
    mkdirSync(join(folder, dirname(name)), { recursive: true });
    const source = readFileSync(join(from, name), 'utf8');
    const outputText = transpile(source, name);
    writeFileSync(join(folder, name.replace(/\.ts$/, '.js')), outputText);
    for (const { fileName } of typescript.preProcessFile(outputText, true, true).importedFiles) {
      if (/^[^./]/.test(fileName) && !fileName.startsWith('node:') && fileName !== 'sigmatune') packages.add(fileName);
    }
  }
  for (const name of ['fixtures', 'on-device']) cpSync(join(from, name), join(folder, name), { recursive: true });
  const list = all
    .map((file) => ({ file, why: whyLeftOut(file) }))
    .filter(({ file, why }) => why && file.endsWith('.test.ts'));
  writeFileSync(join(folder, 'left-out.json'), `${JSON.stringify(list, null, 1)}\n`);
  return [...packages];
}
