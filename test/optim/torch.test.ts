/**
 * Recorded runs of PyTorch's optimisers and Hugging Face's schedules: fixtures/torch-optim.json, made by
 * scripts/fixtures.
 */
import { readFileSync } from 'node:fs';
import {
  AdamW,
  type AdamWOptions,
  clipGradNorm,
  cosineSchedule,
  linearSchedule,
  type Optimizer,
  type ParameterGroup,
  Sgd,
  type SgdOptions,
} from 'sigmatune';
import t from 'tap';
import { assertClose, at, expectNoLeak, item, snapshot, type Values, values } from '../support/helpers.js';
import { assign, disposeParameters, makeParameter } from '../support/parameters.js';

interface ScheduleCase {
  readonly kind: 'linear' | 'cosine';
  readonly warmup: number;
  readonly total: number;
}

interface TraceBase {
  readonly name: string;
  readonly groups: readonly Omit<ParameterGroup, 'parameters'>[];
  readonly vectors: readonly { readonly size: number; readonly gradientScale: number; readonly group: number }[];
  readonly seed: number;
  /** First and last step, counted from 1, of the period without a gradient in PyTorch. */
  readonly frozen: readonly { readonly parameter: number; readonly from: number; readonly to: number }[];
  readonly schedule: ScheduleCase | null;
  readonly clip: number | null;
  readonly checkpoints: readonly { readonly step: number; readonly values: readonly (readonly number[])[] }[];
}

type Trace = TraceBase &
  ({ readonly kind: 'adamw'; readonly options: AdamWOptions } | { readonly kind: 'sgd'; readonly options: SgdOptions });

interface Clip {
  readonly name: string;
  readonly seed: number;
  readonly sizes: readonly number[];
  readonly gradientScale: number;
  readonly maximum: number;
  readonly missing: readonly number[];
  readonly norm: number;
  readonly gradients: readonly (readonly number[] | null)[];
}

interface Recorded {
  readonly torch: string;
  readonly transformers: string;
  readonly optimizers: readonly Trace[];
  readonly clips: readonly Clip[];
  readonly schedules: readonly (ScheduleCase & { readonly multipliers: readonly number[] })[];
}

const recorded: Recorded = JSON.parse(readFileSync(new URL('../fixtures/torch-optim.json', import.meta.url), 'utf8'));

/** The generator of the recording script: 31 bits of state, all numbers exact. */
function draws(seed: number): (size: number, scale?: number) => Float64Array {
  let state = seed;
  const next = (): number => {
    // The lower 32 bits of the product suffice for the remainder by 2³¹.
    state = (Math.imul(1103515245, state) + 12345) & 0x7fffffff;
    return state / 2 ** 30 - 1;
  };
  return (size, scale = 1) => Float64Array.from({ length: size }, () => next() * scale);
}

function scheduleOf({ kind, warmup, total }: ScheduleCase): (step: number) => number {
  return (kind === 'linear' ? linearSchedule : cosineSchedule)({ warmup, total });
}

/** The largest |found − wanted| / max(1, |wanted|); NaN if either is NaN. */
function distance(found: Values, wanted: readonly number[]): number {
  const data = values(found);
  if (data.length !== wanted.length) return Number.NaN;
  return wanted.reduce(
    (most, each, i) => Math.max(most, Math.abs(at(data, i) - each) / Math.max(1, Math.abs(each))),
    0,
  );
}

for (const trace of recorded.optimizers) {
  t.test(`${trace.name}, torch ${recorded.torch}`, async (t) => {
    await expectNoLeak(t, trace.name, () => {
      const draw = draws(trace.seed);
      const parameters = trace.vectors.map(({ size }, i) => makeParameter(`p${i}`, draw(size), 'float64'));
      const groups: ParameterGroup[] = trace.groups.map((settings, g) => ({
        ...settings,
        parameters: parameters.filter((_, i) => item(trace.vectors, i).group === g),
      }));
      const optimizer: Optimizer =
        trace.kind === 'adamw' ? new AdamW(groups, trace.options) : new Sgd(groups, trace.options);
      const schedule = trace.schedule && scheduleOf(trace.schedule);
      let done = 0;
      for (const checkpoint of trace.checkpoints) {
        for (; done < checkpoint.step; done++) {
          parameters.forEach((parameter, i) => {
            const { size, gradientScale } = item(trace.vectors, i);
            // A frozen parameter keeps its gradient here. It must not move, nor count in the norm.
            assign(parameter, draw(size, gradientScale));
            parameter.trainable = !trace.frozen.some(
              ({ parameter: frozen, from, to }) => frozen === i && from <= done + 1 && done + 1 <= to,
            );
          });
          if (trace.clip !== null) clipGradNorm(parameters, trace.clip);
          if (schedule) optimizer.lrScale = schedule(done);
          optimizer.step();
        }
        parameters.forEach(({ value, name }, i) => {
          const error = distance(value, item(checkpoint.values, i));
          t.ok(error <= 1e-12, `${name} after ${done} steps (off by ${error})`);
        });
      }
      disposeParameters(parameters);
    });
  });
}

t.test(`clip_grad_norm_, torch ${recorded.torch}`, async (t) => {
  await expectNoLeak(t, 'clips', () => {
    for (const { name, seed, sizes, gradientScale, maximum, missing, norm, gradients } of recorded.clips) {
      const draw = draws(seed);
      const parameters = sizes.map((size, i) => makeParameter(`p${i}`, new Float64Array(size), 'float64'));
      parameters.forEach((parameter, i) => {
        assign(parameter, draw(parameter.value.size, gradientScale));
        if (!missing.includes(i)) return;
        parameter.grad?.dispose();
        parameter.grad = null;
      });
      assertClose(t, [clipGradNorm(parameters, maximum)], [norm], { atol: 0, rtol: 1e-12 }, `${name}: the norm`);
      parameters.forEach(({ grad }, i) => {
        const wanted = item(gradients, i);
        if (wanted === null || grad === null) t.equal(grad, wanted, `${name}: gradient ${i} is missing`);
        else assertClose(t, grad, wanted, { atol: 0, rtol: 1e-12 }, `${name}: gradient ${i}`);
      });
      const before = parameters.map(({ grad }) => (grad ? snapshot(grad) : null));
      for (const parameter of parameters) parameter.trainable = false;
      t.equal(clipGradNorm(parameters, maximum), 0, `${name}: frozen, as if all were missing`);
      t.same(
        parameters.map(({ grad }) => (grad ? snapshot(grad) : null)),
        before,
        `${name}: frozen gradients stay`,
      );
      disposeParameters(parameters);
    }
  });
});

t.test(`schedules, transformers ${recorded.transformers}`, async (t) => {
  for (const entry of recorded.schedules) {
    const { kind, warmup, total, multipliers } = entry;
    const schedule = scheduleOf(entry);
    const label = `${kind}, ${warmup} of ${total}`;
    const error = distance(
      Array.from({ length: total }, (_, step) => schedule(step)),
      multipliers.slice(0, total),
    );
    t.ok(error <= 1e-15, `${label}: every step before the end (off by ${error})`);
    t.equal(schedule(total), 0, `${label}: 0 at the end`);
    // Hugging Face's multiplier is 1 there if the warm-up is as long as the run.
    if (warmup < total) t.equal(multipliers[total], 0, `${label}: as recorded`);
    const beyond = multipliers.slice(total + 1);
    t.ok(beyond.length > 0, `${label}: steps beyond the end were recorded`);
    t.ok(
      beyond.every((_, i) => schedule(total + 1 + i) === 0),
      `${label}: 0 beyond the end`,
    );
    // The one intended difference: Hugging Face's cosine rises again.
    t.equal(
      beyond.some((multiplier) => multiplier > 0),
      kind === 'cosine',
      `${label}: beyond the end as recorded`,
    );
  }
});
