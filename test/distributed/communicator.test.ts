/** What the ranks of a job do together, under each MPI that is installed. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { AdamW } from 'sigmatune';
import { init, mpiStatus } from 'sigmatune/distributed';
import t from 'tap';
import { installed, mpirun, told } from '../support/mpi.js';
import { runScript } from '../support/process.js';

t.setTimeout(600_000);

const { mpis, missing } = await installed();
for (const each of missing) t.test(each, { skip: `${each} on this machine` }, async () => {});

/** The means of the case 'sums', summed in order of the ranks, in float64; long ones as their digest. */
function expectedSums(size: number): (number[] | string | null)[] {
  const length = 100_003;
  const of = (rank: number, scale: number) =>
    Float64Array.from({ length }, (_, i) => Math.fround(Math.sin(i * 7 + rank) * scale ** (((i + rank) % 3) - 1)));
  const all = Array.from({ length: size }, (_, rank) => of(rank, 1e8));
  const mean = Float64Array.from({ length }, (_, i) => all.reduce((sum, each) => sum + (each[i] as number), 0) / size);
  const digest = (numbers: Float32Array | Float64Array) =>
    createHash('sha256').update(new Uint8Array(numbers.buffer)).digest('hex');
  return [digest(new Float32Array(mean)), digest(mean), null, null, [(size + 1) / 2]];
}

for (const mpi of mpis) {
  for (const size of [2, 4]) {
    const run = (name: string, ...parameters: string[]) =>
      mpirun(mpi, size, { script: ['ranks.mjs', name, ...parameters] });

    t.test(`${mpi.name}, ${size} ranks: means are sums in order of the ranks, the same bits on all`, async (t) => {
      const outcome = await run('sums');
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<{ rank: number; sums: (number[] | string | null)[] }>(outcome);
      t.equal(ranks.length, size);
      for (const { rank, sums } of ranks) {
        const expected = expectedSums(size);
        expected[2] = [rank, rank, rank];
        t.same(sums, expected, `rank ${rank}`);
      }
    });

    t.test(`${mpi.name}, ${size} ranks: values are broadcast and compared to the bit`, async (t) => {
      const outcome = await run('values');
      t.equal(outcome.code, 0, outcome.err);
      for (const { rank, before, signs, values, status } of told<{
        rank: number;
        before: string;
        signs: string;
        values: number[][];
        status: unknown;
      }>(outcome)) {
        t.match(
          before,
          /^RANK_MISMATCH .*parameters\[0\], 'a': expected the same bits on all ranks, got others on rank 1/,
        );
        t.match(
          signs,
          new RegExp(`^RANK_MISMATCH .*'b': expected the same bits on all ranks, got others on rank ${size - 1}`),
        );
        t.same(values[0], [size - 1, 1, 2], `rank ${rank}`);
        t.match(status, { available: true, library: mpi.name });
      }
    });

    t.test(`${mpi.name}, ${size} ranks: what differs is found before data move, and named`, async (t) => {
      const outcome = await run('mismatches');
      t.equal(outcome.code, 0, outcome.err);
      const ranks = told<{ found: Record<string, string>; mean: number[]; rank: number }>(outcome);
      t.equal(ranks.length, size);
      for (const { found, mean, rank } of ranks) {
        const differs = /^RANK_MISMATCH Communicator.\w+: rank 1 differs from rank 0: /;
        for (const what of ['name', 'size', 'dtype', 'count', 'gradient', 'frozen', 'root'])
          t.match(found[what], differs);
        t.match(found['name'], /parameters\[1\]: expected 'b' .*, got 'c'/);
        t.match(found['size'], /expected 'b' float32 \[1\], with a gradient, got 'b' float32 \[2\], with a gradient/);
        t.match(found['dtype'], /expected 'b' float32 .*, got 'b' float64/);
        t.match(
          found['count'],
          /expected 2 parameters, got 1; .* 'b' float32 \[1\], with a gradient on rank 0 and none here/,
        );
        t.match(found['gradient'], /got 'b' float32 \[1\], without a gradient/);
        t.match(found['frozen'], /got 'b' float32 \[1\], frozen/);
        t.match(
          found['call'],
          /expected the same call on all of them, got Communicator.broadcast on rank 0 and Communicator.barrier on rank 1/,
        );
        t.same(found['unchanged'], [rank + 1, 2 * (rank + 1)], 'a refused call writes nothing');
        t.same(mean, [(size + 1) / 2, size + 1], 'the ranks go on');
      }
    });
  }

  t.test(`${mpi.name}: calls run in their order, off the event loop`, async (t) => {
    const outcome = await mpirun(mpi, 2, { script: ['ranks.mjs', 'queue'] });
    t.equal(outcome.code, 0, outcome.err);
    for (const each of told<{ rank: number; after?: string }>(outcome)) {
      if (each.after === undefined) {
        t.match(each, { order: ['barrier', 'gradients', 'broadcast'], turned: true, again: true });
        t.match(each, { printed: `Communicator: rank ${each.rank} of 2`, inWorker: /^UNSUPPORTED .*main thread/ });
      } else t.match(each.after, /^INVALID_ARGUMENT .*before finalize\(\), got a finalized one/);
    }
  });

  t.test(`${mpi.name}: K ranks with a K-th of the batch are one process with the whole batch`, async (t) => {
    const whole = await runScript('ranks.mjs', 'training');
    const [alone] = told<{ rank: number; values: number[][] }>(whole);
    t.equal(whole.code, 0, whole.err);
    for (const size of [2, 4]) {
      const [first, second] = await Promise.all(
        [1, 2].map(() => mpirun(mpi, size, { script: ['ranks.mjs', 'training'] })),
      );
      t.equal(first?.code, 0, first?.err ?? '');
      const ranks = told<{ rank: number; values: number[][] }>(first ?? whole);
      t.equal(ranks.length, size);
      for (const { values } of ranks) t.same(values, ranks[0]?.values, 'the same bits on every rank');
      t.same(told(second ?? whole), ranks, 'the same bits in every run');
      const worst = Math.max(
        ...(alone?.values ?? []).flatMap((numbers, p) =>
          numbers.map((value, i) => Math.abs(value - (ranks[0]?.values[p]?.[i] ?? Number.NaN))),
        ),
      );
      t.comment(`${size} ranks: largest difference of a parameter ${worst.toExponential(1)}`);
      t.ok(worst < 1e-6, `${size} ranks: ${worst}`);
    }
  });

  t.test(`${mpi.name}: two ranks are one process that adds the gradients of two halves, to the bit`, async (t) => {
    const [alone] = told<{ rank: number; values: number[][] }>(await runScript('ranks.mjs', 'halves'));
    const outcome = await mpirun(mpi, 2, { script: ['ranks.mjs', 'halves'] });
    const ranks = told<{ rank: number; values: number[][] }>(outcome);
    t.equal(ranks.length, 2, outcome.err);
    t.ok(alone?.values.flat().some((value) => value !== 0));
    for (const { values } of ranks) t.same(values, alone?.values);
  });

  t.test(`${mpi.name}: MPI leaves the signals of V8 and the environment alone`, async (t) => {
    const outcome = await mpirun(mpi, 2, { script: ['ranks.mjs', 'wasm'] });
    t.equal(outcome.code, 0, outcome.err);
    for (const { caught, left } of told<{ rank: number; caught: string; left: string[] }>(outcome)) {
      t.equal(caught, 'RuntimeError: memory access out of bounds');
      t.same(left, []);
    }
  });

  t.test(`${mpi.name}: nothing is left of a call`, async (t) => {
    for (const { same } of told<{ rank: number; same: boolean }>(
      await mpirun(mpi, 2, { script: ['ranks.mjs', 'leak'] }),
    )) {
      t.ok(same);
    }
  });
}

t.test('a process alone is a world of one', async (t) => {
  const comm = await init();
  t.same([comm.rank, comm.size], [0, 1]);
  const { tensor } = await import('sigmatune');
  const parameter = { name: 'w', value: tensor([1, 2]), grad: tensor([3, 4]), trainable: true };
  await comm.broadcast([parameter]);
  await comm.allReduceGradients([parameter]);
  await comm.checkSynchronized([parameter]);
  new AdamW([parameter]).step();
  t.same([...parameter.grad.dataSync()], [3, 4]);
  await t.rejects(comm.allReduceGradients([{}] as never), {
    code: 'INVALID_ARGUMENT',
    op: 'Communicator.allReduceGradients',
  });
  await t.rejects(comm.broadcast([parameter], { root: 1 }), { code: 'INVALID_ARGUMENT', message: /options.root/ });
  const { grad } = parameter;
  const twin = { name: 'twin', value: tensor([1, 2]), grad, trainable: true };
  await t.rejects(comm.allReduceGradients([parameter, twin]), { message: /share no memory/ });
  await t.rejects(init({ timeoutSeconds: 0 }), { code: 'INVALID_ARGUMENT' });
  t.throws(() => structuredClone(comm), /Communicator/);
  await comm.finalize();
  t.type(mpiStatus().available, 'boolean');
});

t.test('what is missing or wrong is told', async (t) => {
  const status = (env: Record<string, string>) => {
    const script = `import('sigmatune/distributed').then(({ mpiStatus }) => console.log(JSON.stringify(mpiStatus())))`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], {
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      encoding: 'utf8',
    });
    return JSON.parse(stdout);
  };
  const absent = join(t.testdir({ 'empty.so': '' }), 'no.so');
  t.match(status({ SIGMATUNE_MPI_LIBRARY: absent }), {
    available: false,
    code: 'NOT_BUILT',
    searched: [absent],
    detail: /build:mpi/,
  });
  t.match(status({ SIGMATUNE_MPI_LIBRARY: absent.replace('no', 'empty') }), { available: false, code: 'LOAD_FAILED' });
  t.match(status({ SIGMATUNE_MPI_LIBRARY: 'no.so' }), {
    code: 'LOAD_FAILED',
    detail: /expected an absolute path, got 'no.so'/,
  });
  t.match(status({ SIGMATUNE_MPI: 'off' }), { code: 'DISABLED', searched: [] });
});
