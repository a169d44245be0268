/** State is per environment: several workers at once, repeated loading, termination during work. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { memory, svd } from 'sigmatune';
import t from 'tap';
import { disposeAll, disposeSvd, gaussian, seeded } from '../support/helpers.js';
import { quiet, runScript } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const script = new URL('../fixtures/worker.mjs', import.meta.url);

function start(seed: number, rounds: number): Worker {
  // Without the test runner's loaders, as for a user.
  return new Worker(script, { workerData: { seed, rounds }, execArgv: [], env: {} });
}

/** The last message of a worker that ends by itself. */
async function finish(worker: Worker): Promise<{ loss: number; left: number }> {
  let last = { loss: Number.NaN, left: -1 };
  worker.on('message', (message) => {
    last = message;
  });
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error));
  const ended = once(worker, 'exit').then(([code]) => {
    if (code !== 0) throw new Error(`exit code ${code}`);
  });
  failed.catch(() => {});
  await Promise.race([failed, ended]);
  return last;
}

t.test('four workers and the main thread at once', async (t) => {
  const before = memory();
  const workers = [1, 2, 3, 3].map((seed) => finish(start(seed, 4)));
  const a = gaussian(seeded(1), [80, 80], 'float64');
  for (let i = 0; i < 10; i++) disposeSvd(await svd(a));
  disposeAll(a);
  const results = await Promise.all(workers);
  t.ok(
    results.every(({ loss }) => Number.isFinite(loss)),
    'each trains',
  );
  t.equal(results[2]?.loss, results[3]?.loss, 'the same work gives the same bits');
  t.not(results[0]?.loss, results[1]?.loss, 'other work gives other numbers');
  t.same(
    results.map(({ left }) => left),
    [0, 0, 0, 0],
    'each counts its own tensors',
  );
  t.equal(memory().tensors, before.tensors, 'and the main thread its own');
});

t.test('repeated loading', async (t) => {
  for (let i = 0; i < 6; i++) {
    const { loss } = await finish(start(i, 1));
    t.ok(Number.isFinite(loss), `load ${i}`);
  }
});

t.test('terminated during work', async (t) => {
  for (let i = 0; i < 6; i++) {
    const worker = start(i, 1_000_000);
    await once(worker, 'message');
    // Each time at another point of the work.
    await new Promise((resolve) => setTimeout(resolve, 3 * i));
    t.equal(await worker.terminate(), 1, `round ${i}: ends`);
  }
  const a = gaussian(seeded(1), [30, 30], 'float32');
  const result = await svd(a);
  t.equal(result.s.size, 30, 'the main thread works on');
  disposeSvd(result);
  disposeAll(a);
});

t.test('terminated before they begin', async (t) => {
  for (let i = 0; i < 4; i++) t.type(await start(i, 1).terminate(), 'number', 'ends');
});

t.test('in a process whose main thread never loads the package', async (t) => {
  // Repeated, because the possible failure is a race between the last worker's end and the pool's threads.
  for (let round = 0; round < 3; round++)
    t.same(await runScript('workers-only.mjs'), quiet('done 0\n'), `round ${round}`);
});
