// Kept runs: what a file must hold, what it is turned into, and that nothing whole is ever overwritten by what is not.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  changed,
  checkSameMachine,
  exampleRun,
  formats,
  markdownTable,
  matched,
  ownInstructions,
  plainLines,
  quantiles,
  type Run,
  readRun,
  shellWord,
  writeAll,
  writeWhole,
} from '../support/bench.js';

/** The example's JSON with one field changed. */
const altered = (path: readonly (string | number)[], value: unknown): string =>
  JSON.stringify(changed(exampleRun(), path, value));

t.test('a whole run is read, and more fields than are known', async (t) => {
  t.same(readRun('a.json', JSON.stringify(exampleRun())), exampleRun());
  t.doesNotThrow(() => readRun('a.json', altered(['note'], 'of a later program')));
  const [found] = readRun('a.json', altered(['cases', 0, 'error'], null)).cases;
  t.equal(found?.error, Number.POSITIVE_INFINITY, 'an error that JSON cannot hold is beyond every bound');
});

t.test('anything else is refused, with the file and the field', async (t) => {
  const whole = JSON.stringify(exampleRun());
  const cases: [string, string, RegExp][] = [
    ['cut short', whole.slice(0, whole.length / 2), /a\.json: not JSON, or cut short/],
    ['empty', '', /a\.json: not JSON/],
    ['of others', '{"results": []}', /a\.json: not a run of sigmatune bench/],
    ['a list', '[]', /not a run/],
    ['null', 'null', /not a run/],
    ['another version', altered(['version'], 2), /version 2 of the schema, this program reads 1/],
    ['no cases', altered(['cases'], []), /cases: expected a list of at least 1/],
    ['no name', altered(['cases', 1, 'name'], undefined), /cases\[1\]\.name: expected a text, got nothing/],
    [
      'a negative time',
      altered(['cases', 0, 'minima', 'p50'], -1),
      /cases\[0\]\.minima\.p50: expected a number above 0/,
    ],
    ['no samples', altered(['cases', 0, 'processes', 0, 'samples'], []), /processes\[0\]\.samples/],
    ['a text for a number', altered(['environment', 'threads'], '2'), /environment\.threads/],
    ['no ceiling', altered(['ceilings', 'gemm'], undefined), /ceilings\.gemm/],
    ['no date', altered(['created'], 'yesterday'), /created: expected a date/],
    ['a huge number', altered(['cases', 0, 'flops'], 1e308), /flops: expected a number above 0 \(1e-30 to 1e30\)/],
    ['a tiny number', altered(['cases', 0, 'bytes'], 1e-300), /bytes: expected a number above 0/],
    ['a control character', altered(['cases', 0, 'name'], 'svd \x1b[2J'), /name: expected .* none of them a control/],
    ['a change of direction', altered(['cases', 0, 'suite'], 'svd \u202e'), /suite: expected .* none of them/],
    ['a long text', altered(['environment', 'cpu'], 'x'.repeat(1001)), /cpu: expected at most 1000 characters/],
    ['a date with words', altered(['created'], '2026-11-23 (<b>)'), /created: expected a date/],
    ['two cases of one name', altered(['cases', 1, 'name'], 'svd one'), /cases\[1\]\.name: expected a name of its own/],
    ['many cases', altered(['cases'], new Array(5001).fill(null)), /cases: expected a list of at most 5000/],
    ['another unit', altered(['cases', 0, 'unit'], 's'), /cases\[0\]\.unit: expected 'ms', got "s"/],
  ];
  for (const [what, json, message] of cases) t.throws(() => readRun('a.json', json), { message }, what);
});

t.test('runs of different machines are not set beside one another', async (t) => {
  const one = exampleRun();
  t.doesNotThrow(() => checkSameMachine(one, exampleRun()));
  for (const [field, value] of [
    ['cpu', 'another'],
    ['threads', 1],
    ['simd', 'avx512'],
    ['platform', 'darwin-arm64'],
    ['processors', 4],
  ] as const) {
    const other = exampleRun();
    other.environment[field] = value;
    t.throws(() => checkSameMachine(one, other), { message: new RegExp(`different machines.*${field} `) }, field);
  }
});

t.test('exports', async (t) => {
  const run = exampleRun();
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

t.test('outputs replace nothing but plain files', async (t) => {
  const folder = t.testdir({
    'kept.json': 'old',
    real: { 'a.json': 'old' },
    link: t.fixture('symlink', 'real/a.json'),
  });
  const at = (name: string): string => join(folder, name);
  spawnSync('mkfifo', [at('fifo')]);
  symlinkSync('nowhere', at('dangling'));
  for (const [name, kind] of [
    ['fifo', 'a FIFO'],
    ['dangling', 'a link to nothing'],
    ['real', 'a folder'],
  ] as const) {
    t.throws(() => writeWhole(at(name), 'new'), {
      message: new RegExp(`${name}: .*expected a plain file.* got ${kind}`),
    });
  }
  t.ok(lstatSync(at('fifo')).isFIFO());
  // A node of its own: a fault here must not cost the machine its devices. Only root can make one.
  if (spawnSync('mknod', [at('device'), 'c', '1', '3']).status === 0) {
    t.throws(() => writeWhole(at('device'), 'new'), { message: /got a device/ });
    t.ok(lstatSync(at('device')).isCharacterDevice());
    rmSync(at('device'));
  }

  chmodSync(at('real/a.json'), 0o640);
  writeWhole(at('link'), 'new');
  t.ok(lstatSync(at('link')).isSymbolicLink(), 'a link stays one');
  t.equal(readFileSync(at('real/a.json'), 'utf8'), 'new', 'and what it leads to is replaced');
  t.equal(statSync(at('real/a.json')).mode & 0o777, 0o640, 'with its mode');

  const files = [at('one.html'), at('kept.json/two.svg')].map((file) => [file, 'new'] as const);
  t.throws(() => writeAll(files), { message: /two\.svg: could not be written/ });
  t.notOk(existsSync(at('one.html')), 'of several files all are written or none');
  t.same(readdirSync(folder).sort(), ['dangling', 'fifo', 'kept.json', 'link', 'real'], 'nothing is left behind');
});

t.test('compared runs name the cases that one of them lacks', async (t) => {
  const head = changed(exampleRun(), ['cases', 1, 'name'], 'svd new');
  const { pairs, onlyBase, onlyHead } = matched(exampleRun(), head);
  t.equal(pairs.length, 1);
  t.same([onlyBase, onlyHead], [['svd | two'], ['svd new']]);
});

t.test('text from elsewhere stays text in Markdown, in a terminal and in a shell', async (t) => {
  const hostile = '<img src=x onerror=alert(1)> ![a](http://b) **c** `d` | e\n::error::f';
  const table = markdownTable(['case'], [[hostile]]);
  t.equal(table.split('\n').length, 3, 'one row');
  t.notMatch(table, /<|[^\\]\[|[^\\]\*|[^\\]`|\n::/);
  const run = changed(exampleRun(), ['environment', 'cpu'], '<script>alert(1)</script>');
  t.notMatch(formats['markdown']?.(run), /<script/);
  t.equal(plainLines('a\x1b[2J\u202eb\nc\r'), 'a\uFFFD[2J\uFFFDb\nc\uFFFD');
  const word = "it's $(touch x) `y`";
  t.equal(spawnSync('sh', ['-c', `printf %s ${shellWord(word)}`], { encoding: 'utf8' }).stdout, word);
});

t.test('quantiles take any number of samples', async (t) => {
  t.same(quantiles(new Array(500_000).fill(2)), { min: 2, p10: 2, p50: 2, p90: 2 });
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
