/** A job whose ranks fail, leave or stay away: it ends, and says why. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test as Tap } from 'tap';
import { installed, type Mpi, mpirun, output, told } from '../support/mpi.js';

t.setTimeout(600_000);

const { mpis, missing } = await installed();
for (const each of missing) t.test(each, { skip: `${each} on this machine` }, async () => {});

for (const mpi of mpis) {
  const run = (name: string, ...parameters: string[]) => mpirun(mpi, 3, { script: ['ranks.mjs', name, ...parameters] });
  /** The job failed by itself, before the time-out of its calls. */
  function endsSoon(t: Tap, { code, signal, err, seconds }: Awaited<ReturnType<typeof run>>) {
    t.not(code, 0);
    t.equal(signal, null, 'the launcher ends by itself');
    t.notMatch(err, /TIMED_OUT/);
    t.comment(`${seconds.toFixed(1)} s, with the start`);
  }

  for (const name of ['throws', 'rejects']) {
    t.test(`${mpi.name}: a rank that ${name} ends the job, with its message`, async (t) => {
      const outcome = await run(name);
      endsSoon(t, outcome);
      t.match(
        outcome.err,
        /sigmatune: rank 1 of 3 \(process \d+ on \S+\) failed: the data are gone\. The job is aborted\nError: the data are gone\n +at .*ranks\.mjs:/,
        outcome.out,
      );
    });
  }

  t.test(`${mpi.name}: a rank that is killed ends the others within seconds`, async (t) => {
    endsSoon(t, await run('killed'));
  });

  t.test(`${mpi.name}: an exit of one rank is an exit of the job`, async (t) => {
    const reasons = {
      exits: 'has ended with code 3',
      exitsByCode: 'has ended with code -253',
      leaves: 'has ended without finalize\\(\\), and the other ranks have not',
      leavesBusy: 'has ended without finalize\\(\\), and the other ranks have not',
      returns: 'failed: Communicator.finalize: ranks: expected the same call on all of them',
    };
    const alone = run('leavesAlone');
    const ends = await run('ends');
    for (const [name, reason] of Object.entries(reasons)) {
      const outcome = await run(name);
      endsSoon(t, outcome);
      if (name.startsWith('exits')) t.equal(outcome.code, 3, name);
      t.match(outcome.err, new RegExp(`sigmatune: rank 1 of 3 .* ${reason}`), name);
      t.notMatch(outcome.err, /MPI has not ended the job|Node\.js v/, name);
      t.ok(outcome.seconds < ends.seconds + 8, `${name}: a refused end does not wait for 10 s`);
    }
    const outcome = await alone;
    endsSoon(t, outcome);
    t.match(outcome.err, new RegExp(`sigmatune: rank 1 of 3 .* ${reasons.leaves}`));
    t.ok(outcome.seconds < 30, 'it waits for 10 s');
  });

  t.test(`${mpi.name}: an exit after finalize() is that of a process`, async (t) => {
    const { code, err } = await run('exitsAfterFinalize');
    t.equal(code, 3);
    t.notMatch(err, /sigmatune/);
  });

  t.test(`${mpi.name}: ranks that end together need no finalize()`, async (t) => {
    for (const name of ['ends', 'leavesTogether']) {
      const { seconds, ...outcome } = await run(name);
      t.match(outcome, { code: 0, err: '' }, name);
      t.ok(seconds < 30, 'no timer of a time-out delays the end');
    }
  });

  t.test(`${mpi.name}: a rank that stays away is a time-out of the others`, async (t) => {
    const calls = {
      late: 'Communicator.barrier',
      lateMean: 'Communicator.allReduceGradients',
      lateBroadcast: 'Communicator.broadcast',
      stops: 'decomposeModelSharded',
    };
    const cache = t.testdir({});
    // No more at a time: all ranks of a job have to start within 8 s.
    const away = run('absent');
    for (const [name, call] of Object.entries(calls)) {
      const outcome = await run(name, cache);
      t.not(outcome.code, 0);
      t.equal(outcome.signal, null);
      const ranks = told<{ rank: number; error: string; next: string }>(outcome);
      t.equal(ranks.length, 2, `${name}: ${outcome.err}`);
      for (const { error, next } of ranks) {
        t.match(error, new RegExp(`^TIMED_OUT ${call}: ranks: expected all 3 to take part within 8 s`));
        t.match(next, /^NATIVE Communicator\.barrier: .*an earlier call failed/);
      }
    }
    const absent = await away;
    t.not(absent.code, 0);
    t.match(absent.err, /TIMED_OUT init: ranks: expected all to call init within 8 s/);
    t.match(absent.err, /sigmatune: a rank \(process/);
    t.equal(absent.signal, null);
  });

  t.test(`${mpi.name}: a launcher of another MPI, or no library, is refused`, async (t) => {
    const none = await mpirun({ ...mpi, library: '/nowhere.so' }, 2, { script: ['ranks.mjs', 'ends'] });
    t.not(none.code, 0);
    t.match(none.err, /expected a library for the 2 ranks that .* started, got NOT_BUILT/);
    const other = mpis.find(({ name }) => name !== mpi.name);
    if (other === undefined) return;
    const mixed = await mpirun({ ...mpi, library: other.library }, 2, { script: ['ranks.mjs', 'ends'] });
    t.not(mixed.code, 0);
    t.match(
      mixed.err,
      /expected the 2 ranks that .* started, got a world of 1\. The library was compiled against another MPI/,
    );
  });
}

t.test(
  'the addon has no symbol of MPI and needs no library of MPI',
  { skip: process.platform !== 'linux' && 'needs nm' },
  async (t) => {
    const root = fileURLToPath(new URL('../..', import.meta.url));
    const folder = join(root, 'build', 'Release');
    const addon = readdirSync(folder).find((name) => name.endsWith('.node')) as string;
    const { out: symbols } = await output('nm', ['--dynamic', join(folder, addon)]);
    t.match(symbols, /napi_/, 'nm reads it');
    t.notMatch(symbols, / P?MPI_/);
    const { out: needed } = await output('readelf', ['--dynamic', '--wide', join(folder, addon)]);
    t.notMatch(needed, /NEEDED.*mpi/i);
    for (const mpi of mpis as readonly Mpi[])
      t.match((await output('nm', ['--dynamic', mpi.library])).out, / U MPI_Init_thread/);
  },
);
