import { checkInteger, checkNumber, checkOptions, fail } from '../check.js';

export interface ScheduleOptions {
  /** Steps from 0 up to the full rate. */
  warmup: number;
  /** Steps in all; from then on the multiplier is 0. */
  total: number;
}

function schedule(op: string, options: ScheduleOptions, decay: (progress: number) => number): (step: number) => number {
  const { warmup, total } = checkOptions(op, 'options', options, ['warmup', 'total']);
  checkInteger(op, 'options.warmup', warmup, 0);
  checkInteger(op, 'options.total', total, 1);
  if (warmup > total) fail('INVALID_ARGUMENT', op, 'options.warmup', `at most total, ${total}`, String(warmup));
  return (step) => {
    checkNumber(op, 'step', step, 0);
    if (step < warmup) return step / warmup;
    return decay((step - warmup) / Math.max(1, total - warmup));
  };
}

/**
 * The multiplier of the base learning rate for step 0, 1, 2, …: a linear rise over the warm-up, then a linear fall to 0,
 * as Hugging Face computes it.
 *
 * @example
 * const schedule = linearSchedule({ warmup: 100, total: 1000 });
 * optimizer.lrScale = schedule(step);
 */
export function linearSchedule(options: ScheduleOptions): (step: number) => number {
  return schedule('linearSchedule', options, (progress) => Math.max(0, 1 - progress));
}

/** The same with half a cosine for the fall, as Hugging Face computes it. */
export function cosineSchedule(options: ScheduleOptions): (step: number) => number {
  return schedule('cosineSchedule', options, (progress) =>
    progress >= 1 ? 0 : (1 + Math.cos(Math.PI * progress)) / 2,
  );
}
