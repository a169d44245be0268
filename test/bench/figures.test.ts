// The figures: every case of the CPU runs small and right, and cases that are timed in turn are judged round by round.
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { alternate, root, type Side } from '../support/bench.js';

t.setTimeout(300_000);

/** Without the test runner's loaders, as a user has it. */
function figures(...args: string[]) {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return spawnSync(process.execPath, ['bench/cpu.js', ...args], { cwd: root, env, encoding: 'utf8', timeout: 240_000 });
}

t.test('a dry run checks every case of the CPU, without a time', async (t) => {
  const { status, stdout, stderr } = figures('--dry');
  t.equal(status, 0, stderr);
  t.match(stdout, /^[1-9]\d* right, 0 wrong$/m);
  t.notMatch(stdout, / ms\b|GB\/s|FLOP/);
  for (const section of ['copies', 'gemm', 'sparse', 'optimizer', 'adapters', 'repeat', 'workers', 'memory', 'svd']) {
    t.match(stderr, new RegExp(`^${section}: `, 'm'), section);
  }
});

t.test('a section is measured against its floor, and its table says so', async (t) => {
  const { status, stdout } = figures('optimizer', '--seconds', '20');
  t.equal(status, 0);
  t.match(stdout, /^\| AdamW step, float32 \| 2\^22 numbers \| .* ms|^\| AdamW step.*share of a copy: .*≥ 0\.800/m);
  t.match(stdout, /^1 right, 0 wrong$/m);
});

t.test('what cannot be done is said before anything is measured', async (t) => {
  for (const [args, says] of [
    [['nonsense'], /none of copies, .* has nonsense/],
    [['--out', 'report.json'], /only a card has a report/],
  ] as const) {
    const { status, stdout, stderr } = figures(...args);
    t.same({ status, stdout }, { status: 3, stdout: '' });
    t.match(stderr, says);
  }
});

/** A side whose calls take a given time, and are noted. */
function side(name: string, milliseconds: () => number, calls: string[]): Side {
  return {
    prepared: { call: () => calls.push(name), error: () => 0, dispose: () => undefined },
    clock: async ({ call }, count) => {
      for (let i = 0; i < count; i++) call();
      return milliseconds() * count;
    },
  };
}

t.test('sides take turns, and a slow spell falls on both sides of a ratio', async (t) => {
  const calls: string[] = [];
  let call = 0;
  const spell = () => 1 + Math.floor(call++ / 6); // the machine becomes slower all the time
  const sides = { one: side('one', () => 10 * spell(), calls), other: side('other', () => 20 * spell(), calls) };
  const rounds = await alternate(sides, { rounds: 8 });
  t.equal(rounds.time('one').samples, 8, 'the round that warms up is not counted');
  const turns = calls.slice(-16).join(' ');
  t.match(turns, /^(one other other one ?|other one one other ?)+$/, 'no side always follows the same one');
  const { median, low, high } = rounds.figure((ms) => (ms['other'] ?? 0) / (ms['one'] ?? 1));
  t.ok(low >= 1 && median >= 1.5 && high <= 3, `${low} ${median} ${high}`);
  const few = await alternate({ one: side('one', () => 1, []) }, { rounds: 50, seconds: 0 });
  t.equal(few.time('one').samples, 3, 'three rounds at least, whatever the time');
});
