// @ts-check
// Counts of instructions: the same in every run, so that one run decides. Callgrind counts what a process executes, by
// the file it comes from; what counts here is the addon and BLAS, not Node. A case's count is the difference between a
// process that calls it ten times more and one that does not.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { Broken, Session } from '../measure/session.js';
import { change, markdownTable } from '../record/table.js';
import { UsageError } from '../usage.js';

/** @typedef {{ name: string, base: number, head: number }} Count instructions a call */

const extraCalls = 10;

/** Small ones of each kind: callgrind takes some fifty times as long, a quarter of a minute for Node alone. */
export const usual = [
  'svd single 64² auto',
  'sparse spmm, band 8, 128 × 128',
  'sparse spmm, random 17, 128 × 128',
  'sparse sddmm, band 8, 128 × 128',
  'sparse sddmm, random 17, 128 × 128',
  'adapters svft band 8, 256 × 256, 64 tokens, factored, step',
  'adapters siva, 256 × 256, 64 tokens, lowrank, step',
  'optimisers AdamW, 1024 numbers',
];

/** Callgrind knows no AVX-512. OpenBLAS chooses its kernels by the same name on both sides. */
const env = { SIGMATUNE_SIMD: 'avx2', OPENBLAS_CORETYPE: 'Haswell' };

/** Instructions of our own and BLAS's code in a callgrind file. @param {string} text */
export function ownInstructions(text) {
  /** @type {Map<string, string>} */
  const names = new Map();
  let own = false;
  let sum = 0;
  let ofCallee = false;
  for (const line of text.split('\n')) {
    const object = /^c?ob=\((\d+)\)(?: (.*))?$/.exec(line);
    if (object) {
      const [, id, name] = object;
      if (name !== undefined) names.set(id, name);
      if (!line.startsWith('c')) own = /sigmatune[^/]*\.node$|openblas|lapack/.test(names.get(id) ?? '');
    } else if (line.startsWith('calls=')) {
      ofCallee = true; // the next line's cost is counted again in the callee's own
    } else {
      const cost = /^[+*\-\d]\S* (\d+)/.exec(line);
      if (cost && own && !ofCallee) sum += Number(cost[1]);
      if (cost) ofCallee = false;
    }
  }
  return sum;
}

/** All cases prepared and called once, one of them ten times more. @param {string} folder @param {readonly string[]} names @param {string | null} more @param {string} scratch */
async function countProcess(folder, names, more, scratch) {
  const file = join(scratch, `callgrind.${names.indexOf(more ?? '')}.${Math.random()}`);
  const before = ['valgrind', '--quiet', '--tool=callgrind', `--callgrind-out-file=${file}`];
  const session = await Session.open({ folder, threads: 1 }, { before, env });
  try {
    for (const name of names) {
      try {
        await session.ask('prepare', name);
        await session.ask('call', name === more ? 1 + extraCalls : 1);
        await session.ask('dispose');
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        throw new UsageError(`${name} does not run in ${folder}: ${error.message}`);
      }
    }
  } finally {
    await session.end();
  }
  return ownInstructions(readFileSync(file, 'utf8'));
}

/** Instructions a call, case by case. @param {string} folder @param {readonly string[]} names @param {string} scratch */
async function counts(folder, names, scratch) {
  const wanted = [null, ...names];
  /** @type {number[]} */
  const found = new Array(wanted.length);
  const queue = wanted.map((_, i) => i);
  let done = 0;
  const work = async () => {
    for (let i = queue.shift(); i !== undefined; i = queue.shift()) {
      found[i] = await countProcess(folder, names, wanted[i], scratch);
      process.stderr.write(`callgrind: ${folder}: ${++done} of ${wanted.length}\n`);
    }
  };
  // Counts do not care who else is at work.
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  return names.map((_, i) => (found[i + 1] - found[0]) / extraCalls);
}

/** @param {readonly string[] | undefined} names @param {string} base @param {string} head @returns {Promise<Count[] | undefined>} undefined if valgrind is not installed */
export async function compareCounts(names = usual, base, head) {
  if (spawnSync('valgrind', ['--version']).status !== 0) return undefined;
  const scratch = mkdtempSync(join(os.tmpdir(), 'sigmatune-callgrind-'));
  try {
    const [ofBase, ofHead] = [await counts(base, names, scratch), await counts(head, names, scratch)];
    return names.map((name, i) => ({ name, base: ofBase[i], head: ofHead[i] }));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** @param {Count} count @param {number} tolerance */
const more = ({ base, head }, tolerance) => head > base * (1 + tolerance);

/** @param {readonly Count[]} counts @param {number} tolerance */
export const countsVerdict = (counts, tolerance) =>
  counts.some((count) => more(count, tolerance)) ? 'regression' : 'pass';

/** @param {readonly Count[]} counts @param {number} tolerance */
export const countsTable = (counts, tolerance) =>
  markdownTable(
    ['case', 'verdict', 'base', 'head', 'change'],
    [...counts]
      .sort((a, b) => Number(more(b, tolerance)) - Number(more(a, tolerance)))
      .map((count) => [
        count.name,
        more(count, tolerance) ? 'regression' : 'pass',
        count.base.toFixed(0),
        count.head.toFixed(0),
        change(Math.log(count.head / count.base)),
      ]),
    2,
  );
