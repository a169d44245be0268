import { readFileSync } from 'node:fs';
import {
  cudaStatus,
  type Device,
  SigmaError,
  setThreads,
  svd,
  svft,
  systemInfo,
  tensor,
  threads,
  timed,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { makers, tolerances } from '../support/cases.js';
import {
  assertClose,
  type Check,
  disposeAll,
  expectNoLeak,
  gaussian,
  rejectsSigma,
  seeded,
  throwsSigma,
} from '../support/helpers.js';
import { runScript } from '../support/process.js';

const codes = [
  'NOT_BUILT',
  'LOAD_FAILED',
  'ABI_MISMATCH',
  'NO_DRIVER',
  'DRIVER_TOO_OLD',
  'NO_DEVICE',
  'NO_LIBRARY',
  'DISABLED',
];

t.test('cudaStatus', async (t) => {
  const status = cudaStatus();
  t.type(status.available, 'boolean');
  if (status.available) {
    t.ok((status.devices?.length ?? 0) > 0, 'an available backend lists its devices');
    return;
  }
  t.ok(codes.includes(status.code ?? ''), `a reason: ${status.code}`);
  t.ok((status.detail ?? '').length > 0, 'in words, too');
  t.same(cudaStatus(), status, 'the same when asked again');
});

/** The error carries the status. */
function carriesStatus(t: Check, error: unknown, label: string): void {
  t.ok(
    error instanceof SigmaError && error.code === 'DEVICE_UNAVAILABLE',
    `${label}: DEVICE_UNAVAILABLE, came ${String(error)}`,
  );
  if (error instanceof SigmaError) t.same(error.detail, cudaStatus(), `${label}: the detail is the status`);
}

t.test('no silent fallback', { skip: cudaStatus().available && 'a CUDA device is available' }, async (t) => {
  const host = gaussian(seeded(1), [4, 4], 'float32');
  await expectNoLeak(t, 'refused devices', async () => {
    for (const device of ['cuda', 'cuda:0', 'cuda:3'] as const) {
      for (const [label, call] of [
        ['zeros', () => zeros([2], { device })],
        ['tensor', () => tensor([1], [1], { device })],
      ] as const) {
        try {
          call().dispose();
          t.fail(`${label}, ${device}: throws`);
        } catch (error) {
          carriesStatus(t, error, `${label}, ${device}`);
        }
      }
      for (const [label, call] of [
        ['to', () => host.to(device)],
        ...Object.entries(makers).map(([name, make]) => [name, () => make(host, { device })] as const),
      ] as const) {
        const error = await call().then(
          () => undefined,
          (reason: unknown) => reason,
        );
        carriesStatus(t, error, `${label}, ${device}`);
      }
    }
  });
  host.dispose();
});

t.test('devices that do not exist', async (t) => {
  const host = zeros([2, 2]);
  for (const device of ['gpu', 'CUDA', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:1.5', '', 5, null] as unknown as Device[]) {
    throwsSigma(t, () => zeros([2], { device }), 'INVALID_ARGUMENT', `zeros on ${device}`, 'device');
    await rejectsSigma(t, () => host.to(device), 'INVALID_ARGUMENT', `to ${device}`, 'device');
    await rejectsSigma(t, () => svft(host, { device }), 'INVALID_ARGUMENT', `svft on ${device}`, 'device');
  }
  host.dispose();
});

t.test('threads', async (t) => {
  const before = threads();
  t.ok(Number.isInteger(before) && before >= 1, `${before} threads`);
  for (const count of [1, 2, 3]) {
    setThreads(count);
    t.equal(threads(), count);
    const a = gaussian(seeded(count), [30, 30], 'float32');
    const { u, s, vt } = await svd(a);
    disposeAll(a, u, s, vt);
  }
  for (const bad of [0, -1, 1.5, Number.NaN, Infinity, '2', null, undefined] as unknown as number[]) {
    throwsSigma(t, () => setThreads(bad), 'INVALID_ARGUMENT', `${bad} threads`, 'count', String(bad));
    t.equal(threads(), 3, 'the count stays');
  }
  setThreads(before);
});

t.test('systemInfo', async (t) => {
  const info = systemInfo();
  const text = JSON.stringify(info);
  t.same(JSON.parse(text), info, 'plain data, fit for a bug report');
  for (const word of ['blas', 'threads', 'cuda', 'simd', process.versions.node]) {
    t.ok(text.toLowerCase().includes(word), `tells about ${word}`);
  }
});

t.test('every SIMD level of this machine gives the same answers', { timeout: 110_000 }, async (t) => {
  // SIGMATUNE_SIMD selects a lower level than the machine has.
  type Answers = {
    simd: string;
    numbers: number[];
    narrow: { sums: number[]; rounded: number[]; halves: number[] };
    scaled: { float32: number[]; bfloat16: number[] };
    merged: Record<'bfloat16' | 'float16', { results: number[]; gradients: number[] }>;
    halves: string;
  };
  const run = async (level: string): Promise<Answers> => {
    process.env['SIGMATUNE_SIMD'] = level;
    const { code, out, err } = await runScript('simd.mjs');
    delete process.env['SIGMATUNE_SIMD'];
    t.same([code, err], [0, ''], level);
    return JSON.parse(out);
  };
  const levels = ['baseline', 'avx2', 'avx512', 'avx512bf16'];
  const best = levels.indexOf(String(systemInfo()['simd']));
  const baseline = await run('baseline');
  for (const [i, level] of levels.entries()) {
    const { simd, numbers, narrow, scaled, merged, halves } = await run(level);
    t.equal(simd, levels[Math.min(i, best)], `${level} is what it says, or all that there is`);
    assertClose(t, numbers, baseline.numbers, tolerances.float32, `${level}: as the baseline, to rounding`);
    const { sums, rounded } = baseline.narrow;
    assertClose(t, narrow.sums, sums, tolerances.float32, `${level}: sums of bfloat16 numbers`);
    // Rounding may fall to either side.
    const either = { ...tolerances.float32, rtol: 2 ** -7 };
    assertClose(t, narrow.rounded, rounded, either, `${level}: products in bfloat16`);
    t.equal(halves, baseline.halves, `${level}: casts of float16, to the bit`);
    assertClose(
      t,
      narrow.halves,
      baseline.narrow.halves,
      { ...tolerances.float32, rtol: 2 ** -10 },
      `${level}: float16`,
    );
    assertClose(t, scaled.float32, baseline.scaled.float32, tolerances.float32, `${level}: int8 factors`);
    assertClose(t, scaled.bfloat16, baseline.scaled.bfloat16, tolerances.bfloat16, `${level}: int8 factors, bfloat16`);
    for (const dtype of ['bfloat16', 'float16'] as const) {
      const [found, wanted] = [merged[dtype], baseline.merged[dtype]];
      assertClose(t, found.results, wanted.results, tolerances[dtype], `${level}: through W', ${dtype}`);
      assertClose(t, found.gradients, wanted.gradients, tolerances.float32, `${level}: gradients through W', ${dtype}`);
    }
  }
});

t.test('timed', async (t) => {
  const wait = () => {
    const end = performance.now() + 20;
    while (performance.now() < end);
  };
  const milliseconds = timed('cpu', wait);
  t.ok(milliseconds >= 19 && milliseconds < 2000, `${milliseconds} ms`);
  t.ok(timed('cpu', () => undefined) < milliseconds, 'nothing takes less');
  throwsSigma(t, () => timed('cpu', 5 as never), 'INVALID_ARGUMENT', 'no function', 'body');
  throwsSigma(t, () => timed('cpu', async () => {}), 'INVALID_ARGUMENT', 'a promise', 'body', 'synchronous');
  throwsSigma(t, () => timed('gpu' as Device, wait), 'INVALID_ARGUMENT', 'no device', 'device');
});

const flags = process.platform === 'linux' && process.arch === 'x64' ? readFileSync('/proc/cpuinfo', 'utf8') : '';
const noAvx2 = !/^flags.* avx2 /m.test(flags) && 'about x86-64 Linux with AVX2';

t.test('OpenBLAS uses the instructions of a processor that it does not know', { skip: noAvx2 }, async (t) => {
  t.notMatch(systemInfo()['blas'], /prescott/i);
});
