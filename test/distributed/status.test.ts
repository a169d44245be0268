/** What a process knows of MPI, and when it starts MPI. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test as Tap } from 'tap';
import { installed, output } from '../support/mpi.js';
import { runScript } from '../support/process.js';

t.setTimeout(600_000);

const { mpis } = await installed();

/** Environments, and what a process knows of MPI in each: its status, and the rank and size or the refusal of `init`. */
type Statuses = [environment: Record<string, string>, expected: object][];

async function checkStatuses(t: Tap, cases: Statuses) {
  const { out, err } = await runScript('mpi-status.mjs', JSON.stringify(cases.map(([environment]) => environment)));
  t.match(out, /^\[/, err);
  const statuses = JSON.parse(out);
  for (const [i, [environment, expected]] of cases.entries())
    t.match(statuses[i], expected, JSON.stringify(environment));
}

/** Compiles a library that only tells its name, 'fake', after a change of its table. */
async function fakeLibrary(folder: string, name: string, change = '') {
  const source = `#include "contract/mpi.h"
static const char* name(void) { return "fake"; }
const sigma_mpi* sigma_open_mpi(uint32_t version) {
  static sigma_mpi table = {.struct_size = sizeof(sigma_mpi), .library = name};
  table.version = version;
  ${change};
  return &table;
}`;
  const library = join(folder, `${name}.so`);
  writeFileSync(join(folder, `${name}.c`), source);
  const native = fileURLToPath(new URL('../../native', import.meta.url));
  const args = ['-shared', '-fPIC', `-I${native}`, '-o', library, join(folder, `${name}.c`)];
  const { code, err } = await output(mpis[0]?.mpicc ?? '', args);
  if (code !== 0) throw new Error(err);
  return library;
}

t.test('what is missing or wrong is told', async (t) => {
  const folder = t.testdir({ 'empty.so': '' });
  const absent = join(folder, 'no.so');
  const cases: Statuses = [
    [
      { SIGMATUNE_MPI_LIBRARY: absent },
      { available: false, code: 'NOT_BUILT', searched: [absent], detail: /build:mpi/, isSame: true, isFrozen: true },
    ],
    [{ SIGMATUNE_MPI_LIBRARY: join(folder, 'empty.so') }, { available: false, code: 'LOAD_FAILED' }],
    [{ SIGMATUNE_MPI_LIBRARY: 'no.so' }, { code: 'LOAD_FAILED', detail: /expected an absolute path, got 'no.so'/ }],
    [{ SIGMATUNE_MPI: 'off' }, { code: 'DISABLED', searched: [] }],
  ];
  if (mpis.length > 0) {
    // Libraries of other versions of the package.
    for (const [i, change] of ['return 0', '++table.version', '--table.struct_size'].entries()) {
      const library = await fakeLibrary(folder, `${i}`, change);
      cases.push([{ SIGMATUNE_MPI_LIBRARY: library }, { code: 'ABI_MISMATCH', searched: [library] }]);
    }
    const [one, other] = [await fakeLibrary(folder, 'one'), await fakeLibrary(folder, 'other')];
    const found = { available: true, library: 'fake', searched: [one] };
    const second = { code: 'LOAD_FAILED', detail: /another library for MPI is already open/ };
    cases.push([{ SIGMATUNE_MPI_LIBRARY: one }, found], [{ SIGMATUNE_MPI_LIBRARY: other }, second]);
    cases.push([{ SIGMATUNE_MPI_LIBRARY: one }, found]);
  }
  await checkStatuses(t, cases);
});

const noMpi = mpis.length === 0 && 'needs a compiler of MPI';
t.test('MPI is started where a launcher is known, or asked for', { skip: noMpi }, async (t) => {
  const library = { SIGMATUNE_MPI_LIBRARY: await fakeLibrary(t.testdir({}), 'fake') };
  // MPI would be started: on the main thread.
  const started = ['UNSUPPORTED', /main thread/];
  const cases: [Record<string, string>, unknown[]][] = [
    [{ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, [0, 1]],
    [{ PMI_RANK: '0' }, started],
    [{ PMIX_RANK: '0' }, started],
    [{ SIGMATUNE_MPI: 'on' }, started],
    [{ SIGMATUNE_MPI: '1' }, [0, 1]],
  ];
  await checkStatuses(
    t,
    cases.map(([launcher, joined]) => [{ ...library, ...launcher }, { joined }]),
  );
});

t.test('a launcher of one process, or of an unknown number, needs no library; one of several does', async (t) => {
  const refused = (ranks: string) => ['UNSUPPORTED', new RegExp(`for the ${ranks} started, got NOT_BUILT`)];
  const cases: [Record<string, string>, unknown[]][] = [
    [{}, [0, 1]],
    [{ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, [0, 1]],
    [{ OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' }, refused("2 ranks that Open MPI's mpirun")],
    [{ PMI_RANK: '0', PMI_SIZE: '3' }, refused("3 ranks that MPICH's mpirun.*")],
    [{ PMI_RANK: '0', PMI_SIZE: '2.5' }, [0, 1]],
    [{ PMI_RANK: '0', PMI_SIZE: '' }, [0, 1]],
    [{ PMIX_RANK: '0' }, [0, 1]],
    [{ SIGMATUNE_MPI: 'on' }, [0, 1]],
  ];
  const library = { SIGMATUNE_MPI_LIBRARY: '/nowhere.so' };
  await checkStatuses(
    t,
    cases.map(([launcher, joined]) => [{ ...library, ...launcher }, { joined }]),
  );
});
