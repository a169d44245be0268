/** CUDA-specific behaviour: device memory, copies, asynchronous failures. Runs on a device or on the simulated one. */
import {
  AdamW,
  clipGradNorm,
  cudaStatus,
  type Device,
  loraXs,
  matmul,
  memory,
  SigmaError,
  SparsityPattern,
  sddmm,
  siva,
  spmm,
  svd,
  svft,
  type Tensor,
  tensor,
  timed,
  vectorFit,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { makers, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  rejectsSigma,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { quiet, runScript, withEnvironment } from '../support/process.js';

const { available, code } = cudaStatus();
if (!available) {
  t.plan(0, `CUDA is unavailable (${code})`);
  process.exit();
}

const device: Device = 'cuda';
const simulated = process.env['SIGMATUNE_CUDA_SIMULATION'] === '1';

/** The same numbers on the CPU and on the device. */
function pair(seed: number, shape: readonly number[], dtype: 'float32' | 'float64' = 'float32') {
  const numbers = seeded(seed).normals(shape.reduce((product, n) => product * n, 1));
  return {
    numbers,
    host: tensor(numbers, shape, { dtype, device: 'cpu' }),
    there: tensor(numbers, shape, { dtype, device }),
  };
}

t.test('to the device and back', async (t) => {
  await expectNoLeak(t, 'copies', async () => {
    for (const dtype of ['float32', 'float64', 'bfloat16', 'int32'] as const) {
      const numbers = [1, -2, 3.5, 1e9, 0, -0];
      const host = tensor(numbers, [2, 3], { dtype, device: 'cpu' });
      const there = await host.to(device);
      t.same([there.device, there.dtype, there.shape, there.size], ['cuda', dtype, [2, 3], 6]);
      const back = await there.to('cpu');
      assertSameBits(t, back, host, `${dtype}: the same bits`);
      assertSameBits(t, await there.data(), host.dataSync(), `${dtype}: data()`);
      assertSameBits(t, there.dataSync(), host.dataSync(), `${dtype}: dataSync()`);
      there.dataSync().fill(7);
      assertSameBits(t, there, host, `${dtype}: dataSync() returns a copy`);
      const again = await there.to('cuda:0');
      again.assign([6, 5, 4, 3, 2, 1]);
      assertSameBits(t, again, there, 'to() the same device shares the memory');
      disposeAll(host, there, back, again);
    }
  });
});

t.test('memory', async (t) => {
  const before = memory();
  const a = zeros([1000], { device });
  t.equal(memory().bytes['cuda'], (before.bytes['cuda'] ?? 0) + 4000, 'counted by device');
  t.equal(memory().bytes['cpu'], before.bytes['cpu']);
  const view = a.reshape([10, 100]);
  a.dispose();
  t.same([...new Set(view.dataSync())], [0], 'a view keeps the memory alive');
  view.dispose();
  t.same(memory(), { ...before, bytes: { ...before.bytes, cuda: before.bytes['cuda'] ?? 0 } });
  throwsSigma(t, () => a.dataSync(), 'DISPOSED', 'after dispose');
  await rejectsSigma(t, () => a.data(), 'DISPOSED', 'after dispose');
  throwsSigma(t, () => zeros([2], { device: 'cuda:77' }), 'DEVICE_UNAVAILABLE', 'cuda:77', 'cuda:77');
});

t.test('a tensor disposed during a download', async (t) => {
  const a = gaussian(seeded(1), [300, 300], 'float32');
  const there = await a.to(device);
  const [first, second] = [there.data(), there.to('cpu')];
  there.dispose();
  assertSameBits(t, await first, a, 'arrives whole');
  assertSameBits(t, await second, a, 'arrives whole');
  disposeAll(a, await second);
});

t.test('an asynchronous read returns the contents at the time of the call', async (t) => {
  const there = zeros([4096], { device });
  const asked: [number, Promise<ArrayLike<number>>][] = [];
  for (let i = 0; i < 8; i++) {
    there.assign(new Float32Array(4096).fill(i));
    asked.push([i, i % 2 === 0 ? there.data() : there.to('cpu').then((copy) => copy.dataSync())]);
  }
  there.assign(new Float32Array(4096).fill(-1));
  for (const [i, numbers] of asked) t.same([...new Set(Array.from(await numbers))], [i], `number ${i}`);
  there.dispose();
});

t.test('operands on two devices', async (t) => {
  const { host, there } = pair(2, [3, 3]);
  const pattern = SparsityPattern.diagonal(3);
  const values = zeros([3], { device });
  throwsSigma(t, () => matmul(host as never, there as never), 'DEVICE_MISMATCH', 'matmul', 'b', 'cpu', 'cuda');
  throwsSigma(t, () => spmm(pattern, values, host as never), 'DEVICE_MISMATCH', 'spmm', 'dense');
  throwsSigma(t, () => sddmm(pattern, there as never, host as never), 'DEVICE_MISMATCH', 'sddmm', 'b');
  const out = zeros([3, 3], { device: 'cpu' });
  throwsSigma(t, () => matmul(there as never, there as never, { out }), 'DEVICE_MISMATCH', 'out', 'out');
  await rejectsSigma(t, () => svd([host, there]), 'DEVICE_MISMATCH', 'svd', 'a[1]');
  const layer = await vectorFit(there);
  throwsSigma(t, () => layer.apply(host), 'DEVICE_MISMATCH', 'apply', 'x');
  const bias = zeros([3], { device: 'cpu' });
  await rejectsSigma(t, () => vectorFit(there, { bias }), 'DEVICE_MISMATCH', 'a bias on the CPU', 'bias');
  disposeAll(host, there, values, out, layer, bias);
});

t.test('layers on the device from a weight and factors on the host', async (t) => {
  await expectNoLeak(t, 'layers', async () => {
    const { host, there, numbers } = pair(3, [6, 4]);
    const bias = tensor([1, 2, 3, 4, 5, 6], [6], { device: 'cpu' });
    const factors = await svd(host);
    const x = pair(4, [5, 4]);
    for (const make of Object.values(makers)) {
      const near = await make(host, { bias, factors });
      const far = await make(host, { bias, factors, device });
      const [y, z] = [near.apply(x.host), far.apply(x.there)];
      t.equal(z.device, 'cuda');
      t.ok(far.parameters.every(({ value }) => value.device === 'cuda'));
      assertClose(t, z, y, tolerances.float32, `${far.family}: as on the CPU`);
      const merged = far.mergedWeight();
      assertClose(t, merged, numbers, tolerances.float32, `${far.family}: W'`);
      far.enabled = false;
      const w = far.mergedWeight();
      assertClose(t, w, numbers, tolerances.float32, `${far.family}: W0 again`);
      disposeAll(near, far, y, z, merged, w);
    }
    disposeAll(host, there, bias, x.host, x.there);
    disposeSvd(factors);
  });
});

t.test('training agrees with the CPU', async (t) => {
  await expectNoLeak(t, 'a run', async () => {
    const weight = pair(5, [8, 6]);
    const [x, dy] = [pair(6, [7, 6]), pair(7, [7, 8])];
    const factors = await svd(weight.host);
    const run = async (where: 'host' | 'there') => {
      const options = {
        pattern: 'banded',
        offDiagonals: 1,
        factors,
        device: where === 'host' ? 'cpu' : device,
      } as const;
      const layer = await svft(weight.host, options);
      const optimizer = new AdamW(layer.parameters, { lr: 0.05 });
      for (let step = 0; step < 4; step++) {
        const pass = layer.forward(x[where]);
        disposeAll(pass.backward(dy[where]), pass.y);
        clipGradNorm(layer.parameters, 0.5);
        optimizer.step();
        optimizer.zeroGrad();
      }
      const saved = optimizer.state();
      optimizer.loadState(saved);
      t.same(optimizer.state(), saved, `${where}: the state survives a round trip`);
      const numbers = layer.parameters.map(({ value }) => snapshot(value));
      layer.dispose();
      return numbers;
    };
    const [near, far] = [await run('host'), await run('there')];
    for (const [i, numbers] of far.entries()) {
      assertClose(t, numbers, near[i] as Float64Array, { atol: 1e-4, rtol: 1e-4 }, `parameter ${i}`);
    }
    disposeAll(weight.host, weight.there, x.host, x.there, dy.host, dy.there);
    disposeSvd(factors);
  });
});

t.test('bfloat16', async (t) => {
  await expectNoLeak(t, 'half', async () => {
    const close = { atol: 2e-2, rtol: 2e-2 };
    const pattern = SparsityPattern.banded(8, 1);
    const [a, b, values] = [pair(8, [8, 5]), pair(9, [8, 5]), pair(10, [pattern.entries])];
    const [half, other] = [a.there.cast('bfloat16'), b.there.cast('bfloat16')];
    const near = spmm(pattern, values.host, a.host);
    const far = spmm(pattern, values.there, half as never) as Tensor;
    t.equal(far.dtype, 'bfloat16', 'a product has the type of its matrix');
    const wide = far.cast('float32');
    assertClose(t, wide, near, close, 'spmm');
    const [wanted, found] = [sddmm(pattern, a.host, b.host), sddmm(pattern, half as never, other as never)];
    t.equal((found as Tensor).dtype, 'float32', 'samples are float32');
    assertClose(t, found, wanted, close, 'sddmm');
    const host = half.dataSync();
    const cpu = tensor(host, [8, 5], { dtype: 'bfloat16', device: 'cpu' });
    const [product, there] = [spmm(pattern, values.host, cpu), matmul(half, other, { transposeA: true })];
    assertClose(t, product, wide, close, 'on the CPU');
    const exact = matmul(a.host, b.host, { transposeA: true });
    assertClose(t, there, exact, close, 'matmul');
    disposeAll(product, there, exact);
    disposeAll(
      a.host,
      a.there,
      b.host,
      b.there,
      values.host,
      values.there,
      half,
      other,
      near,
      far,
      wide,
      wanted,
      found,
      cpu,
    );
  });
});

t.test('layers in bfloat16', async (t) => {
  await expectNoLeak(t, 'half', async () => {
    const weight = pair(11, [24, 16]);
    const [x, dy] = [pair(12, [9, 16]), pair(13, [9, 24])];
    const [w, xHalf, dyHalf] = [weight.there, x.there, dy.there].map((each) => each.cast('bfloat16')) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const kinds = [
      (at: Tensor) => svft(at, { pattern: 'banded', offDiagonals: 1, rank: 12, init: 'kaiming' }),
      (at: Tensor) => svft(at, { pattern: 'random', offDiagonals: 2, init: 'kaiming' }),
      (at: Tensor) => siva(at, { count: 4 }),
      (at: Tensor) => vectorFit(at, { createBias: true, nonnegative: true }),
      (at: Tensor) => loraXs(at, { rank: 6, init: { deviation: 0.3 } }),
      ...Object.values(makers),
    ];
    const merging = [
      (at: Tensor) => svft(at, { pattern: 'random', offDiagonals: 2, init: 'kaiming', strategy: 'merged' }),
      (at: Tensor) => loraXs(at, { rank: 6, init: { deviation: 0.3 }, strategy: 'merged' }),
    ];
    for (const make of [...kinds, ...merging]) {
      const [near, far] = [await make(weight.host), await make(w)];
      t.equal(far.explain(4).strategy === 'merged', merging.includes(make), "W' in bfloat16 on request only");
      t.ok(
        far.parameters.every(({ value }) => value.dtype === 'float32'),
        'parameters are float32',
      );
      const [one, other] = [near.forward(x.host), far.forward(xHalf)];
      const [dx, dxHalf] = [one.backward(dy.host), other.backward(dyHalf)];
      t.same([other.y.dtype, dxHalf.dtype], ['bfloat16', 'bfloat16']);
      const close = { atol: 5e-2, rtol: 5e-2 };
      const [y, back] = [other.y.cast('float32'), dxHalf.cast('float32')];
      assertClose(t, y, one.y, close, `${far.family}: y`);
      assertClose(t, back, dx, close, `${far.family}: dx`);
      for (const [i, { name, grad }] of far.parameters.entries()) {
        const wanted = near.parameters[i]?.grad;
        if (grad && wanted) assertClose(t, grad, wanted, close, `${far.family}: ${name}`);
        else t.fail(`${far.family}: ${name} has no gradient`);
      }
      const merged = far.mergedWeight();
      t.equal(merged.dtype, 'bfloat16');
      for (const layer of [near, far]) for (const { grad } of layer.parameters) grad?.dispose();
      disposeAll(one.y, other.y, dx, dxHalf, y, back, merged, near, far);
    }
    const [flat, factorsOfFlat] = await (async () => {
      const ones = tensor(new Float32Array(64).fill(1), [8, 8], { device, dtype: 'bfloat16' });
      return [ones, await svd(ones as never)] as const;
    })();
    const own = await svft(flat, { factors: factorsOfFlat, residual: 'drop' });
    t.ok(own.telemetry().drift, 'factors of the weight are recognised, also if some σ are 0');
    const mixed = { ...factorsOfFlat, u: factorsOfFlat.u.cast('bfloat16') } as never;
    const sliced = await svft(flat, { factors: mixed, rank: 2 });
    const onHost = await flat.to('cpu');
    const moved = await svft(onHost, { factors: mixed, device });
    disposeAll(own, sliced, moved, onHost, (mixed as { u: Tensor }).u, flat);
    disposeSvd(factorsOfFlat);
    disposeAll(weight.host, weight.there, x.host, x.there, dy.host, dy.there, w, xHalf, dyHalf);
  });
});

t.test('timed', async (t) => {
  const { host, there } = pair(14, [64, 64]);
  const out = zeros([64, 64], { device });
  const milliseconds = timed(device, () => matmul(there as never, there as never, { out }));
  t.ok(milliseconds >= 0 && milliseconds < 10_000, `${milliseconds} ms`);
  disposeAll(host, there, out);
});

t.test('the memory of an unreachable tensor is freed', async (t) => {
  t.same(await runScript('cuda-forgotten.mjs'), quiet('given back'));
  t.same(await runScript('cuda-forgotten.mjs', 'at once'), quiet('given back'), 'in a synchronous loop');
});

t.test('worker threads', { timeout: 60_000 }, async (t) => {
  t.same(await runScript('cuda-workers.mjs'), quiet('4 the same'));
});

t.test('a process that exits during asynchronous work', async (t) => {
  t.same(await runScript('cuda-exit.mjs'), quiet('bye', 7));
});

t.test('failures of the simulated device', { skip: !simulated && 'needs the simulated device' }, async (t) => {
  await t.test('out of memory', async (t) => {
    await expectNoLeak(t, 'refused', () =>
      withEnvironment({ SIGMA_SIMULATED_MEMORY: String(160 << 20) }, () => {
        throwsSigma(
          t,
          () => zeros([160 << 20], { device }),
          'OUT_OF_MEMORY',
          'four times the memory',
          'zeros',
          'memory',
        );
        const [a, b] = [zeros([8], { device }), zeros([12 << 20], { device })];
        const parameters = [a, b].map((value, i) => ({
          name: `p${i}`,
          value,
          grad: zeros(value.shape, { device }),
          trainable: true,
        }));
        throwsSigma(
          t,
          () => new AdamW(parameters, { weightDecay: 0.5 }).step(),
          'OUT_OF_MEMORY',
          'no memory for the moments',
        );
        t.same([...new Set(a.dataSync())], [0], 'a failed step changes nothing');
        disposeAll(a, b, ...parameters.map(({ grad }) => grad));
        const small = tensor([1, 2], [2], { device });
        t.same([...small.dataSync()], [1, 2], 'later allocations succeed');
        small.dispose();
      }),
    );
  });

  await t.test('a download from a full device', async (t) => {
    await expectNoLeak(t, 'full', () =>
      withEnvironment({ SIGMA_SIMULATED_MEMORY: String(160 << 20) }, async () => {
        const large = tensor(new Float32Array(24 << 20).fill(3), [24 << 20], { device });
        const asked = large.data();
        large.assign(new Float32Array(24 << 20));
        const numbers = await asked;
        t.ok(
          numbers.every((number) => number === 3),
          'no room for a snapshot, and still the numbers of the time of the call',
        );
        large.dispose();
      }),
    );
  });

  await t.test('a device error', async (t) => {
    const { host, there } = pair(15, [4, 4]);
    const product = matmul(there as never, there as never);
    await withEnvironment({ SIGMA_SIMULATED_ERROR: '700' }, async () => {
      throwsSigma(t, () => product.dataSync(), 'NATIVE', 'reported by a call that waits', '700', 'gemm');
      const failure: unknown = await product.data().catch((error) => error);
      t.ok(failure instanceof SigmaError && failure.code === 'NATIVE', `also off the event loop: ${failure}`);
    });
    disposeAll(host, there, product);
  });
});
