/** The report of a real card: its form, its conditions, and every benchmark in small size on the simulated device. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Plain JavaScript, which this compilation does not check: bench/tsconfig.json does. */
const load = (path: string) => import(pathToFileURL(join(root, path)).href);
const { complaints, mark } = await load('bench/figures/figure.js');
const { isSimulated, refusal } = await load('bench/figures/machine.js');
const { faults, isRight, report, reportName, writeReport } = await load('bench/figures/report.js');
const { markdown } = await load('bench/figures/table.js');
const { merged } = await load('scripts/gpu/merge.mjs');
const { judge } = await load('scripts/gpu/sanitizer.mjs');
const { count } = await load('scripts/gpu/suite.mjs');

const machine = {
  date: '2026-11-23T08:00:00.000Z',
  commit: { id: '0123456789abcdef0123456789abcdef01234567', changed: false },
  versions: { sigmatune: '0.1.0', node: 'v20.19.0', backend: 'cuda, cuBLASLt 13.1.1', searched: [] },
  card: { name: 'NVIDIA H200', capability: '9.0', memoryBytes: 2 ** 37, count: 1, driver: '580.1', smi: null },
  host: { platform: 'linux-x64', release: '', cpu: '', processors: 2, memoryBytes: 1, load: 0, simd: '', blas: '' },
};

const right = {
  section: 'sparse',
  name: 'spmm, diagonal',
  bytes: 1e8,
  time: { median: 0.05, low: 0.04, high: 0.06, samples: 20, repeat: 40 },
  marks: mark('share of a copy', { median: 0.9, low: 0.8, high: 0.95 }, 'higher', 0.85),
  errors: [{ value: 1e-7, bound: 1e-5, of: 'outputs' }],
};

t.test('a report', async (t) => {
  const made = report(machine, { cases: [right], parts: { bench: { outcome: 'passed', seconds: 1, detail: '' } } });
  t.same(faults(made), [], 'is one');
  t.same(faults(JSON.parse(JSON.stringify(made))), [], 'and is one when it was read again');
  t.ok(isRight(right));
  t.equal(right.marks[0]?.met, true);
  t.equal(reportName(machine), '2026-11-23-nvidia-h200.json');

  const text = markdown(made);
  for (const part of ['NVIDIA H200', '580.1', 'spmm, diagonal', '2000 GB/s', '0.900', '1 cases, 0 of them wrong']) {
    t.ok(text.includes(part), `the table tells ${part}`);
  }
});

t.test('invalid reports are refused', async (t) => {
  const made = report(machine, { cases: [right] });
  const broken: [string, unknown, string][] = [
    ['nothing', null, 'no object'],
    ['another schema', { ...made, schema: 'other' }, 'schema'],
    ['another version', { ...made, version: 2 }, 'version'],
    ['no card', { ...made, machine: { ...machine, card: { ...machine.card, name: '' } } }, 'card.name'],
    ['no commit', { ...made, machine: { ...machine, commit: { id: 'main' } } }, 'commit'],
    ['no date', { ...made, machine: { ...machine, date: 'today' } }, 'date'],
    ['a part without outcome', { ...made, parts: { suite: {} } }, 'outcome'],
    ['a case without name', { ...made, cases: [{ section: 'svd' }] }, 'name'],
    ['no time at all', { ...made, cases: [{ ...right, time: { ...right.time, median: 0, low: 0 } }] }, 'time'],
    ['one sample', { ...made, cases: [{ ...right, time: { ...right.time, samples: 1 } }] }, 'time'],
    ['a simulated device', simulated(made), 'simulated'],
  ];
  const folder = t.testdir();
  for (const [label, value, says] of broken) {
    t.ok(
      faults(value).some((fault: string) => fault.includes(says)),
      `${label}: ${faults(value)}`,
    );
    t.throws(() => writeReport(join(folder, 'report.json'), value), { message: /no report/ }, label);
  }
  t.same(readdirSync(folder), [], 'nothing of it is on the disk');
  writeReport(join(folder, 'report.json'), made);
  t.same(readdirSync(folder), ['report.json'], 'a whole one is, alone');
  t.same(faults(JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'))), []);
});

function simulated<T extends { machine: typeof machine }>(made: T): T {
  return { ...made, machine: { ...machine, versions: { ...machine.versions, backend: 'cuda (simulated)' } } };
}

t.test('wrong numbers are refused', async (t) => {
  const off = (value: number) => ({ ...right, errors: [{ value, bound: 1e-5, of: 'outputs' }] });
  t.same(complaints(off(1e-5)), [], 'the bound itself is right');
  for (const value of [2e-5, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.equal(complaints(off(value)).length, 1, `${value}`);
    t.notOk(isRight(off(value)));
    t.match(markdown(report(machine, { cases: [off(value)] })), /WRONG.*1 of them wrong/s);
  }
  t.notOk(isRight({ section: 'svd', name: 'svd', failure: 'out of memory' }));
  t.equal(mark('ms', { median: 2, low: 1, high: 3 }, 'lower', 1.9)[0]?.met, false);
});

t.test('reports of several runs', async (t) => {
  const svd = { section: 'svd', name: 'svd' };
  const one = report(machine, { cases: [right, { ...svd, name: 'old' }], notes: ['a'] });
  const other = report(machine, { cases: [svd], parts: { svd: { outcome: 'passed', seconds: 2, detail: '' } } });
  const both = merged([one, other]);
  t.same(faults(both), []);
  t.same(both.cases, [right, svd], 'later sections take the place of earlier ones');
  t.same(Object.keys(both.parts), ['svd']);
  const elsewhere = report({ ...machine, card: { ...machine.card, name: 'NVIDIA L4' } });
  t.throws(() => merged([one, elsewhere]), { message: /not of one card/ });
});

t.test('parsing the output of a test file', async (t) => {
  const end = { status: 0, signal: null, late: false, seconds: 1 };
  const counted = (output: string, more = {}) => count({ ...end, output, ...more });
  t.same(counted('# { total: 6, pass: 5, skip: 1 }\n'), { passed: 5, failed: 0, skipped: 1, detail: '' });
  const bad = counted('    not ok 1 - is right\n# { total: 2, pass: 1, fail: 1 }\n', { status: 1 });
  t.match(bad, { passed: 1, failed: 1, detail: /is right/ });
  t.match(
    counted('ok 1\n', { status: null, signal: 'SIGSEGV' }),
    { failed: 1, detail: /SIGSEGV/ },
    'a crash is a failure',
  );
  t.match(counted('', { late: true }), { failed: 1, detail: /stopped/ }, 'so is a hang');
});

t.test('parsing the output of a sanitizer', async (t) => {
  const said = (output: string, more = {}) => judge({ status: 0, late: false, output, ...more });
  t.equal(said('========= ERROR SUMMARY: 0 errors\n').outcome, 'passed');
  t.equal(said('========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n').outcome, 'passed');
  t.equal(said('========= ERROR SUMMARY: 10 errors\n', { status: 99 }).outcome, 'failed');
  t.equal(said('').outcome, 'failed', 'silence is no pass');
  t.equal(said('', { late: true }).outcome, 'unfinished');
});

t.test('machines that are refused', async (t) => {
  const device = { name: 'NVIDIA L4', memoryBytes: 1, capability: '8.9', uuid: 'GPU-0' };
  t.equal(refusal({ available: true, backend: 'cuda, cuBLASLt 13.1.1', devices: [device] }), undefined);
  t.match(refusal({ available: false, code: 'NO_DRIVER', detail: 'none' }), /NO_DRIVER: none/);
  t.ok(isSimulated({ available: true, backend: 'cuda (simulated)', devices: [device] }));
  t.ok(isSimulated({ available: true, backend: 'cuda', devices: [{ ...device, name: 'simulated device' }] }));
});

/** Runs without the test runner's loaders, as for a user. */
function node(env: Record<string, string>, ...args: string[]) {
  const { NODE_OPTIONS: _, ...own } = process.env;
  return spawnSync(process.execPath, args, { cwd: root, env: { ...own, ...env }, encoding: 'utf8', timeout: 300_000 });
}

t.test('no benchmark without CUDA', async (t) => {
  const out = join(t.testdir(), 'report.json');
  for (const args of [
    ['bench/gpu.js', '--out', out],
    ['bench/gpu.js', '--dry'],
    ['scripts/gpu/run.mjs', '--out', out],
  ]) {
    const { status, stdout, stderr } = node({ SIGMATUNE_CUDA: 'off' }, ...args);
    t.same({ status, stdout }, { status: 3, stdout: '' }, args.join(' '));
    t.match(stderr, /DISABLED/);
  }
  t.notOk(existsSync(out), 'and no report');
});

t.setTimeout(300_000);

const library = process.env['SIGMATUNE_CUDA_LIBRARY'];
const skip =
  !(library && process.env['SIGMATUNE_CUDA_SIMULATION'] === '1') && 'no simulated device: npm run test:cuda has it';

t.test('on the simulated device', { skip, timeout: 300_000 }, async (t) => {
  const out = join(t.testdir(), 'report.json');
  const measured = node({}, 'bench/gpu.js', 'copies', '--out', out);
  t.same({ status: measured.status, stdout: measured.stdout }, { status: 3, stdout: '' }, 'nothing is measured');
  t.match(measured.stderr, /simulated device has no speed/);
  t.notOk(existsSync(out));

  const dry = node({}, 'bench/gpu.js', '--dry', '--out', out);
  t.equal(dry.status, 0, dry.stderr);
  t.match(dry.stdout, /^[1-9]\d* right, 0 wrong$/m, 'every case is right');
  t.notMatch(dry.stdout, / ms\b|GB\/s|FLOP/, 'without a time');
  t.notOk(existsSync(out), 'and without a report');

  const none = node({}, 'bench/gpu.js', '--dry', 'nonsense');
  t.equal(none.status, 3);
  t.match(none.stderr, /none of copies, .* has nonsense/);
});
