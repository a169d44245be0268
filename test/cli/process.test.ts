/** The program among others: pipes, full disks, terminals, signals, faults of its own; `sigmatune bench`. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cli } from '../support/bench.js';
import { disposeScene, makeScene, program, sigmatune, start } from '../support/cli.js';
import { plainEnvironment } from '../support/process.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const shell = (script: string) =>
  spawnSync('sh', ['-c', script, 'sh', process.execPath, program], {
    cwd: folder,
    env: plainEnvironment(),
    encoding: 'utf8',
  });

t.test('a reader that ends early is no failure, a full disk is one', async (t) => {
  const early = shell('("$1" "$2" inspect model.safetensors; echo "status $?" >&2) | true');
  t.equal(early.stderr, 'status 0\n');
  if (!existsSync('/dev/full')) return;
  const full = shell('"$1" "$2" inspect model.safetensors > /dev/full');
  t.equal(full.status, 1);
  t.match(full.stderr, /^sigmatune inspect: ENOSPC: no space left on device, write\n$/);
});

const control = String.fromCharCode(27);
const noTerminal = !existsSync('/usr/bin/script') && 'no program `script`, which makes a terminal';
/** What the program prints on a terminal. The test runner and CI want no colours, which a user may. */
function onTerminal(command: string, variables: Readonly<Record<string, string>> = {}): string {
  const { NO_COLOR: _, FORCE_COLOR: __, CI: ___, ...env } = plainEnvironment();
  const line = `"${process.execPath}" "${program}" ${command}`;
  const { stdout } = spawnSync('script', ['-qec', line, '/dev/null'], {
    cwd: folder,
    env: { ...env, TERM: 'xterm-256color', ...variables },
    encoding: 'utf8',
  });
  return stdout;
}

t.test('in colour on a terminal only, and not with NO_COLOR', { skip: noTerminal }, async (t) => {
  const [bold, red] = [`${control}[1m`, `${control}[31m`];
  t.match(onTerminal('inspect model.safetensors'), `${bold}tensor`);
  t.notOk(onTerminal('inspect model.safetensors', { NO_COLOR: '1' }).includes(control));
  t.notOk(onTerminal('inspect model.safetensors', { TERM: 'dumb' }).includes(control));
  t.match(onTerminal('inspect missing'), `${red}sigmatune inspect:`);
  t.notOk((await sigmatune(['inspect', 'model.safetensors'], { cwd: folder })).out.includes(control));
  const json = onTerminal('inspect model.safetensors --json');
  t.equal(JSON.parse(json).kind, 'safetensors', 'JSON has no colours');
});

t.test('progress on a terminal is one line, which is gone at the end', { skip: noTerminal }, async (t) => {
  const out = onTerminal('erank model.safetensors');
  const cleared = `\r${control}[K`;
  const [, ...lines] = out.split(cleared);
  t.match(lines[0], /^█+░* \d+ % /);
  t.ok(
    lines.slice(0, -1).every((line) => !line.includes('\n') && line.length < 80),
    out,
  );
  t.match(lines.at(-1), /^.*module +out × in/, 'the result comes after it');
  t.notOk(onTerminal('erank model.safetensors --quiet').includes('█'));
});

t.test('Ctrl-C while stdin is read', async (t) => {
  const child = start(['plan', '-', '--targets', 'a', '--family', 'svft'], { cwd: folder });
  let err = '';
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  // It waits for stdin, which never ends: the signal is sent until the handler is there.
  const timer = setInterval(() => {
    if (err === '') child.kill('SIGINT');
  }, 3000);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...ending) => resolve(ending)),
  );
  clearInterval(timer);
  t.ok(code === 130 || signal === 'SIGINT', `${code} ${signal} ${err}`);
});

t.test('a fault of the program has a code of its own, and a stack', async (t) => {
  const env = { NODE_OPTIONS: '--import=data:text/javascript,process.stdout.write=()=>{throw(new(Error)(5))}' };
  const { code, out, err } = await sigmatune(['info'], { env });
  t.same([code, out], [4, '']);
  t.match(err, /^sigmatune info: a fault of this program; please report it.*\nError: 5\n +at /);
});

t.test('bench is the program of the benchmarks, with its own arguments and codes', async (t) => {
  const env = plainEnvironment();
  for (const args of [
    ['--help'],
    ['run', '--help'],
    ['run', '--list', '--short'],
    ['nope'],
    ['export', 'missing.json'],
  ]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'bench', ...args], {
      cwd: folder,
      env,
      encoding: 'utf8',
    });
    t.same(
      await sigmatune(['bench', ...args], { cwd: folder }),
      { code: status, out: stdout, err: stderr },
      args.join(' '),
    );
  }
  const { code, out } = await sigmatune(['help', 'bench']);
  t.equal(code, 0);
  t.match(out, /sigmatune bench run/);
  const few = ['calls', 'matmul 8 × 8', '--processes', '1', '--milliseconds', '1'];
  const run = await sigmatune(['bench', 'run', ...few], { cwd: folder });
  t.equal(run.code, 0, run.err);
  t.match(run.out, /\| calls matmul 8 × 8 +\|/);
});

t.test('a folder with a name like an option', async (t) => {
  writeFileSync(join(folder, '--odd.json'), '{"a.weight": [4, 8]}');
  const args = ['plan', '--targets', 'a', '--family', 'svdiff', '--json'];
  const { code, out } = await sigmatune([...args, '--', '--odd.json'], { cwd: folder });
  t.equal(code, 0);
  t.equal(JSON.parse(out).totals.parameters, 4);
});
