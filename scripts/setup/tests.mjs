// The tests as JavaScript: types go, imports stay, so that Node runs them as they are.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './run.mjs';

const require = createRequire(import.meta.url);
const cache = join(root, '.cache', 'tests');

/** The source map lets stack traces and tap's reports name the lines of the TypeScript. */
export function transpile(source, fileName) {
  const typescript = require('typescript');
  const compilerOptions = {
    target: typescript.ScriptTarget.ES2022,
    module: typescript.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
    inlineSourceMap: true,
    inlineSources: false,
  };
  return typescript.transpileModule(source, { fileName, compilerOptions }).outputText;
}

/** The JavaScript of one file of the tests. */
export function compiledTest(path) {
  const kept = fileOf(path);
  if (!existsSync(kept)) compileTests();
  return readFileSync(kept, 'utf8');
}

/** Compiles all tests that are not up to date: to load the compiler takes as long as to compile thirty files. */
function compileTests() {
  mkdirSync(cache, { recursive: true });
  const folder = join(root, 'test');
  for (const name of readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.ts'))) {
    const path = join(folder, name);
    const kept = fileOf(path);
    if (existsSync(kept)) continue;
    // Several processes may write the same file.
    const unfinished = `${kept}.${process.pid}`;
    writeFileSync(unfinished, transpile(readFileSync(path, 'utf8'), basename(name)));
    renameSync(unfinished, kept);
  }
}

/** Where the JavaScript is kept: the name has a hash of all that it is made from. */
function fileOf(path) {
  const name = basename(path);
  const hash = createHash('sha256');
  for (const part of [...compiler(), name, readFileSync(path)]) hash.update(part).update('\0');
  return join(cache, `${name}-${hash.digest('hex').slice(0, 32)}.js`);
}

let known;

/** What else decides about the result: the compiler, and this file. */
function compiler() {
  known ??= [require('typescript/package.json').version, readFileSync(fileURLToPath(import.meta.url))];
  return known;
}
