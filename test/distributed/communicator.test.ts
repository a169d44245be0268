/** What the ranks of a job do together, under each MPI that is installed. */
import { createHash } from 'node:crypto';
import { AdamW } from 'sigmatune';
import { init, mpiStatus } from 'sigmatune/distributed';
import t, { type Test as Tap } from 'tap';
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

interface Trained {
  readonly rank: number;
  readonly values: readonly number[][];
  readonly again: readonly number[][];
}

/** What one process with the whole batch trains. */
let alone: ReturnType<typeof runScript> | undefined;
const trainedAlone = async (name: string) => {
  alone ??= runScript('ranks.mjs', 'training,halves');
  return told<Trained>(await alone, name)[0]?.values ?? [];
};
/** What the ranks of the first MPI have trained, by their number. */
const trained = new Map<number, readonly number[][]>();

for (const mpi of mpis) {
  for (const size of [2, 4]) {
    const names = ['sums', 'values', 'mismatches', 'training'];
    if (size === 2) names.push('halves', 'wasm', 'leak', 'queue');
    /** A setting of the other MPI, so that those of this MPI are seen to be made. */
    const set = mpi.name === 'MPICH' ? ['OMPI_MCA_memory', ''] : ['UCX_MEM_EVENTS', 'n'];
    /** One job for all cases, because a job takes longer to start than to run. */
    let job: ReturnType<typeof mpirun> | undefined;
    const test = <T extends { readonly rank: number }>(
      name: string,
      title: string,
      body: (t: Tap, ranks: readonly T[]) => unknown,
    ) =>
      t.test(`${mpi.name}, ${size} ranks: ${title}`, async (t) => {
        job ??= mpirun(mpi, size, { script: ['ranks.mjs', names.join()], env: Object.fromEntries([set]) });
        const outcome = await job;
        t.equal(outcome.code, 0, outcome.err);
        const ranks = told<T>(outcome, name);
        t.equal(ranks.length, size);
        await body(t, ranks);
      });

    test<{ rank: number; sums: (number[] | string | null)[]; route: unknown }>(
      'sums',
      'means are sums in order of the ranks, the same bits on all',
      (t, ranks) => {
        for (const { rank, sums, route } of ranks) {
          const expected = expectedSums(size);
          expected[2] = [rank, rank, rank];
          t.same(sums, expected, `rank ${rank}`);
          t.same(route, { via: 'host' });
        }
      },
    );

    test<{ rank: number; before: string; signs: string; values: number[][]; status: unknown }>(
      'values',
      'values are broadcast and compared to the bit',
      (t, ranks) => {
        for (const { rank, before, signs, values, status } of ranks) {
          t.match(
            before,
            /^RANK_MISMATCH .*parameters\[0\], 'a': expected the same bits on all ranks, got others on rank 1/,
          );
          t.match(
            signs,
            new RegExp(`^RANK_MISMATCH .*'b': expected the same bits on all ranks, got others on rank ${size - 1}`),
          );
          t.same(values, [[size - 1, 1, 2], [size - 0.5]], `rank ${rank}`);
          t.match(status, { available: true, library: new RegExp(`^${mpi.name}[^\\t\\n]*$`) });
        }
      },
    );

    test<{ rank: number; found: Record<string, string>; mean: number[] }>(
      'mismatches',
      'what differs is found before data move, and named',
      (t, ranks) => {
        for (const { found, mean, rank } of ranks) {
          const differs = /^RANK_MISMATCH Communicator.\w+: rank 1 differs from rank 0: /;
          for (const what of [
            'name',
            'size',
            'shape',
            'dtype',
            'count',
            'none',
            'lines',
            'gradient',
            'frozen',
            'values',
            'root',
          ])
            t.match(found[what], differs);
          t.match(found['name'], /parameters\[1\]: expected 'b' .*, got 'c'/);
          t.match(found['size'], /expected 'b' float32 \[1\], with a gradient, got 'b' float32 \[2\], with a gradient/);
          t.match(found['shape'], /expected 'b' float32 \[2\], .* got 'b' float32 \[2, 1\]/);
          t.match(found['dtype'], /expected 'b' float32 .*, got 'b' float64/);
          t.match(
            found['count'],
            /expected 2 parameters, got 1; .* parameters\[1\], 'b' float32 \[1\], with a gradient on rank 0 and none here/,
          );
          t.match(
            found['none'],
            /expected 0 parameters, got 1; .*none on rank 0 and 'a' float32 \[2\], with a gradient here/,
          );
          t.match(
            found['lines'],
            /parameters\[1\]: expected 'two\nlines' float32 \[1\], .*got 'two\nlines' float32 \[2\]/,
          );
          t.match(found['values'], /expected 2 parameters, got 1; .* 'b' float32 \[1\] on rank 0 and none here/);
          t.match(found['root'], /parameters\[0\]: expected 'a' float32 \[2\], from rank 0, got .* from rank 1/);
          t.match(found['gradient'], /got 'b' float32 \[1\], without a gradient/);
          t.match(found['frozen'], /got 'b' float32 \[1\], frozen/);
          for (const [what, call] of Object.entries({ call: 'broadcast', finalize: 'finalize' })) {
            const calls = `Communicator.${call} on rank 0 and Communicator.barrier on rank 1`;
            t.match(found[what], new RegExp(`^RANK_MISMATCH .*expected the same call on all of them, got ${calls}`));
          }
          t.same(found['unchanged'], [rank + 1, 2 * (rank + 1)], 'a refused call writes nothing');
          t.same(mean, [(size + 1) / 2, size + 1], 'the ranks go on');
        }
      },
    );

    test<Trained>(
      'training',
      'with a part of the batch each, they are one process with the whole batch',
      async (t, ranks) => {
        const whole = await trainedAlone('training');
        const [first] = ranks;
        for (const { values, again } of ranks) {
          t.same(values, first?.values, 'the same bits on every rank');
          t.same(again, values, 'the same bits in every run');
        }
        t.same(first?.values, trained.get(size) ?? first?.values, 'the same bits under every MPI');
        trained.set(size, first?.values ?? []);
        const worst = Math.max(
          ...whole.flatMap((numbers, p) =>
            numbers.map((value, i) => Math.abs(value - (first?.values[p]?.[i] ?? Number.NaN))),
          ),
        );
        t.comment(`${size} ranks: largest difference of a parameter ${worst.toExponential(1)}`);
        t.ok(worst < 1e-6, `${size} ranks: ${worst}`);
      },
    );

    if (size > 2) continue;

    test<Trained>(
      'halves',
      'they are one process that adds the gradients of two halves, to the bit',
      async (t, ranks) => {
        const whole = await trainedAlone('halves');
        t.ok(whole.flat().some((value) => value !== 0));
        for (const { values } of ranks) t.same(values, whole);
      },
    );

    test<{ rank: number; caught: string; patched: number; signals: boolean; left: unknown }>(
      'wasm',
      "MPI leaves the signals of V8, libc's code and the environment alone",
      (t, ranks) => {
        for (const { caught, patched, signals, left } of ranks) {
          t.equal(caught, 'RuntimeError: memory access out of bounds');
          t.equal(patched, 0);
          t.ok(signals, 'no handler was added');
          t.same(left, [set], 'what the user has set');
        }
      },
    );

    test<{ rank: number; same: boolean; grown: number }>('leak', 'nothing is left of a call', (t, ranks) => {
      for (const { same, grown } of ranks) {
        t.ok(same);
        // A sanitizer keeps freed memory.
        if (!process.env['SIGMATUNE_MPI_SANITIZE']) t.ok(grown < 60, `${grown} MiB`);
      }
    });

    test('queue', 'calls run in their order, off the event loop, until the end', (t, ranks) => {
      for (const each of ranks) {
        t.match(each, { order: ['barrier', 'gradients', 'broadcast'], turned: true, again: true });
        t.match(each, { printed: `Communicator: rank ${each.rank} of 2`, inWorker: /^UNSUPPORTED .*main thread/ });
        t.match(each, { after: /^INVALID_ARGUMENT .*before finalize\(\), got a finalized one/ });
      }
    });
  }
}

t.test('a process alone is a world of one', async (t) => {
  const comm = await init();
  t.same([comm.rank, comm.size, comm.gradientRoute], [0, 1, undefined]);
  const { tensor } = await import('sigmatune');
  const parameter = { name: 'w', value: tensor([1, 2]), grad: tensor([3, 4]), trainable: true };
  await comm.broadcast([parameter]);
  await comm.allReduceGradients([parameter]);
  await comm.checkSynchronized([parameter]);
  new AdamW([parameter]).step();
  t.same([...parameter.grad.dataSync()], [3, 4]);
  t.same(comm.gradientRoute, { via: 'host' });
  await t.rejects(comm.allReduceGradients([{}] as never), {
    code: 'INVALID_ARGUMENT',
    op: 'Communicator.allReduceGradients',
  });
  await t.rejects(comm.broadcast([parameter], { root: 1 }), { code: 'INVALID_ARGUMENT', message: /options.root/ });
  const { grad } = parameter;
  const twin = { name: 'twin', value: tensor([1, 2]), grad, trainable: true };
  await t.rejects(comm.allReduceGradients([parameter, twin]), { message: /share no memory/ });
  const misshapen = { ...parameter, grad: tensor([3]) };
  await t.rejects(comm.allReduceGradients([misshapen]), { code: 'SHAPE_MISMATCH', message: /w\.grad/ });
  await t.rejects(init({ timeoutSeconds: 0 }), { code: 'INVALID_ARGUMENT' });
  const gone = { ...twin, name: 'gone', value: tensor([1]) };
  gone.value.dispose();
  await t.rejects(comm.broadcast([parameter, gone]), { code: 'DISPOSED', message: /parameters\[1\]\.value/ });
  t.throws(() => structuredClone(comm), /Communicator/);
  await comm.finalize();
  t.type(mpiStatus().available, 'boolean');
});
