/** Asynchronous functions: promises always settle, whatever happens to inputs and callbacks meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  memory,
  type Real,
  SigmaError,
  type Svd,
  setThreads,
  siva,
  svd,
  svft,
  Tensor,
  tensor,
  threads,
} from 'sigmatune';
import t from 'tap';
import { watchSvd } from '../support/addon.js';
import { svdAccuracy } from '../support/cases.js';
import {
  type Check,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  fill,
  gaussian,
  item,
  put,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { dense, disposeLayer } from '../support/layer.js';
import { diagonal, matmul, matrix, norm, subtract } from '../support/reference.js';

function residual(a: ArrayLike<number>, rows: number, columns: number, { u, s, vt }: Svd): number {
  const original = matrix(rows, columns, a);
  return norm(subtract(original, matmul(matmul(dense(u), diagonal(snapshot(s))), dense(vt)))) / norm(original);
}

/** The promise settles with the right result for the numbers at the call, or with a SigmaError. */
async function settles(
  t: Check,
  promise: Promise<Svd>,
  numbers: ArrayLike<number>,
  size: number,
  label: string,
): Promise<void> {
  try {
    const result = await promise;
    t.ok(residual(numbers, size, size, result) <= svdAccuracy.float32.residual, `${label}: the right result`);
    disposeSvd(result);
  } catch (error) {
    t.ok(error instanceof SigmaError, `${label}: a clean error, not ${String(error)}`);
  }
}

t.test('the event loop keeps running', async (t) => {
  const list = Array.from({ length: 8 }, (_, i) => gaussian(seeded(i), [160, 160], 'float64'));
  let ticks = 0;
  let done = false;
  const promise = svd(list).finally(() => {
    done = true;
  });
  t.equal(done, false);
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    ticks++;
  }
  t.ok(ticks > 3, `${ticks} turns while svd was at work`);
  disposeSvd(...(await promise));
  disposeAll(...list);
});

t.test('many at once', async (t) => {
  await expectNoLeak(t, 'concurrent', async () => {
    const jobs = Array.from({ length: 60 }, async (_, i) => {
      const size = 4 + (i % 29);
      const dtype: Real = i % 2 ? 'float32' : 'float64';
      const a = gaussian(seeded(i), [size, size + 3], dtype);
      const result: Svd = await svd(a);
      const error = residual(snapshot(a), size, size + 3, result);
      disposeAll(a);
      disposeSvd(result);
      return error <= svdAccuracy[dtype].residual;
    });
    t.same(
      await Promise.all(jobs),
      jobs.map(() => true),
      'each gets its own result',
    );
  });
});

t.test('one tensor in many calls at once', async (t) => {
  const a = gaussian(seeded(1), [50, 40], 'float64');
  const results = await Promise.all([svd(a), svd([a, a]), svd(a, { driver: 'gesvd' })]);
  for (const result of results.flat()) t.ok(residual(snapshot(a), 50, 40, result) <= svdAccuracy.float64.residual);
  disposeSvd(...results.flat());
  disposeAll(a);
});

t.test('an input that is disposed meanwhile', async (t) => {
  await expectNoLeak(t, 'disposed in flight', async () => {
    for (let round = 0; round < 6; round++) {
      const a = gaussian(seeded(round), [120, 120], 'float32');
      const numbers = snapshot(a);
      const promise = svd(a);
      if (round % 2) await sleep(1);
      a.dispose();
      await settles(t, promise, numbers, 120, `round ${round}`);
      t.equal(a.disposed, true, 'and the tensor is gone afterwards');
    }
  });
});

t.test('an input whose buffer is transferred meanwhile', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'detached in flight', async () => {
    for (let round = 0; round < 6; round++) {
      const array = Float32Array.from(seeded(round).normals(120 * 120));
      const a = Tensor.wrap(array, [120, 120]);
      const numbers = Float64Array.from(array);
      const promise = svd(a);
      if (round % 2) await sleep(1);
      // The clone is dropped at once, so its memory may be freed during the work.
      structuredClone(array.buffer, { transfer: [array.buffer] });
      new Float32Array(120 * 120).fill(round);
      await settles(t, promise, numbers, 120, `round ${round}`);
      a.dispose();
    }
  });
});

t.test('an input that is overwritten meanwhile', async (t) => {
  for (const [label, garbage] of [
    ['NaN', Number.NaN],
    ['Infinity', Infinity],
    ['zeros', 0],
  ] as const) {
    for (const wait of [false, true]) {
      const a = gaussian(seeded(3), [120, 120], 'float32');
      const numbers = snapshot(a);
      const promise = svd(a);
      if (wait) await sleep(1);
      fill(a, garbage);
      await settles(t, promise, numbers, 120, `overwritten with ${label}`);
      a.dispose();
    }
  }
});

t.test('a list that changes meanwhile', async (t) => {
  const list = [gaussian(seeded(1), [60, 60], 'float32'), gaussian(seeded(2), [60, 60], 'float32')];
  const [first, second] = list;
  const promise = svd(list);
  list.length = 0;
  const results = await promise;
  t.equal(results.length, 2, 'the list at the time of the call');
  disposeSvd(...results);
  disposeAll(first, second);
});

t.test('a progress callback that throws', async (t) => {
  await expectNoLeak(t, 'throwing callback', async () => {
    const list = Array.from({ length: 5 }, (_, i) => gaussian(seeded(i), [20, 20], 'float32'));
    const failure = new Error('of the caller');
    const outcome = await svd(list, {
      onProgress: () => {
        throw failure;
      },
    }).then(
      (results) => {
        disposeSvd(...results);
        return 'fulfilled';
      },
      (error: unknown) => error,
    );
    t.equal(outcome, failure, "the promise rejects with the caller's own error");
    const again = await svd(list);
    t.equal(again.length, 5, 'and the next call works');
    disposeSvd(...again);
    disposeAll(...list);
  });
});

t.test('svd from within a progress callback', async (t) => {
  const list = Array.from({ length: 3 }, (_, i) => gaussian(seeded(i), [20, 20], 'float32'));
  const inner: Promise<Svd>[] = [];
  const results = await svd(list, {
    onProgress: () => {
      const [a] = list;
      if (a) inner.push(svd(a));
    },
  });
  const more = await Promise.all(inner);
  t.ok(more.length > 0);
  disposeSvd(...results, ...more);
  disposeAll(...list);
});

t.test('layers made all at once', async (t) => {
  await expectNoLeak(t, 'layers', async () => {
    const weights = Array.from({ length: 12 }, (_, i) => gaussian(seeded(i), [30, 20 + i], 'float32'));
    const layers = await Promise.all(weights.map((weight) => svft(weight, { pattern: 'banded', offDiagonals: 1 })));
    for (const [i, layer] of layers.entries()) {
      t.equal(layer.rank, Math.min(30, 20 + i));
      disposeLayer(layer);
    }
    disposeAll(...weights);
  });
});

t.test('a layer whose weight is disposed while it is made', async (t) => {
  const weight = gaussian(seeded(1), [100, 100], 'float32');
  const promise = svft(weight);
  weight.dispose();
  try {
    const layer = await promise;
    layer.dispose();
    t.pass('made all the same');
  } catch (error) {
    t.match(error, { name: 'SigmaError', code: 'DISPOSED' }, 'a clean error');
  }
});

t.test('a layer that is aborted while it is made', async (t) => {
  await expectNoLeak(t, 'aborted layer', async () => {
    const weight = gaussian(seeded(1), [60, 60], 'float32');
    const controller = new AbortController();
    const promise = svft(weight, { signal: controller.signal });
    controller.abort();
    const outcome = await promise.then(
      () => 'made',
      (error: unknown) => error,
    );
    t.match(outcome, { name: 'SigmaError', code: 'ABORTED' });
    weight.dispose();
  });
});

t.test('results that are not awaited', async (t) => {
  for (let i = 0; i < 20; i++) void svd(tensor(seeded(i).normals(400), [20, 20], { dtype: 'float64' }));
  const a = gaussian(seeded(1), [10, 10], 'float32');
  const result = await svd(a);
  t.equal(result.s.size, 10, 'do not hold up the others');
  disposeSvd(result);
  disposeAll(a);
});

t.test('the number of threads changes meanwhile', async (t) => {
  const before = threads();
  const list = Array.from({ length: 20 }, (_, i) => gaussian(seeded(i), [60, 60], 'float32'));
  const promise = svd(list);
  for (const count of [1, 4, 2, 8, 1, 3]) {
    setThreads(count);
    const more = await svd(list.slice(0, 3));
    disposeSvd(...more);
  }
  const results = await promise;
  results.forEach((result, i) => {
    const a = list[i];
    if (a) t.ok(residual(snapshot(a), 60, 60, result) <= svdAccuracy.float32.residual, `matrix ${i}`);
  });
  setThreads(before);
  disposeSvd(...results);
  disposeAll(...list);
});

t.test('raising the number of threads admits waiting calls, lowering it admits none', { skip: cpuOnly }, async (t) => {
  const before = threads();
  const a = gaussian(seeded(1), [80, 80], 'float32');
  const several = () => Promise.all(Array.from({ length: 6 }, () => svd(a)));
  for (const [first, then, most] of [
    [1, 2, 2],
    [2, 1, 1],
  ] as const) {
    setThreads(first);
    let later = 0;
    let running = () => 0;
    await watchSvd(
      async (calls) => {
        running = () => calls.running;
        const results = await several();
        t.equal(later, most, `${first} thread(s), then ${then}`);
        t.equal(calls.begun, 6, 'all are done');
        disposeSvd(...results);
      },
      (call) => {
        if (call === 3) setThreads(then);
        // From the fifth call, all calls from before the change have ended.
        if (call >= 5) later = Math.max(later, running());
      },
    );
  }
  setThreads(before);
  a.dispose();
});

t.test('memory shared with other threads', { skip: cpuOnly }, async (t) => {
  // Another thread may write it at any time, so a call may refuse it. If accepted, the result must be right.
  const shared = new Float32Array(new SharedArrayBuffer(36 * 4));
  shared.set(seeded(1).normals(36));
  let a: Tensor<'float32'>;
  try {
    a = Tensor.wrap(shared, [6, 6]);
  } catch (error) {
    t.match(error, { name: 'SigmaError', code: 'INVALID_ARGUMENT' }, 'refused');
    return;
  }
  await settles(t, svd(a), shared, 6, 'shared memory');
  a.dispose();
});

t.test('at most two native calls run at once, over all calls of svd', async (t) => {
  await expectNoLeak(t, 'lanes', async () => {
    const list = Array.from({ length: 8 }, (_, i) => gaussian(seeded(i), [40, 30 + i], 'float32'));
    await watchSvd(async (calls) => {
      const results = await Promise.all(list.map((a) => svd(a)));
      t.same([calls.begun, calls.most], [8, 2], 'svd');
      results.forEach((result, i) => {
        const error = residual(snapshot(item(list, i)), 40, 30 + i, result);
        t.ok(error <= svdAccuracy.float32.residual, `matrix ${i}: its own result`);
      });
      disposeSvd(...results);
    });
    await watchSvd(async (calls) => {
      const layers = await Promise.all(list.map((weight) => svft(weight)));
      t.same([calls.begun, calls.most], [8, 2], 'svft');
      for (const layer of layers) disposeLayer(layer);
    });
    await watchSvd(async (calls) => {
      const [one, many, layer] = await Promise.all([svd(item(list, 0)), svd(list), siva(item(list, 1), { count: 2 })]);
      t.equal(calls.most, 2, 'one, a list and a layer together');
      disposeSvd(one, ...many);
      disposeLayer(layer);
    });
    disposeAll(...list);
  });
});

t.test('a failed call admits the next one', async (t) => {
  const good = gaussian(seeded(1), [20, 20], 'float32');
  const bad = gaussian(seeded(2), [20, 20], 'float32');
  put(bad, 3, Number.NaN);
  await watchSvd(async (calls) => {
    const refused = Array.from({ length: 5 }, () => rejectsSigma(t, () => svd(bad), 'NON_FINITE', 'a NaN', 'a'));
    const failure = new Error('of the caller');
    const thrown = [1, 2, 3].map(() =>
      svd(good, {
        onProgress: () => {
          throw failure;
        },
      }).catch((error: unknown) => error),
    );
    const last = svd(good);
    await Promise.all(refused);
    t.same(await Promise.all(thrown), [failure, failure, failure], "the caller's own error");
    disposeSvd(await last);
    t.same([calls.begun, calls.most], [9, 2], 'each had its turn');
  });
  disposeAll(good, bad);
});

t.test('many layers that are aborted while they are made', async (t) => {
  await expectNoLeak(t, 'aborted layers', async () => {
    const weights = Array.from({ length: 12 }, (_, i) => gaussian(seeded(i), [60, 60], 'float32'));
    await watchSvd(async (calls) => {
      const { signal, abort } = controllerOf();
      const { tensors } = memory();
      const promises = weights.map((weight) => svft(weight, { signal }));
      abort();
      await Promise.all(promises.map((promise, i) => rejectsSigma(t, () => promise, 'ABORTED', `layer ${i}`)));
      t.equal(calls.begun, 2, 'those that waited for their turn never begin');
      t.equal(memory().tensors, tensors, 'nothing is left of any');
    });
    const layers = await Promise.all(weights.map((weight) => svft(weight)));
    t.equal(layers.length, 12, 'and later calls have their turn');
    for (const layer of layers) disposeLayer(layer);
    disposeAll(...weights);
  });
});

function controllerOf(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

t.test('a layer that is aborted during any of its decompositions', async (t) => {
  // The decompositions of the weight, and of the random directions of U and of V.
  const weight = gaussian(seeded(1), [20, 16], 'float64');
  for (const [name, make] of [
    ['svft, orthonormal', (signal: AbortSignal) => svft(weight, { rank: 5, residual: 'orthonormal', signal })],
    ['siva, random basis', (signal: AbortSignal) => siva(weight, { count: 4, basis: 'random', signal })],
  ] as const) {
    for (const stage of [1, 2, 3]) {
      await expectNoLeak(t, `${name}, stage ${stage}`, async () => {
        const { signal, abort } = controllerOf();
        await watchSvd(
          async (calls) => {
            await rejectsSigma(t, () => make(signal), 'ABORTED', `${name}, stage ${stage}`);
            t.equal(calls.begun, stage, `${name}: no decomposition begins after the abort in stage ${stage}`);
          },
          (call) => {
            if (call === stage) abort();
          },
        );
      });
    }
  }
  weight.dispose();
});

t.test('a layer that is aborted before its first decomposition', async (t) => {
  // With given factors the first decomposition is for the random directions of U.
  const weight = gaussian(seeded(1), [20, 16], 'float64');
  const factors = await svd(weight);
  for (const [name, make] of [
    ['svft, orthonormal', (signal: AbortSignal) => svft(weight, { factors, rank: 5, residual: 'orthonormal', signal })],
    ['siva, random basis', (signal: AbortSignal) => siva(weight, { factors, count: 4, basis: 'random', signal })],
  ] as const) {
    await expectNoLeak(t, name, async () => {
      const { signal, abort } = controllerOf();
      const promise = make(signal);
      abort();
      await rejectsSigma(t, () => promise, 'ABORTED', name);
    });
  }
  disposeAll(weight);
  disposeSvd(factors);
});
