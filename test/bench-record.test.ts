// Kept runs: what a file must hold, what it is turned into, and that nothing whole is ever overwritten by what is not.
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkSameMachine, formats, ownInstructions, type Run, readRun, writeWhole } from './bench.js';

const quantiles = { min: 1, p10: 1.1, p50: 1.2, p90: 1.4 };

/** A run as `bench run` keeps it. */
function example(): Run {
  const each = (name: string, error: number) => ({
    name,
    suite: 'svd',
    panel: 'SVD',
    series: 'single',
    size: 64,
    parameters: { kind: 'single' },
    unit: 'ms',
    flops: 1e6,
    bytes: 1e4,
    least: 0.1,
    share: 0.08,
    error,
    bound: 1e-5,
    processes: [{ ...quantiles, samples: [1, 1.2, 1.4] }],
    minima: quantiles,
  });
  return {
    schema: 'sigmatune-bench',
    version: 1,
    created: '2026-11-23T07:00:00.000Z',
    environment: {
      cpu: 'a processor',
      processors: 2,
      memoryBytes: 1e10,
      platform: 'linux-x64',
      node: 'v20.20.2',
      sigmatune: '0.1.0',
      simd: 'avx2',
      threads: 2,
      blas: 'OpenBLAS',
      gpu: { available: false, code: 'NOT_BUILT' },
      governor: null,
      commit: null,
      load: 0.5,
    },
    ceilings: { gemm: { flopsPerSecond: 1e11 }, copy: [{ bytes: 1e6, bytesPerSecond: 1e10 }] },
    cases: [each('svd one', 1e-6), each('svd | two', 2e-6)],
  };
}

/** The example with one field changed; undefined takes it away. */
function changed(path: readonly (string | number)[], value: unknown): string {
  const run = structuredClone(example());
  const last = path[path.length - 1] ?? '';
  const holder = path
    .slice(0, -1)
    .reduce<Record<string | number, unknown>>(
      (at, key) => at[key] as Record<string | number, unknown>,
      run as unknown as Record<string | number, unknown>,
    );
  holder[last] = value;
  return JSON.stringify(run);
}

t.test('a whole run is read, and more fields than are known', async (t) => {
  t.same(readRun('a.json', JSON.stringify(example())), example());
  t.doesNotThrow(() => readRun('a.json', changed(['note'], 'of a later program')));
  const [found] = readRun('a.json', changed(['cases', 0, 'error'], null)).cases;
  t.equal(found?.error, Number.POSITIVE_INFINITY, 'an error that JSON cannot hold is beyond every bound');
});

t.test('anything else is refused, with the file and the field', async (t) => {
  const whole = JSON.stringify(example());
  const cases: [string, string, RegExp][] = [
    ['cut short', whole.slice(0, whole.length / 2), /a\.json: not JSON, or cut short/],
    ['empty', '', /a\.json: not JSON/],
    ['of others', '{"results": []}', /a\.json: not a run of sigmatune bench/],
    ['a list', '[]', /not a run/],
    ['null', 'null', /not a run/],
    ['another version', changed(['version'], 2), /version 2 of the schema, this program reads 1/],
    ['no cases', changed(['cases'], []), /cases: expected a list of at least 1/],
    ['no name', changed(['cases', 1, 'name'], undefined), /cases\[1\]\.name: expected a text, got nothing/],
    [
      'a negative time',
      changed(['cases', 0, 'minima', 'p50'], -1),
      /cases\[0\]\.minima\.p50: expected a number above 0/,
    ],
    ['no samples', changed(['cases', 0, 'processes', 0, 'samples'], []), /processes\[0\]\.samples/],
    ['a text for a number', changed(['environment', 'threads'], '2'), /environment\.threads/],
    ['no ceiling', changed(['ceilings', 'gemm'], undefined), /ceilings\.gemm/],
    ['no date', changed(['created'], 'yesterday'), /created: expected a date/],
    ['another unit', changed(['cases', 0, 'unit'], 's'), /cases\[0\]\.unit: expected 'ms', got "s"/],
  ];
  for (const [what, json, message] of cases) t.throws(() => readRun('a.json', json), { message }, what);
});

t.test('runs of different machines are not set beside one another', async (t) => {
  const one = example();
  t.doesNotThrow(() => checkSameMachine(one, example()));
  for (const [field, value] of [
    ['cpu', 'another'],
    ['threads', 1],
    ['simd', 'avx512'],
    ['platform', 'darwin-arm64'],
    ['processors', 4],
  ] as const) {
    const other = example();
    other.environment[field] = value;
    t.throws(() => checkSameMachine(one, other), { message: new RegExp(`different machines.*${field} `) }, field);
  }
});

t.test('exports', async (t) => {
  const run = example();
  const github = JSON.parse(formats['github']?.(run) ?? '');
  t.match(github[0], { name: 'svd one', unit: 'ms', value: 1.2, range: '1.100 to 1.400' });
  t.match(github[0].extra, /1 processes, error 1\.0e-6/);
  t.equal(github.length, 2);
  t.same(JSON.parse(formats['bencher']?.(run) ?? ''), {
    'svd one': { latency: { value: 1.2e6, lower_value: 1.1e6, upper_value: 1.4e6 }, error: { value: 1e-6 } },
    'svd | two': { latency: { value: 1.2e6, lower_value: 1.1e6, upper_value: 1.4e6 }, error: { value: 2e-6 } },
  });
  const markdown = formats['markdown']?.(run) ?? '';
  t.match(markdown, /\| svd one +\| 1\.200 ms \|/);
  t.match(markdown, /svd \\\| two/, 'a bar in a name does not end a cell');
  const rows = markdown.split('\n').filter((line) => line.startsWith('|'));
  t.equal(new Set(rows.map((row) => row.length)).size, 1, 'columns stand one below the other');
  run.cases[0] = { ...run.cases[0], error: 1 } as Run['cases'][number];
  t.match(formats['markdown']?.(run), /1e-5 EXCEEDED/, 'a wrong result is told');
});

t.test('a file is replaced whole, or stays as it was', async (t) => {
  const folder = t.testdir({ 'kept.json': 'old' });
  const file = join(folder, 'kept.json');
  writeWhole(file, 'new');
  t.equal(readFileSync(file, 'utf8'), 'new');
  writeWhole(join(folder, 'deep', 'er', 'one.json'), 'made');
  t.ok(existsSync(join(folder, 'deep', 'er', 'one.json')), 'folders are made');
  mkdirSync(join(folder, 'taken'));
  t.throws(() => writeWhole(join(folder, 'taken'), 'new'), { message: /taken: could not be written/ });
  t.same(readdirSync(folder).sort(), ['deep', 'kept.json', 'taken'], 'nothing half-written is left');
});

t.test('instructions of the addon and BLAS alone are counted, each once', async (t) => {
  const callgrind = [
    'events: Ir',
    'ob=(1) /usr/bin/node',
    'fn=(1) main',
    '0 1000',
    'cob=(2) /tmp/build/Release/sigmatune.node',
    'cfn=(2) spmm',
    'calls=3 0',
    '0 600',
    '0 7',
    'ob=(2)',
    'fn=(2)',
    '0 500',
    '+3 20',
    'cob=(3) /usr/lib/libopenblas.so.0',
    'calls=1 0',
    '* 80',
    'ob=(3)',
    'fn=(3) sgemm',
    '0 80',
    'ob=(4) /usr/lib/libc.so.6',
    '0 99',
  ].join('\n');
  t.equal(ownInstructions(callgrind), 500 + 20 + 80);
});
