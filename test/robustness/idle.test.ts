/** Memory that is kept for later calls: memory().scratch counts it, idle time frees it, and training does not let it grow. */
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { AdamW, type DType, matmul, memory, SparsityPattern, spmm, svd, svft, type Tensor, tidy } from 'sigmatune';
import t from 'tap';
import { assertSameBits, cpuOnly, disposeAll, disposeSvd, gaussian, seeded, snapshot } from '../support/helpers.js';

const skip = cpuOnly;
const kept = () => memory().scratch['cpu'] as number;

async function waitFor(condition: () => boolean, seconds = 30): Promise<boolean> {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end && !condition(); ) await delay(50);
  return condition();
}

const freed = () => waitFor(() => kept() === 0);
const matrix = <D extends DType & ('float32' | 'bfloat16')>(rows: number, columns: number, seed: number, dtype: D) =>
  gaussian(seeded(seed), [rows, columns], dtype);

t.test('each kind of memory that is kept is counted, and freed when no call comes', { skip }, async (t) => {
  const a = matrix(300, 300, 1, 'float32');
  const narrow = matrix(300, 300, 2, 'bfloat16');
  const pattern = SparsityPattern.random(300, { entries: 9000 }, { seed: 1 });
  const values = matrix(1, 9000, 3, 'float32').reshape([9000]);
  const layer = await svft(a, { pattern: 'banded', offDiagonals: 1, strategy: 'factored' });
  const calls: Record<string, () => Tensor> = {
    'a product in float32 (BLAS)': () => matmul(a, a),
    'a product in bfloat16 (panels)': () => matmul(narrow, narrow),
    'a random pattern (slabs)': () => spmm(pattern, values, a),
    'a layer (a workspace)': () => layer.apply(a),
  };
  t.ok(await freed(), 'nothing is kept at first');
  for (const [label, call] of Object.entries(calls)) {
    const before = memory();
    const first = call();
    const expected = snapshot(first);
    t.ok(kept() > 0, `${label}: counted`);
    first.dispose();
    const size = kept();
    // No one has seen its numbers, so a later result may take its memory.
    call().dispose();
    t.ok(kept() >= size + 300 * 300, `${label}: so is the memory of a disposed result`);
    t.same(memory(), before, `${label}: tensors and bytes do not contain it`);
    t.ok(await freed(), `${label}: freed`);
    const again = call();
    assertSameBits(t, again, expected, `${label}: the same bits in new memory`);
    again.dispose();
  }
  disposeAll(layer, values, narrow, a);
});

t.test('the copy of a large matrix is kept for the next svd, and freed', { skip }, async (t) => {
  const a = matrix(1100, 1000, 5, 'float32');
  t.ok(await freed(), 'nothing is kept at first');
  disposeSvd(await svd(a, { rank: 8 }));
  const size = kept();
  t.ok(size >= 4 * 1100 * 1000, `${size} bytes are kept`);
  disposeSvd(await svd(a, { rank: 8 }));
  // Equal, unless the idle time has passed in between.
  t.ok(kept() < size + 4 * 1100 * 1000, `and used again: ${kept()} bytes`);
  t.ok(await freed(), 'freed');
  a.dispose();
});

t.test('calls keep it, and reading memory() does not', { skip }, async (t) => {
  const a = matrix(200, 200, 4, 'float32');
  matmul(a, a).dispose();
  const size = kept();
  for (const end = Date.now() + 4000; Date.now() < end; ) {
    matmul(a, a).dispose();
    await delay(100);
  }
  t.ok(kept() >= size, 'in use for longer than the idle time');
  t.ok(await freed(), 'freed while memory() is read');
  a.dispose();
});

t.test('an SVD in progress is not disturbed', { skip }, async (t) => {
  const a = matrix(900, 900, 5, 'float32');
  const one = await svd(a);
  const expected = snapshot(one.s);
  const results = await Promise.all(Array.from({ length: 8 }, () => svd(a)));
  for (const result of results) assertSameBits(t, result.s, expected, 'the same singular values');
  t.ok(await freed(), 'freed afterwards');
  disposeSvd(one, ...results);
  a.dispose();
});

t.test('a worker that ends leaves nothing behind', { skip }, async (t) => {
  t.ok(await freed());
  const worker = new Worker(
    `import('sigmatune').then(({ tensor, matmul, memory }) => {
      const a = tensor(new Float32Array(90000).fill(1), [300, 300]);
      matmul(a, a);
      require('node:worker_threads').parentPort.postMessage(memory().scratch.cpu);
    });`,
    { eval: true },
  );
  const inside = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  t.ok(inside > 0, 'it is counted in the worker');
  await worker.terminate();
  t.ok(await waitFor(() => kept() === 0), 'this thread has made no call');
});

t.test('no growth over 1,000 steps', { skip }, async (t) => {
  const weight = matrix(96, 64, 6, 'bfloat16');
  const x = matrix(32, 64, 7, 'bfloat16');
  const dy = matrix(32, 96, 8, 'bfloat16');
  const layer = await svft(weight, { pattern: 'random', offDiagonals: 8, seed: 1 });
  const optimizer = new AdamW(layer.parameters, { lr: 1e-4 });
  const step = () =>
    tidy(() => {
      layer.forward(x).backward(dy);
      optimizer.step();
      optimizer.zeroGrad();
    });
  for (let i = 0; i < 20; i++) step();
  const before = memory();
  for (let i = 0; i < 1000; i++) step();
  t.same(memory(), before, 'tensors and bytes');
  // A result of each step would be 6 MiB. Another thread may have taken its first block, and the collector frees some.
  t.ok(kept() < (before.scratch['cpu'] as number) + 2 ** 20, 'and what is kept');
  disposeAll(layer, weight, x, dy);
});
