/** Processes that end with work under way: the right exit code, nothing on stderr, no crash, no hang. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const script = fileURLToPath(new URL('fixtures/exit.mjs', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

async function run(end: string): Promise<Outcome> {
  // Without the test runner's loaders: a process as a user has it.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(process.execPath, [script, end], { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, out, err };
}

const quiet: readonly [end: string, code: number, out: string | RegExp][] = [
  ['natural', 0, 'done 12\n'],
  ['unawaited', 0, ''],
  ['exit', 7, ''],
  ['exit later', 7, ''],
  ['exit from a callback', 7, ''],
  ['exit code', 7, ''],
  ['beforeExit', 0, 'again 12\n'],
  ['exit event', 0, 'bye\n'],
];

for (const [end, code, out] of quiet) {
  t.test(end, async (t) => {
    t.same(await run(end), { code, signal: null, out, err: '' });
  });
}

for (const end of ['uncaught', 'uncaught later']) {
  t.test(end, async (t) => {
    const { code, signal, err } = await run(end);
    t.same([code, signal], [1, null], 'ends as Node does');
    t.match(err, /Error: uncaught on purpose/);
    t.notMatch(err, /FATAL|abort|terminate called|Segmentation|napi|free\(\)/i, 'and of nothing else');
  });
}

t.test('kill', async (t) => {
  const { signal, err } = await run('kill');
  t.same([signal, err], ['SIGTERM', '']);
});
