/** What a warm training step costs the host: launches, allocations, calls into the addon, garbage. Only when simulated. */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { runScript, withEnvironment } from '../support/process.js';

if (process.env['SIGMATUNE_CUDA_SIMULATION'] !== '1') {
  t.plan(0, 'needs the simulated device, which counts');
  process.exit();
}

interface Step {
  readonly calls: readonly string[];
  readonly kernels: number;
  readonly products: number;
  readonly copies: number;
  readonly fills: number;
  readonly allocations: number;
  readonly growths: number;
  readonly waits: number;
}

/** The goal: launches at most, whether the tokens are split or not. bfloat16 has one more for a bias. */
const most = 8;

t.test('launches, allocations and calls of a warm step of one diagonal layer', async (t) => {
  const file = join(tmpdir(), `sigmatune-counts-${process.pid}`);
  const { code, out, err } = await withEnvironment({ SIGMA_SIMULATED_COUNTS: file }, () => runScript('cuda-step.mjs'));
  await rm(file, { force: true });
  t.same([code, err], [0, '']);
  const steps: Record<string, Step> = JSON.parse(out);
  const clip = steps['clipGradNorm'];
  delete steps['clipGradNorm'];
  t.equal(Object.keys(steps).length, 24);
  for (const [what, { calls, kernels, products, copies, fills, allocations, growths, waits }] of Object.entries(
    steps,
  )) {
    const launches = kernels + products + copies + fills;
    const [layer, dtype] = what.split(', ') as [string, string];
    const limit = most + (layer === 'vectorFit' && dtype === 'bfloat16' ? 1 : 0);
    t.ok(launches <= limit, `${what}: ${launches} launches of at most ${limit}: ${JSON.stringify(steps[what])}`);
    t.same([products, copies, allocations, growths, waits], [4, 0, 0, 0, 0], `${what}: nothing but kernels`);
    t.ok(calls.length <= 17, `${what}: ${calls.length} calls into the addon (${calls.join(', ')})`);
  }
  t.match(clip, { kernels: 2, copies: 1, fills: 0, waits: 1 }, 'clipGradNorm: the norm, its download, and the scaling');
  t.same(clip?.calls, ['deviceNorm', 'deviceScale']);
});

t.test('device memory makes V8 collect no garbage', async (t) => {
  const { code, out, err } = await runScript('cuda-garbage.mjs');
  t.same([code, err], [0, '']);
  const { full, collecting } = JSON.parse(out);
  t.equal(full, 0, `no full collection in 2000 steps: ${out}`);
  t.ok(collecting < 100, `${collecting} µs of a step, where the wall clock of a shared machine has its say`);
});
