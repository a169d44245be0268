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
  const run = (name: string) => mpirun(mpi, 3, { script: ['ranks.mjs', name] });
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
      );
    });
  }

  t.test(`${mpi.name}: a rank that is killed ends the others within seconds`, async (t) => {
    endsSoon(t, await run('killed'));
  });

  t.test(`${mpi.name}: an exit of one rank is an exit of the job`, async (t) => {
    const [exits, ...leaves] = await Promise.all([run('exits'), run('leaves'), run('leavesBusy')]);
    t.equal(exits.code, 3);
    t.match(exits.err, /rank 1 of 3 .* has ended with code 3/);
    for (const { err } of leaves)
      t.match(err, /rank 1 of 3 .* has ended without finalize\(\), and the other ranks have not/);
    for (const outcome of [exits, ...leaves]) endsSoon(t, outcome);
    // Otherwise the process would leave after 5 s, and its launcher would end the others.
    const [, busy] = leaves;
    t.ok((busy?.seconds ?? 0) < exits.seconds + 4, 'MPI interrupts a call for the abort');
  });

  t.test(`${mpi.name}: ranks that end together need no finalize()`, async (t) => {
    for (const name of ['ends', 'leavesTogether']) t.match(await run(name), { code: 0, err: '' }, name);
  });

  t.test(`${mpi.name}: a rank that stays away is a time-out of the others`, async (t) => {
    const [late, absent] = await Promise.all([run('late'), run('absent')]);
    t.not(late.code, 0);
    for (const { error, next } of told<{ rank: number; error: string; next: string }>(late)) {
      t.match(error, /^TIMED_OUT Communicator.barrier: ranks: expected all 3 to take part within 8 s/);
      t.match(next, /^NATIVE .*an earlier call failed/);
    }
    t.equal(late.signal, null);
    t.not(absent.code, 0);
    t.match(absent.err, /TIMED_OUT|expected all to call init within 8 s/);
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
