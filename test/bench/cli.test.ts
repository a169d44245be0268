// `sigmatune bench` as it is typed: what it prints and writes, and how it ends.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { changed, cli, exampleGate, exampleRun, root } from '../support/bench.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

/** The test runner's loaders have no place in what is measured. */
const { NODE_OPTIONS: _, ...env } = process.env;

function sigmatune(...args: string[]): Outcome {
  return at(root, ...args);
}

function at(cwd: string, ...args: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { cwd, env, encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

/** Usage: 3, a message without a stack, and nothing on stdout. */
function refused(t: Test, { code, out, err }: Outcome, message: RegExp, label: string): void {
  t.equal(code, 3, `${label}: ends with 3`);
  t.match(err, message, label);
  t.notMatch(err, /^ +at /m, `${label}: no stack`);
  t.equal(out, '', `${label}: prints no result`);
}

const folder = t.testdir({
  'cut.json': '{"schema": "sigmatune-bench", "ver',
  'foreign.json': '[{"name": "a", "value": 1}]',
  'page.html': 'a page',
});
const inFolder = (name: string): string => join(folder, name);
const few = ['calls', '8', '--processes', '2', '--milliseconds', '5'];

t.test('help and version', async (t) => {
  for (const args of [[], ['--help'], ['bench'], ['bench', '--help']]) {
    const { code, out } = sigmatune(...args);
    t.equal(code, 0);
    t.match(out, /sigmatune bench run/);
  }
  for (const command of ['run', 'compare', 'gate', 'export', 'report']) {
    const { code, out } = sigmatune('bench', command, '--help');
    t.equal(code, 0);
    t.match(out, new RegExp(`^sigmatune bench ${command} `));
  }
  t.equal(sigmatune('--version').out.trim(), JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version);
});

t.test('what cannot be meant', async (t) => {
  refused(t, sigmatune('benhc'), /no command 'benhc'/, 'a command');
  refused(t, sigmatune('bench', 'ruin'), /no command 'bench ruin'/, 'a command of bench');
  refused(t, sigmatune('bench', 'run', '--fast'), /--fast/, 'an option');
  refused(t, sigmatune('bench', 'run', 'no such case'), /no case has 'no such case'/, 'a filter that matches nothing');
  refused(
    t,
    sigmatune('bench', 'run', 'calls', '--processes', '0'),
    /--processes: expected a whole number from 1/,
    'no process',
  );
  refused(
    t,
    sigmatune('bench', 'export', inFolder('cut.json')),
    /--format: expected github, bencher, markdown/,
    'no format',
  );
  refused(t, sigmatune('bench', 'compare', inFolder('cut.json')), /expected two files/, 'one file');
  refused(t, sigmatune('bench', 'gate'), /--base is missing/, 'no base');
  refused(
    t,
    sigmatune('bench', 'gate', '--base', '.', '--blocks', '3'),
    /--blocks: .* from 10 on, 1000 at most/,
    'few processes',
  );
  refused(t, sigmatune('bench', 'gate', '--base', '.', 'no such case'), /no case has/, 'a filter of the gate');
});

t.test('files that hold no run', async (t) => {
  const kept = readdirSync(folder).sort();
  for (const [file, message] of [
    ['cut.json', /cut\.json: not JSON, or cut short/],
    ['foreign.json', /foreign\.json: not a run/],
    ['missing.json', /missing\.json: could not be read/],
  ] as const) {
    const name = inFolder(file);
    refused(
      t,
      sigmatune('bench', 'export', name, '--format', 'github', '--out', inFolder('page.html')),
      message,
      'export',
    );
    refused(t, sigmatune('bench', 'compare', name, name), message, 'compare');
    refused(t, sigmatune('bench', 'report', name, '--out', inFolder('page.html')), message, 'report');
  }
  t.equal(readFileSync(inFolder('page.html'), 'utf8'), 'a page', 'nothing is overwritten');
  t.same(readdirSync(folder).sort(), kept, 'nothing is left behind');
});

t.test('arguments that name something else than what is wanted', async (t) => {
  const here = t.testdir({ 'run.json': JSON.stringify(exampleRun()), 'gate.json': JSON.stringify(exampleGate()) });
  const refuse = (args: string[], message: RegExp): void =>
    refused(t, at(here, 'bench', ...args), message, args.join(' '));
  for (const format of ['toString', 'constructor', '__proto__', 'hasOwnProperty']) {
    refuse(['export', 'run.json', '--format', format], /--format: expected github, bencher, markdown/);
  }
  refuse(['report', 'run.json', '--history', 'run.json'], /run\.json: expected a folder of kept runs/);
  refuse(['report', 'run.json', '--plots', 'run.json'], /could not be written/);
  refuse(['report', 'gate.json', '--baseline', 'run.json'], /leave --baseline and --history out/);
  refuse(['export', 'gate.json', '--format', 'github'], /not a run/);
  refuse(['run', '--case', 'calls'], /no case has the name 'calls'/);
  refuse(['run', 'calls', '--out', '.'], /\.: could not be written: .* got a folder/);
  refuse(['run', '--__proto__', 'x'], /Unknown option/);
  refuse(['run', 'calls', '--processes', '1e9'], /expected a whole number from 1 on, 100 at most/);
  refuse(['gate', '--base', '.', '--blocks', '1e9'], /--blocks: expected a whole number from 10 on, 1000 at most/);
  refuse(['gate', '--base', '.', '--instructions', '--out', 'a.json'], /leave it out with --instructions/);
  refuse(['gate', '--base=--output=a'], /expected a folder or a revision, got an option|no git repository/);
  t.same(readdirSync(here).sort(), ['gate.json', 'run.json'], 'nothing is written');
});

t.test("a gate's record can be reported", async (t) => {
  const here = t.testdir({ 'gate.json': JSON.stringify(exampleGate()) });
  const { code, err } = at(here, 'bench', 'report', 'gate.json', '--plots', 'plots');
  t.equal(code, 0, err);
  const html = readFileSync(join(here, 'bench-report.html'), 'utf8');
  t.match(html, /<h1>sigmatune gate: regression<\/h1>/);
  t.match(readdirSync(join(here, 'plots')), ['comparison.png', 'comparison.svg']);
});

t.test('messages hold nothing that a terminal obeys', async (t) => {
  const control = String.fromCharCode(27);
  const here = t.testdir({
    'cut.json': `{"a": ${control}[2J`,
    'version.json': JSON.stringify(changed(exampleRun(), ['version'], `${control}[2J`)),
    'name.json': JSON.stringify(changed(exampleRun(), ['cases', 0, 'name'], `${control}[2J`)),
  });
  for (const file of readdirSync(here)) {
    const { code, err } = at(here, 'bench', 'export', file, '--format', 'github');
    t.equal(code, 3, file);
    t.notOk(err.includes(control), file);
  }
});

t.test('a reader that ends early, a full disk, and a fault of the program', async (t) => {
  const list = (to: string): string => {
    const script = `("$1" "$2" bench run --list; echo "status $?" >&2) ${to}`;
    return spawnSync('sh', ['-c', script, 'sh', process.execPath, cli], { env, encoding: 'utf8' }).stderr;
  };
  t.equal(list('| true'), 'status 0\n', 'the command ends as it would have, without a stack');
  if (existsSync('/dev/full')) {
    t.match(list('> /dev/full'), /^sigmatune: stdout could not be written .*\nstatus 3\n$/);
  }
  const broken = { ...env, NODE_OPTIONS: `--import=data:text/javascript,process.stdout.write=()=>{throw{}}` };
  const fault = spawnSync(process.execPath, [cli, '--version'], { env: broken, encoding: 'utf8' });
  t.equal(fault.status, 4, 'not 1, which means a regression');
  t.match(fault.stderr, /a fault of this program/);
});

t.test('run, compare, export, report', async (t) => {
  const [one, two] = [inFolder('one.json'), inFolder('two.json')];
  const run = sigmatune('bench', 'run', ...few, '--out', one);
  t.equal(run.code, 0, run.err);
  t.match(run.out, /\| calls matmul 8 × 8 +\|/);
  const kept = JSON.parse(readFileSync(one, 'utf8'));
  t.equal(kept.cases.length, 4, 'the cases whose names have both words');
  t.equal(kept.cases[0].processes.length, 2);
  for (const { error, bound, share, least } of kept.cases) t.ok(error <= bound && share > 0 && least > 0);

  sigmatune('bench', 'run', ...few, '--out', two);
  const compared = sigmatune('bench', 'compare', one, two);
  t.equal(compared.code, 0, compared.err);
  t.match(compared.out, /\| calls matmul 8 × 8 .* % to .* % \|/);
  writeFileSync(inFolder('less.json'), JSON.stringify({ ...kept, cases: kept.cases.slice(1) }));
  t.match(sigmatune('bench', 'compare', one, inFolder('less.json')).out, /Only the base has: calls matmul 8 × 8\./);
  t.match(sigmatune('bench', 'compare', inFolder('less.json'), one).out, /Only the head has: calls matmul 8 × 8\./);

  const other = { ...kept, environment: { ...kept.environment, cpu: 'another' } };
  writeFileSync(inFolder('other.json'), JSON.stringify(other));
  refused(
    t,
    sigmatune('bench', 'compare', one, inFolder('other.json')),
    /different machines or settings: cpu/,
    'machines',
  );
  const none = { ...kept, cases: [{ ...kept.cases[0], name: 'calls of another time' }] };
  writeFileSync(inFolder('none.json'), JSON.stringify(none));
  refused(t, sigmatune('bench', 'compare', one, inFolder('none.json')), /no case in common/, 'no common case');
  const wrong = { ...kept, cases: [{ ...kept.cases[0], error: 1 }] };
  writeFileSync(inFolder('wrong.json'), JSON.stringify(wrong));
  t.equal(sigmatune('bench', 'compare', one, inFolder('wrong.json')).code, 1, 'a fast wrong kernel does not pass');

  const exported = sigmatune('bench', 'export', one, '--format', 'bencher');
  t.equal(JSON.parse(exported.out)['calls matmul 8 × 8'].error.value, kept.cases[0].error);

  const [page, plots] = [inFolder('page.html'), inFolder('plots')];
  const report = sigmatune(
    'bench',
    'report',
    two,
    '--baseline',
    one,
    '--history',
    t.testdir({ 'a.json': JSON.stringify(kept) }),
    '--out',
    page,
    '--plots',
    plots,
  );
  t.equal(report.code, 0, report.err);
  const html = readFileSync(page, 'utf8');
  t.notMatch(html, /\b(src|href)=|@import|url\(|https?:/, 'it needs no network');
  for (const { name } of kept.cases) t.ok(html.includes(name), name);
  t.equal(html.match(/<svg/g)?.length, 3, 'roofline, comparison, history');
  t.same(
    readdirSync(plots).sort(),
    ['comparison', 'history', 'roofline'].flatMap((name) => [`${name}.png`, `${name}.svg`]),
  );
  t.equal(readFileSync(join(plots, 'roofline.png')).toString('latin1', 1, 4), 'PNG');
});

/** git as somebody, in a repository. */
function gitIn(repository: string): (...args: string[]) => void {
  const as = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'init.defaultBranch=main'];
  return (...args) => {
    spawnSync('git', [...as, ...args], { cwd: repository });
  };
}

/** A build whose functions are this one's but for what `change` says. */
function build(t: Test, change: string): string {
  const real = JSON.stringify(join(root, 'dist', 'index.js'));
  return t.testdir({ dist: { 'index.js': `export * from ${real};\nimport * as real from ${real};\n${change}` } });
}

const slow = `export const matmul = (...args) => {
  for (let i = 0; i < 5; i++) real.matmul(...args).dispose();
  return real.matmul(...args);
};`;
const half = `export const matmul = (a, b, options) => real.matmul(a, a, options && { transposeB: true });`;
const gone = `export const matmul = undefined;`;
const small = 'calls matmul 8';

t.test('gate: a slower build ends with 1, the same one with 0', async (t) => {
  const record = inFolder('gate.json');
  const slower = sigmatune('bench', 'gate', '--base', root, '--head', build(t, slow), small, '--out', record);
  t.equal(slower.code, 1, slower.out + slower.err);
  t.match(slower.out, /calls matmul 8 × 8 \| regression/);
  t.match(slower.out, /\*\*regression\*\*: proved slower, wrong or broken: calls matmul 8 × 8/);
  const kept = JSON.parse(readFileSync(record, 'utf8'));
  t.match(kept, { schema: 'sigmatune-gate', version: 1, verdict: 'regression' });
  t.ok(kept.cases[0].rounds.flat().length >= 20, 'with all its measurements');
  t.match(
    slower.out,
    /^ {4}node bench\/cli\.js bench gate .* '--case=calls matmul 8 × 8'$/m,
    'and how to see it again',
  );
  t.equal(sigmatune('bench', 'report', record, '--out', inFolder('gate.html')).code, 0);
  const same = sigmatune('bench', 'gate', '--base', root, '--head', build(t, ''), small, '--rounds', '2');
  // A machine under load may leave it undecided; it must not call it a regression.
  t.ok(same.code === 0 || same.code === 2, same.out + same.err);
});

t.test('gate: a wrong or broken head fails at once, whatever its speed', async (t) => {
  const wrong = sigmatune('bench', 'gate', '--base', root, '--head', build(t, half), small);
  t.equal(wrong.code, 1, wrong.err);
  t.match(wrong.out, /wrong: error .* beyond 3e-6/);
  const broken = sigmatune('bench', 'gate', '--base', root, '--head', build(t, gone), small);
  t.equal(broken.code, 1, broken.err);
  t.match(broken.out, /broken: the head cannot run it/);
  const fresh = sigmatune('bench', 'gate', '--base', build(t, gone), '--head', root, small);
  refused(t, fresh, /the base can run none of these cases/, 'nothing to compare with');
});

t.test('gate: builds that there are not, or that do not build', async (t) => {
  const gate = (cwd: string, base: string): Outcome => at(cwd, 'bench', 'gate', '--base', base, small);
  refused(t, gate(root, t.testdir({})), /no dist\/index\.js/, 'a folder that is not built');
  refused(t, gate(root, 'no-such-revision'), /neither a folder nor a revision/, 'no such revision');
  refused(t, gate(root, build(t, 'throw new Error("does not load");')), /does not load/, 'a build that does not load');

  const repository = t.testdir({ scripts: { 'setup.mjs': 'console.error("no compiler here"); process.exit(1);' } });
  const git = gitIn(repository);
  for (const args of [['init'], ['add', '.'], ['commit', '-m', 'one']]) git(...args);
  refused(t, gate(repository, 'HEAD'), /does not build:\nno compiler here/, 'a build that fails');
  t.notOk(existsSync(join(repository, '.git', 'worktrees')), 'and its worktree is gone');

  git('commit', '--allow-empty', '-m', 'two');
  git('clone', '--depth', '1', `file://${repository}`, 'clone');
  refused(t, gate(join(repository, 'clone'), 'HEAD~1'), /shallow clone: .*git fetch --unshallow/, 'a shallow clone');
});

t.test('gate: a case that only the base has is named, and leaves the gate undecided', async (t) => {
  const base = build(t, '');
  const program = `console.log('calls matmul 8 × 8\\ncalls matmul 9 × 9');`;
  mkdirSync(join(base, 'bench'));
  writeFileSync(join(base, 'bench', 'cli.js'), program);
  const { code, out, err } = sigmatune('bench', 'gate', '--base', base, '--head', root, small, '--seconds', '1');
  t.equal(code, 2, out + err);
  t.match(out, /The base has cases that this gate did not measure: calls matmul 9 × 9\./);
  t.match(out, /\| calls matmul 9 × 9 +\| dropped/);
});

t.test('npm run gate: nothing to compare, and nothing changed', async (t) => {
  const repository = t.testdir({ lib: { 'a.ts': '' }, native: { 'a.cc': '' }, 'README.md': 'one' });
  cpSync(join(root, 'scripts'), join(repository, 'scripts'), { recursive: true });
  cpSync(join(root, 'package-lock.json'), join(repository, 'package-lock.json'));
  const git = gitIn(repository);
  git('init');
  git('add', '.');
  git('commit', '-m', 'one');
  const gate = (): Outcome => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/gate.mjs'], {
      cwd: repository,
      env: { ...env, SIGMATUNE_GATE_BASE: '' },
      encoding: 'utf8',
    });
    return { code: status, out: stdout, err: stderr };
  };
  t.same(gate(), { code: 0, out: 'gate skipped: this checkout holds no earlier commit to compare with\n', err: '' });
  writeFileSync(join(repository, 'README.md'), 'two');
  git('commit', '-a', '-m', 'two');
  t.match(gate(), { code: 0, out: /^gate skipped: native, lib, binding\.gyp are as in [0-9a-f]+\n$/, err: '' });
});
