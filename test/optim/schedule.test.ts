/** Schedules of the learning rate, and gradient clipping. */
import { clipGradNorm, cosineSchedule, linearSchedule } from 'sigmatune';
import t from 'tap';
import { dtypes } from '../support/cases.js';
import { assertClose, assertSameBits, expectNoLeak, type Tolerance, throwsSigma } from '../support/helpers.js';
import { assign, disposeParameters, makeParameter, type OwnParameter } from '../support/parameters.js';
import * as reference from '../support/reference-optim.js';

t.test('schedules as Hugging Face computes them', async (t) => {
  for (const [warmup, total] of [
    [0, 10],
    [3, 10],
    [1, 1],
    [10, 10],
    [100, 1000],
    [0, 1],
  ] as const) {
    const [line, wave] = [linearSchedule({ warmup, total }), cosineSchedule({ warmup, total })];
    for (let step = 0; step <= total; step++) {
      const close = (found: number, wanted: number): boolean => Math.abs(found - wanted) <= 1e-15;
      t.ok(close(line(step), reference.linear(step, warmup, total)), `linear, ${warmup} of ${total}, step ${step}`);
      t.ok(close(wave(step), reference.cosine(step, warmup, total)), `cosine, ${warmup} of ${total}, step ${step}`);
    }
    t.equal(line(total + 5), 0, 'linear stays at 0');
    t.equal(wave(total + 5), 0, 'cosine stays at 0, and does not rise again');
  }
  // Computed by hand from get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup.
  const line = linearSchedule({ warmup: 2, total: 6 });
  t.same([0, 1, 2, 3, 4, 5, 6].map(line), [0, 0.5, 1, 0.75, 0.5, 0.25, 0], 'linear, 2 of 6');
  const wave = cosineSchedule({ warmup: 2, total: 6 });
  [0, 0.5, 1, 0.5 + Math.SQRT1_2 / 2, 0.5, 0.5 - Math.SQRT1_2 / 2, 0].forEach((wanted, step) => {
    t.ok(Math.abs(wave(step) - wanted) < 1e-15, `cosine, 2 of 6, step ${step}`);
  });
  for (const schedule of [linearSchedule, cosineSchedule]) {
    throwsSigma(t, () => schedule({ warmup: -1, total: 10 }), 'INVALID_ARGUMENT', 'a negative warm-up', 'warmup', '-1');
    throwsSigma(t, () => schedule({ warmup: 11, total: 10 }), 'INVALID_ARGUMENT', 'too long a warm-up', 'warmup', '11');
    throwsSigma(t, () => schedule({ warmup: 0, total: 10 })(-1), 'INVALID_ARGUMENT', 'a negative step', 'step', '-1');
    throwsSigma(t, () => schedule({ warmup: 0, total: Number.NaN }), 'INVALID_ARGUMENT', 'no total', 'total');
  }
});

t.test('clipGradNorm', async (t) => {
  await expectNoLeak(t, 'clipGradNorm', () => {
    for (const dtype of dtypes) {
      const parameters = ['a', 'b', 'c', 'd'].map((name) => makeParameter(name, [0, 0], dtype));
      const [a, b, c, d] = parameters as [OwnParameter, OwnParameter, OwnParameter, OwnParameter];
      assign(a, [3, 0]);
      assign(b, [0, -4]);
      assign(d, [100, 100]);
      d.trainable = false;
      t.equal(clipGradNorm(parameters, 10), 5, 'the norm before, over what is trained and has a gradient');
      assertSameBits(t, a.grad ?? [], [3, 0], 'below the maximum nothing changes');
      t.equal(clipGradNorm(parameters, 2.5), 5, 'the norm before');
      const loose: Tolerance = { atol: 1e-6, rtol: 0 };
      assertClose(t, a.grad ?? [], [1.5, 0], loose, `${dtype}: scaled down`);
      assertClose(t, b.grad ?? [], [0, -2], loose, `${dtype}: by the global norm`);
      assertSameBits(t, d.grad ?? [], [100, 100], 'a frozen gradient is left alone');
      t.equal(c.grad, null, 'a missing gradient stays missing');
      t.ok(Math.abs(clipGradNorm(parameters, 100) - 2.5) < 1e-5, 'the norm is now the maximum');
      for (const maximum of [-1, Number.NaN, 'x' as unknown as number]) {
        throwsSigma(t, () => clipGradNorm(parameters, maximum), 'INVALID_ARGUMENT', `maximum ${maximum}`, 'maximum');
      }
      assign(a, [0, 0]);
      assign(b, [0, 0]);
      t.equal(clipGradNorm(parameters, 1), 0, 'zero gradients');
      assertSameBits(t, a.grad ?? [], [0, 0], 'zero stays zero, not NaN');
      // PyTorch divides by norm + 1e-6, which is visible for a small norm.
      assign(a, [1e-6, 0]);
      clipGradNorm(parameters, 1e-6);
      assertClose(t, a.grad ?? [], [0.5e-6, 0], { atol: 1e-6, rtol: 0 }, `${dtype}: a tiny norm`);
      disposeParameters(parameters);
    }
    t.equal(clipGradNorm([], 1), 0, 'nothing to clip');
  });
});
