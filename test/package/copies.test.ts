/** Two copies of the package in one program, as in a linked workspace or with two versions in a dependency tree. */
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as first from 'sigmatune';
import t from 'tap';
import { cpuOnly } from '../support/helpers.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A second copy of dist with the same addon. */
async function copy(folder: string): Promise<typeof first> {
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  for (const shared of ['package.json', 'node_modules', 'build']) symlinkSync(join(root, shared), join(folder, shared));
  return import(pathToFileURL(join(folder, 'dist', 'index.js')).href);
}

async function failure(body: () => unknown): Promise<unknown> {
  try {
    await body();
  } catch (error) {
    return error;
  }
  throw new Error('expected a failure');
}

t.test('two copies on one addon', { skip: cpuOnly }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sigmatune-copies-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const second = await copy(folder);
  t.not(second.SigmaError, first.SigmaError, 'each has an error class');

  for (const [name, library] of [
    ['first', first],
    ['second', second],
  ] as const) {
    const later = await failure(() => library.svd(library.tensor([[Number.NaN]])));
    t.ok(later instanceof library.SigmaError, `${name}: a rejection of the addon is of the copy that called`);
    t.match(later, { op: 'svd', code: 'NON_FINITE', message: /^svd: a: / });
  }

  const foreign = first.tensor([
    [3, 0],
    [0, 2],
  ]);
  const layer = await first.vectorFit(foreign);
  const [parameter] = layer.parameters;
  const pattern = first.SparsityPattern.diagonal(2);
  const own = second.tensor([1, 1]);
  const dense = second.tensor([[1], [2]]);
  for (const [name, body] of [
    ['matmul', () => second.matmul(foreign, foreign)],
    ['svd', () => second.svd(foreign)],
    ['spmm', () => second.spmm(pattern, own, dense)],
    ['AdamW', () => new second.AdamW(parameter ? [parameter] : [])],
    ['applyEach', () => second.applyEach([layer], own, Int32Array.of(0))],
  ] as const) {
    const error = await failure(body);
    t.ok(error instanceof second.SigmaError, name);
    t.match(
      error,
      { message: /another copy of sigmatune.*npm ls sigmatune/ },
      `${name} says that there are two copies`,
    );
  }
  for (const each of [layer, foreign, own, dense]) each.dispose();
});
