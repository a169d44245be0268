/** Decompositions that the ranks of a job share, through the library and on the command line, under each MPI. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type DecomposedRow, decomposeModel, openSafetensors, type Tensor, writeSafetensors } from 'sigmatune';
import { adaptModelSharded, decomposeModelSharded, init } from 'sigmatune/distributed';
import t from 'tap';
import { program } from '../support/cli.js';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { installed, type Mpi, mpirun, told } from '../support/mpi.js';
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

interface Shares {
  readonly rows: readonly DecomposedRow[];
  readonly own: readonly string[];
}
interface Told extends Shares {
  readonly rank: number;
  readonly again: Shares;
}
interface Adapted extends Shares {
  readonly rank: number;
  readonly digest: string;
  readonly layers: readonly string[];
  readonly calls: number;
}

const file = await openSafetensors(path('model.safetensors'));
const expected = await decomposeModel(file, { targets: 'all', cache: path('alone') });
await file.close();
const uncached = (rows: readonly DecomposedRow[]) => rows.map(({ cached: _, ...row }) => row);
const entries = (cache: string) => readdirSync(path(cache)).sort();
const cacheOf = (mpi: Mpi, what: string) => `${mpi.name.replace(' ', '')}-${what}`;
const run = (mpi: Mpi, size: number, what: string, cache: string) =>
  mpirun(mpi, size, { script: ['shards.mjs', what, path('model.safetensors'), path(cacheOf(mpi, cache))] });

/** The jobs of the cases that mostly wait: of all MPIs at the same time, started by the first test that asks. */
let waiting: ReturnType<typeof run>[] | undefined;
function waitingJob(mpi: Mpi, what: 'busy' | 'refusals') {
  waiting ??= mpis.flatMap((each) => [run(each, 2, 'busy', 'busy'), run(each, 2, 'refusals', 'refusals')]);
  return waiting[2 * mpis.indexOf(mpi) + Number(what === 'refusals')] as ReturnType<typeof run>;
}

/** The layers that one process makes. */
let adaptedAlone: ReturnType<typeof runScript> | undefined;

for (const [number, mpi] of mpis.entries()) {
  /** The cases of one job, because a job takes longer to start than to run. */
  let pair: ReturnType<typeof run> | undefined;
  const ofPair = () => {
    pair ??= run(mpi, 2, 'decompose,adapt,broken', '2');
    return pair;
  };

  t.test(
    `${mpi.name}: a rank that is busy leaves the rest to the others, which take the costliest first`,
    async (t) => {
      const outcome = await waitingJob(mpi, 'busy');
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<Told>(outcome);
      t.equal(ranks.length, 2);
      for (const { rows, own } of ranks) {
        t.same(rows, expected);
        t.match(own[0], /up_proj/);
      }
      t.ok((ranks[1]?.own.length ?? 0) >= 8, `${ranks.map(({ own }) => own.length)}`);
      t.match(ranks[1]?.own.at(-1), /q_proj/);
    },
  );

  t.test(`${mpi.name}: other modules, a folder that is not shared and a callback that throws are told`, async (t) => {
    const outcome = await waitingJob(mpi, 'refusals');
    t.equal(outcome.code, 0, outcome.err);
    type Found = { targets: string; storage: string; folder: string; callbacks: { error: string; left: number }[] };
    const ranks = told<Told & { found: Found }>(outcome);
    t.equal(ranks.length, 2);
    for (const { found, rows } of ranks) {
      t.same(uncached(rows), uncached(expected), 'the ranks go on');
      const differs = 'RANK_MISMATCH decomposeModelSharded: rank 1 differs from rank 0: ';
      const shape = "'layers.0.q_proj.weight' [96, 96] float32";
      t.equal(
        found.targets,
        `${differs}expected 12 modules, got 6; the first difference is modules[1], 'layers.0.up_proj.weight' [192, 128] ` +
          "float32 to float32 on rank 0 and 'layers.1.q_proj.weight' [112, 96] float32 to float32 here",
      );
      t.equal(found.storage, `${differs}modules[0]: expected ${shape} to float32, got ${shape} to bfloat16`);
      t.match(found.folder, /^INVALID_ARGUMENT .*a folder that all ranks share, got .* rank 1 on \S+ does not see it/);
      for (const [rank, { error, left }] of found.callbacks.entries()) {
        t.match(error, new RegExp(`^NATIVE .*rank ${rank}: .*the terminal\nis gone`));
        t.ok(left <= names.length - 3, `a rank that fails stops the others: ${left} done`);
      }
    }
  });

  for (const size of [2, 4]) {
    t.test(`${mpi.name}, ${size} ranks: each matrix is decomposed once, and all ranks get all rows`, async (t) => {
      const outcome = await (size === 2 ? ofPair() : run(mpi, size, 'decompose', `${size}`));
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<Told>(outcome, 'decompose');
      t.equal(ranks.length, size);
      for (const { rows, again } of ranks) {
        t.same(rows, expected, 'the rows of one process');
        t.same(again.own, [], 'a second call finds all in the cache');
        t.ok(again.rows.every(({ cached }) => cached));
      }
      t.same(ranks.flatMap(({ own }) => own).sort(), names, 'every matrix by one rank');
      t.comment(`shares: ${ranks.map(({ own }) => own.length).join(', ')}`);
      t.same(entries(cacheOf(mpi, `${size}`)), entries('alone'), 'the same files, and nothing else');
    });
  }

  t.test(`${mpi.name}: adaptModelSharded makes the same layers on all ranks, and as one process does`, async (t) => {
    const outcome = await ofPair();
    adaptedAlone ??= runScript('shards.mjs', 'adapt', path('model.safetensors'), path('alone'));
    const [one] = told<Adapted>(await adaptedAlone);
    const ranks = told<Adapted>(outcome, 'adapt');
    t.equal(ranks.length, 2, outcome.err);
    t.equal(one?.layers.length, 6);
    for (const { digest, layers } of ranks) t.same([digest, layers], [one?.digest, one?.layers]);
    t.same(ranks.flatMap(({ own }) => own).sort(), [...(one?.own ?? [])].sort());
    t.equal(
      ranks.reduce((sum, { calls }) => sum + calls, 0),
      6,
      'progress is told once for each matrix',
    );
  });

  t.test(`${mpi.name}: a failure of one rank is told on all, with its rank and module`, async (t) => {
    const outcome = await ofPair();
    const errors = told<{ rank: number; error: string }>(outcome, 'broken').map(({ error }) => error);
    t.equal(errors.length, 2, outcome.err);
    t.match(errors[0], /^NON_FINITE decomposeModelSharded: rank [01]: (?!decompose).*layers\.3\.q_proj\.weight.*NaN/);
    t.equal(errors[1], errors[0]);
  });

  const args = ['decompose', path('model.safetensors'), '--targets', 'all', '--cache', cacheOf(mpi, 'cli')];
  const command = (words: readonly string[]) => mpirun(mpi, 2, { script: [program, ...words], cwd: folder });
  t.test(`${mpi.name}: sigmatune decompose under mpirun`, async (t) => {
    const { code, out, err } = await command([...args, '--json', '--quiet']);
    t.equal(code, 0, err);
    t.same(JSON.parse(out), { cache: cacheOf(mpi, 'cli'), modules: expected }, 'one answer, from rank 0');
    t.equal(err, '');
  });

  // What follows is the same under each MPI.
  if (number > 0) continue;

  t.test(`${mpi.name}: sigmatune decompose finds what is there, and tells a mistake`, async (t) => {
    const again = await command(args);
    t.match(again.out, /12 modules, .*: 0 computed, 12 found in /);
    t.equal(again.out.match(/12 modules/g)?.length, 1);
    const wrong = await command(['decompose', path('absent.safetensors'), '--targets', 'all', '--cache', 'x']);
    t.not(wrong.code, 0);
    t.match(wrong.err, /absent\.safetensors/);
  });

  t.test(`${mpi.name}: a job that was killed goes on where it was`, async (t) => {
    const killed = await run(mpi, 2, 'dies', 'killed');
    t.not(killed.code, 0);
    const outcome = await run(mpi, 2, 'decompose', 'killed');
    t.equal(outcome.code, 0, outcome.err);
    for (const { rows } of told<Told>(outcome)) {
      t.same(uncached(rows), uncached(expected));
      t.ok(rows.filter(({ cached }) => cached).length >= 1, 'what the killed job has left is found');
    }
  });

  t.test(`${mpi.name}: two jobs share a cache`, async (t) => {
    const outcomes = await Promise.all([1, 2].map(() => run(mpi, 2, 'decompose', 'two')));
    for (const outcome of outcomes) {
      t.equal(outcome.code, 0, outcome.err);
      for (const { rows } of told<Told>(outcome)) t.same(uncached(rows), uncached(expected));
    }
    t.same(entries(cacheOf(mpi, 'two')), entries('alone'));
  });
}

t.test('a process alone decomposes all', async (t) => {
  const comm = await init();
  for (const wrong of [undefined, null, {}, 'comm']) {
    const [model, options] = [{}, { targets: 'all', cache: path('solo') } as const];
    const refusal = { code: 'INVALID_ARGUMENT', message: /comm: expected a Communicator, which init\(\) gives/ };
    await t.rejects(decomposeModelSharded(wrong as never, model, options), refusal);
    await t.rejects(adaptModelSharded(wrong as never, model, { ...options, family: 'svft' }), refusal);
  }
  const model = await openSafetensors(path('model.safetensors'));
  t.same(await decomposeModelSharded(comm, model, { targets: 'all', cache: path('solo') }), expected);
  await model.close();
  const broken = await openSafetensors(path('broken.safetensors'));
  await t.rejects(decomposeModelSharded(comm, broken, { targets: 'all', cache: path('solo-broken') }), {
    code: 'NON_FINITE',
    message: /^decomposeModelSharded: (?!rank|decompose).*layers\.3\.q_proj\.weight/,
  });
  await broken.close();
  t.same(entries('solo'), entries('alone'));
});
