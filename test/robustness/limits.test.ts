/**
 * A system that refuses memory or threads: every call ends with a result or an error, and a failed call has no effect.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const script = fileURLToPath(new URL('../fixtures/limits.mjs', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const linux = process.platform === 'linux' ? false : 'this is about Linux';
const sanitized = (process.env['LD_PRELOAD'] ?? '').includes('san') && 'a sanitizer takes more memory than any limit';

/** Runs a command without the test runner's loaders, as for a user. */
function run(command: readonly string[]) {
  const options = { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' } as const;
  const { status, signal, stdout, stderr } = spawnSync('env', ['-u', 'NODE_OPTIONS', ...command], options);
  return { code: status, signal, out: stdout, err: stderr };
}

/** Runs one mode of the fixture through a command that sets limits. */
const runMode = (limiter: readonly string[], ...parameters: readonly string[]) =>
  run([...limiter, process.execPath, '--expose-gc', '--max-old-space-size=300', script, ...parameters]);

const works = (...command: readonly string[]) => run(command).code === 0;

/** An upper bound of Node's own threads. */
const warm = `import { pbkdf2 } from 'node:crypto';
await Promise.all(Array.from({ length: 8 }, () => new Promise((done) => pbkdf2('a', 'b', 1000, 32, 'sha1', done))));`;

t.test(
  'loading the package starts no thread, and setThreads(1024) starts a bounded number',
  { skip: linux },
  async (t) => {
    const { code, out, err } = runMode([], 'threads');
    t.same([code, err], [0, '']);
    const [, started, right, ofMany] = /^started (\d+)\nright (\w+)\nof 1024 started (\d+)\n$/.exec(out) ?? [];
    t.equal(started, '0', 'no thread at load');
    t.equal(right, 'true', 'the product is right');
    // Node itself starts a few threads meanwhile.
    t.ok(Number(ofMany) <= Math.max(16, 4 * os.cpus().length) + 8, `${ofMany} threads for setThreads(1024)`);
  },
);

t.test('threads() counts the processors that the process may use', async (t) => {
  const skip = linux || (!works('taskset', '-c', '0', 'true') && 'no taskset');
  t.test('with an affinity of one processor', { skip }, async (t) => {
    t.match(runMode(['taskset', '-c', '0'], 'processors'), { code: 0, out: '1 1\n', err: '' });
  });
  t.test('without a limit', async (t) => {
    const { out } = runMode([], 'processors');
    const count = Number(out.split(' ')[0]);
    t.ok(count >= 1 && count <= os.availableParallelism(), `${count} threads`);
  });
});

t.test('if the system refuses threads', async (t) => {
  // The limit does not apply to root.
  const asUser = os.userInfo().uid === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
  const limited = (count: number) => [...asUser, 'prlimit', `--nproc=${count}`];
  const able = runMode(limited(4096), 'processors').code === 0;
  const skip = linux || sanitized || (!able && 'no prlimit, no setpriv, or no right to read this folder');
  t.test('the package loads and computes with the threads that it has', { skip }, async (t) => {
    // The least number with which Node runs.
    let [low, high] = [1, 64];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (works(...limited(middle), process.execPath, '--input-type=module', '-e', warm)) high = middle;
      else low = middle + 1;
    }
    const { code, signal, out, err } = runMode(limited(low), 'threads');
    t.same([code, signal, err], [0, null, ''], `with ${low} threads allowed`);
    t.match(out, /right true/);
  });
});

t.test('if the system refuses memory', async (t) => {
  const limit = 6000;
  const bounded = ['bash', '-c', `ulimit -v ${limit * 1024}; exec "$0" "$@"`];
  const skip = linux || sanitized || (!works('bash', '-c', `ulimit -v ${limit * 1024}`) && 'no limit can be set here');

  t.test('no memory for a buffer of BLAS', { skip }, async (t) => {
    const { code, signal, out, err } = runMode(bounded, 'loading', String(limit), '110');
    t.same([code, signal, err], [0, null, '']);
    t.equal(out, 'OUT_OF_MEMORY true\ndone true\n', 'an error that changes nothing, and a result once there is memory');
  });

  for (const spare of ['1', '1.5', '2', '3', '10', '140']) {
    t.test(`${spare} MB are left: every call ends`, { skip }, async (t) => {
      const { code, signal, out, err } = runMode(bounded, 'calling', String(limit), spare);
      // V8 itself may run out of memory and say so. Nothing else may end the process.
      const ofNode = /out of memory|Allocation failed/i.test(err) && !/thread-local|terminate called/.test(err);
      if (ofNode) return t.pass('Node itself had no memory left', { skip: 'V8 ended the process' });
      t.same([code, signal, out, err], [0, null, 'ended\n', '']);
    });
  }

  t.test('a product in 16 bits needs no memory of its own', { skip }, async (t) => {
    const { code, signal, out, err } = runMode(bounded, 'packed', String(limit));
    t.same([code, signal, out, err], [0, null, 'done true\n', '']);
  });

  for (const [family, strategy] of [
    ['vectorFit', 'factored'],
    ['vectorFit', 'merged'],
    ['svft', 'factored'],
  ] as const) {
    t.test(`a backward of ${family}, ${strategy}, that finds no memory changes no gradient`, { skip }, async (t) => {
      const { code, signal, out, err } = runMode(bounded, 'backward', String(limit), family, strategy);
      t.same([code, signal, err], [0, null, '']);
      t.match(out, strategy === 'merged' ? /^(failed without a trace|never failed)\n$/ : /^failed without a trace\n$/);
    });
  }
});

t.test('patterns dropped in a synchronous loop are freed', async (t) => {
  t.match(runMode([], 'patterns'), { code: 0, out: 'bounded\n', err: '' });
});

t.test('the thread-local data of the addon is allocated with the thread', async (t) => {
  const file = `${root}build/Release/sigmatune.node`;
  const skip = linux || (!existsSync(file) && 'a prebuilt addon') || (!works('readelf', '--version') && 'no readelf');
  t.test('by its relocations', { skip }, async (t) => {
    const read = (...args: readonly string[]) => spawnSync('readelf', [...args, '--wide', file], { encoding: 'utf8' });
    t.match(read('--dynamic').stdout, /STATIC_TLS/);
    t.notMatch(read('--relocs').stdout, /DTPMOD|TLSDESC/, 'glibc would allocate it at the first use');
  });
});
