/** Decompositions that the ranks of a job share, through the library and on the command line, under each MPI. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type DecomposedRow, decomposeModel, openSafetensors, type Tensor, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { program } from '../support/cli.js';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { installed, mpirun, told } from '../support/mpi.js';
import { runScript } from '../support/process.js';

t.setTimeout(600_000);

const { mpis, missing } = await installed();
for (const each of missing) t.test(each, { skip: `${each} on this machine` }, async () => {});

const folder = t.testdir({});
const path = (...names: string[]) => join(folder, ...names);

/** 12 matrices of several sizes. */
async function writeModel(name: string, change: (weights: Record<string, Tensor>) => void = () => {}) {
  const random = seeded(5);
  const weights: Record<string, Tensor> = {};
  for (let i = 0; i < 6; i++) {
    weights[`layers.${i}.q_proj.weight`] = gaussian(random, [96 + 16 * i, 96], 'float32');
    weights[`layers.${i}.up_proj.weight`] = gaussian(random, [192, 128 + 8 * i], 'float32');
  }
  change(weights);
  await writeSafetensors(path(name), Object.entries(weights));
  const names = Object.keys(weights);
  disposeAll(...Object.values(weights));
  return names;
}

const names = (await writeModel('model.safetensors')).sort();
await writeModel('broken.safetensors', (weights) => {
  const bad = weights['layers.3.q_proj.weight'] as Tensor;
  const numbers = bad.dataSync() as Float32Array;
  numbers[17] = Number.NaN;
  bad.assign(numbers);
});

interface Told {
  readonly rank: number;
  readonly rows: readonly DecomposedRow[];
  readonly own: readonly string[];
}

const file = await openSafetensors(path('model.safetensors'));
const expected = await decomposeModel(file, { targets: 'all', cache: path('alone') });
await file.close();
const uncached = (rows: readonly DecomposedRow[]) => rows.map(({ cached: _, ...row }) => row);
const entries = (cache: string) => readdirSync(path(cache)).sort();

for (const mpi of mpis) {
  const cacheOf = (what: string) => `${mpi.name.replace(' ', '')}-${what}`;
  const run = (size: number, what: string, cache: string, model = 'model.safetensors') =>
    mpirun(mpi, size, { script: ['shards.mjs', what, path(model), path(cache)] });

  for (const size of [2, 4]) {
    t.test(`${mpi.name}, ${size} ranks: each matrix is decomposed once, and all ranks get all rows`, async (t) => {
      const cache = cacheOf(`${size}`);
      const outcome = await run(size, 'decompose', cache);
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<Told>(outcome);
      t.equal(ranks.length, size);
      for (const { rows } of ranks) t.same(rows, expected, 'the rows of one process');
      t.same(ranks.flatMap(({ own }) => own).sort(), names, 'every matrix by one rank');
      t.comment(`shares: ${ranks.map(({ own }) => own.length).join(', ')}`);
      t.same(entries(cache), entries('alone'), 'the same files, and nothing else');
      const again = told<Told>(await run(size, 'decompose', cache));
      for (const { rows, own } of again) {
        t.same(own, []);
        t.ok(rows.every(({ cached }) => cached));
      }
    });
  }

  t.test(
    `${mpi.name}: a rank that is busy leaves the rest to the others, which take the costliest first`,
    async (t) => {
      const outcome = await run(2, 'busy', cacheOf('busy'));
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<Told>(outcome);
      for (const { rows, own } of ranks) {
        t.same(rows, expected);
        t.match(own[0], /up_proj/);
      }
      t.ok((ranks[1]?.own.length ?? 0) >= 8, `${ranks.map(({ own }) => own.length)}`);
      t.match(ranks[1]?.own.at(-1), /q_proj/);
    },
  );

  t.test(`${mpi.name}: adaptModelSharded makes the same layers on all ranks, and as one process does`, async (t) => {
    const outcome = await run(2, 'adapt', cacheOf('adapt'));
    t.equal(outcome.code, 0, outcome.err);
    const [alone] = told<Told & { digest: string; layers: string[] }>(
      await runScript('shards.mjs', 'adapt', path('model.safetensors'), path(`alone-${mpi.mpicc}`)),
    );
    const ranks = told<Told & { digest: string; layers: string[] }>(outcome);
    t.equal(ranks.length, 2);
    t.equal(alone?.layers.length, 6);
    for (const { digest, layers } of ranks) t.same([digest, layers], [alone?.digest, alone?.layers]);
    t.same(ranks.flatMap(({ own }) => own).sort(), [...(alone?.own ?? [])].sort());
  });

  t.test(`${mpi.name}: a job that was killed goes on where it was`, async (t) => {
    const cache = cacheOf('killed');
    const killed = await run(2, 'dies', cache);
    t.not(killed.code, 0);
    const outcome = await run(2, 'decompose', cache);
    t.equal(outcome.code, 0, outcome.err);
    for (const { rows } of told<Told>(outcome)) {
      t.same(uncached(rows), uncached(expected));
      t.ok(rows.filter(({ cached }) => cached).length >= 1, 'what the killed job has left is found');
    }
  });

  t.test(`${mpi.name}: two jobs share a cache`, async (t) => {
    const cache = cacheOf('two');
    const outcomes = await Promise.all([run(2, 'decompose', cache), run(2, 'decompose', cache)]);
    for (const outcome of outcomes) {
      t.equal(outcome.code, 0, outcome.err);
      for (const { rows } of told<Told>(outcome)) t.same(uncached(rows), uncached(expected));
    }
    t.same(entries(cache), entries('alone'));
  });

  t.test(`${mpi.name}: a failure of one rank is told on all, with its rank and module`, async (t) => {
    const outcome = await run(2, 'broken', cacheOf('broken'), 'broken.safetensors');
    t.equal(outcome.code, 0, outcome.err);
    const errors = told<{ rank: number; error: string }>(outcome).map(({ error }) => error);
    t.equal(errors.length, 2);
    t.match(errors[0], /^\w+ decomposeModelSharded: rank [01]: .*layers\.3\.q_proj\.weight.*NaN/);
    t.equal(errors[1], errors[0]);
  });

  t.test(`${mpi.name}: other modules, a folder that is not shared and a callback that throws are told`, async (t) => {
    const outcome = await run(2, 'refusals', cacheOf('refused'));
    t.equal(outcome.code, 0, outcome.err);
    const ranks = told<Told & { found: Record<string, string>; left: number }>(outcome);
    t.equal(ranks.length, 2);
    for (const { found, left, rows } of ranks) {
      t.ok(left <= names.length - 3, `a rank that fails stops the others: ${left} done`);
      t.same(uncached(rows), uncached(expected), 'the ranks go on');
      t.match(found['targets'], /^RANK_MISMATCH .*rank 1 differs from rank 0: /);
      t.match(
        found['folder'],
        /^INVALID_ARGUMENT .*a folder that all ranks share, got .* rank 1 on \S+ does not see it/,
      );
      t.match(found['callback'], /^\w+ .*rank 1: .*the terminal is gone/);
    }
  });

  t.test(`${mpi.name}: sigmatune decompose under mpirun`, async (t) => {
    const args = ['decompose', path('model.safetensors'), '--targets', 'all', '--cache', cacheOf('cli')];
    const command = (more: string[]) => mpirun(mpi, 2, { script: [program, ...args, ...more], cwd: folder });
    const first = await command(['--json', '--quiet']);
    t.equal(first.code, 0, first.err);
    t.same(JSON.parse(first.out), { cache: cacheOf('cli'), modules: expected }, 'one answer, from rank 0');
    t.equal(first.err, '');
    const again = await command([]);
    t.match(again.out, /12 modules, .*: 0 computed, 12 found in /);
    t.equal(again.out.match(/12 modules/g)?.length, 1);
    const wrong = await mpirun(mpi, 2, {
      script: [program, 'decompose', path('absent.safetensors'), '--targets', 'all', '--cache', 'x'],
      cwd: folder,
    });
    t.not(wrong.code, 0);
    t.match(wrong.err, /absent\.safetensors/);
  });
}
