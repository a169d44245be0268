/** Processes that exit during work: the right exit code, nothing on stderr, no crash, no hang. */
import t from 'tap';
import { quiet, runScript } from '../support/process.js';

const ends: readonly [end: string, code: number, out: string][] = [
  ['natural', 0, 'done 12\n'],
  ['unawaited', 0, ''],
  ['exit', 7, ''],
  ['exit later', 7, ''],
  ['exit from a callback', 7, ''],
  ['exit code', 7, ''],
  ['beforeExit', 0, 'again 12\n'],
  ['exit event', 0, 'bye\n'],
];

for (const [end, code, out] of ends) {
  t.test(end, async (t) => {
    t.same(await runScript('exit.mjs', end), quiet(out, code), 'its exit code, its own output, and nothing else');
  });
}

for (const end of ['uncaught', 'uncaught later']) {
  t.test(end, async (t) => {
    const { code, signal, err } = await runScript('exit.mjs', end);
    t.same([code, signal], [1, null], 'ends as Node does');
    t.match(err, /Error: uncaught on purpose/);
    t.notMatch(err, /FATAL|abort|terminate called|Segmentation|napi|free\(\)/i, 'and of nothing else');
  });
}

t.test('kill', async (t) => {
  const { signal, err } = await runScript('exit.mjs', 'kill');
  t.same([signal, err], ['SIGTERM', '']);
});
