// Resolves the .js of an import to the .ts next to it, and loads the compiled text of that.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compiledTest } from '../../scripts/setup/tests.mjs';

export function resolve(specifier, context, next) {
  if (/^\.\.?\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
    const url = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
    if (existsSync(url)) return { url: url.href, format: 'module', shortCircuit: true };
  }
  return next(specifier, context);
}

export function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  return { format: 'module', source: compiledTest(fileURLToPath(url)), shortCircuit: true };
}
