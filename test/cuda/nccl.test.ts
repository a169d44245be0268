/** Gradients of ranks on CUDA devices, over NCCL: on the simulated device with a stand-in for NCCL, or on a card for each rank. */
import { cudaStatus } from 'sigmatune';
import { ncclStatus } from 'sigmatune/distributed';
import t from 'tap';
import { installed, mpirun, told } from '../support/mpi.js';

t.setTimeout(600_000);

const simulated = process.env['SIGMATUNE_CUDA_SIMULATION'] === '1';
const { available, code, devices = [] } = cudaStatus();
if (!available) {
  t.plan(0, `CUDA is unavailable (${code})`);
  process.exit();
}
const { mpis, missing } = await installed();
for (const each of missing) t.test(each, { skip: `${each} on this machine` }, async () => {});

interface Told {
  readonly rank: number;
  readonly route: { via: string; reason?: string };
  readonly first: string[];
  readonly second: string[];
  readonly values: string[];
  readonly error: string;
  readonly next: string;
  readonly unchanged: boolean;
}

for (const [number, mpi] of mpis.entries()) {
  // Files of the stand-in go where tap cleans up.
  const folder = t.testdir({});
  const run = async (size: number, script: readonly string[], env: Record<string, string> = {}) => {
    const outcome = await mpirun(mpi, size, {
      script: ['device-ranks.mjs', ...script],
      env: { ...(simulated && { TMPDIR: folder }), ...env },
    });
    return { ...outcome, ranks: told<Told>(outcome) };
  };
  const skip = (size: number) =>
    (!simulated && devices.length < size && `needs ${size} devices`) ||
    (!ncclStatus().available && `NCCL is unavailable: ${ncclStatus().detail}`);

  for (const size of number === 0 ? [2, 3] : [2]) {
    t.test(
      `${mpi.name}, ${size} ranks: means over NCCL have the bits of those through the host`,
      { skip: skip(size) },
      async (t) => {
        const [over, through] = [await run(size, ['sums']), await run(size, ['sums'], { SIGMATUNE_NCCL: 'off' })];
        t.equal(over.code, 0, over.err);
        t.equal(through.code, 0, through.err);
        t.equal(over.ranks.length, size);
        for (const [rank, { route, first, second }] of over.ranks.entries()) {
          t.same(route, { via: 'nccl' });
          const host = through.ranks[rank];
          t.match(host?.route, { via: 'host', reason: /^rank 0 on \S+: DISABLED: SIGMATUNE_NCCL=off/ });
          t.same(first, host?.first, `rank ${rank}`);
          t.same(second, host?.second, `rank ${rank}, second call`);
          t.same(first.slice(0, 4), over.ranks[0]?.first.slice(0, 4), 'the same bits on every rank');
        }
      },
    );
  }

  // What follows is NCCL's alone.
  if (number > 0) continue;

  t.test(`${mpi.name}: training over NCCL keeps the ranks together`, { skip: skip(2) }, async (t) => {
    const [over, through] = [await run(2, ['training']), await run(2, ['training'], { SIGMATUNE_NCCL: '0' })];
    t.equal(over.code, 0, over.err);
    t.same(over.ranks[0]?.route, { via: 'nccl' });
    for (const { values } of over.ranks) t.same(values, through.ranks[0]?.values);
  });

  t.test(`${mpi.name}: a rank without NCCL takes all through the host`, { skip: skip(2) }, async (t) => {
    const reference = await run(2, ['sums'], { SIGMATUNE_NCCL: 'off' });
    const without = await run(2, ['without']);
    t.equal(without.code, 0, without.err);
    for (const { route } of without.ranks) t.match(route, { via: 'host', reason: /^rank 1 on \S+: DISABLED/ });
    const mixed = await run(2, ['mixed']);
    t.equal(mixed.code, 0, mixed.err);
    for (const { route } of mixed.ranks) t.same(route, { via: 'host' });
    for (const { ranks } of [without, mixed]) {
      for (const { rank, first } of ranks) t.same(first, reference.ranks[rank]?.first);
    }
  });

  t.test(
    `${mpi.name}: one device for two ranks, or no NCCL at all`,
    { skip: !simulated && 'needs the simulated device' },
    async (t) => {
      const same = await run(2, ['sums'], { SIGMA_SIMULATED_UUID: '7' });
      t.equal(same.code, 0, same.err);
      for (const { route } of same.ranks) {
        t.match(route, { via: 'host', reason: /^ranks 0 and 1 have the same device; .*CUDA_VISIBLE_DEVICES/ });
      }
      const none = await run(2, ['sums'], { SIGMATUNE_NCCL_LIBRARY: '/nowhere/libnccl.so.2' });
      t.equal(none.code, 0, none.err);
      for (const { route } of none.ranks) {
        t.match(route, { via: 'host', reason: /^rank 0 on \S+: NOT_FOUND: NCCL 2\.14 or newer was not found/ });
      }
      const relative = await run(2, ['sums'], { SIGMATUNE_NCCL_LIBRARY: 'libnccl.so.2' });
      t.match(relative.ranks[0]?.route.reason, /expected an absolute path, got 'libnccl\.so\.2'/);
    },
  );

  t.test(
    `${mpi.name}: failures of NCCL are errors`,
    { skip: !simulated && 'needs the simulated device' },
    async (t) => {
      const timedOut = /^TIMED_OUT Communicator.allReduceGradients: ranks: expected all 2 to take part within 5 s/;
      const advice = 'with SIGMATUNE_NCCL=off gradients go through';
      const faults = {
        'SIGMA_SIMULATED_FAIL=nccl_join:status': [
          timedOut,
          new RegExp(`^NATIVE .*ncclCommInitRankConfig: system error \\(planted by a test\\); ${advice}`),
        ],
        'SIGMA_SIMULATED_FAIL=nccl:status': [timedOut, new RegExp(`^NATIVE .*ncclGroupEnd: invalid usage .*${advice}`)],
        'SIGMA_SIMULATED_FAIL=nccl': [timedOut, timedOut],
        'SIGMA_SIMULATED_STUCK=1': [timedOut, timedOut],
      };
      const outcomes = await Promise.all(
        Object.keys(faults).map((fault) => run(2, ['fails', fault, fault.includes('STUCK') ? 'all' : '1'])),
      );
      for (const [i, [fault, errors]] of Object.entries(faults).entries()) {
        const { code, signal, ranks, err } = outcomes[i] as Awaited<ReturnType<typeof run>>;
        t.not(code, 0);
        t.equal(signal, null, err);
        t.equal(ranks.length, 2, `${fault}: ${err}`);
        for (const [rank, { error, next, unchanged }] of ranks.entries()) {
          t.match(error, errors[rank] as RegExp, `${fault}, rank ${rank}`);
          t.match(next, /^NATIVE .*an earlier call failed/, `${fault}, rank ${rank}: the next call`);
          t.ok(unchanged, `${fault}, rank ${rank}: nothing is written`);
        }
      }
    },
  );
}
