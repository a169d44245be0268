import { checkInteger, checkNumber, checkOptions, fail } from '../runtime/check.js';

export interface ScheduleOptions {
  /** Steps from 0 up to the full rate. */
  warmup: number;
  /** Steps in all; from then on the multiplier is 0. */
  total: number;
}

function schedule(
  op: string,
  options: ScheduleOptions,
  fall: (step: number, span: number, options: ScheduleOptions) => number,
): (step: number) => number {
  const { warmup, total } = checkOptions(op, 'options', options, ['warmup', 'total']);
  checkInteger(op, 'options.warmup', warmup, 0);
  checkInteger(op, 'options.total', total, 1);
  if (warmup > total) fail('INVALID_ARGUMENT', op, 'options.warmup', `at most total, ${total}`, String(warmup));
  return (step) => {
    checkNumber(op, 'step', step, 0);
    if (step >= total) return 0;
    return step < warmup ? step / warmup : fall(step, total - warmup, { warmup, total });
  };
}

/**
 * The multiplier of the base learning rate for a step from 0 on (a fraction is allowed): a linear rise over the warm-up,
 * then a linear fall to 0 at `total`, as Hugging Face computes it. From `total` on it is 0.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * const schedule = linearSchedule({ warmup: 100, total: 1000 });
 * optimizer.lrScale = schedule(step);
 */
export function linearSchedule(options: ScheduleOptions): (step: number) => number {
  return schedule('linearSchedule', options, (step, span, { total }) => (total - step) / span);
}

/**
 * The same with half a cosine for the fall, as Hugging Face computes it before `total`. From `total` on it is 0. Hugging
 * Face's cosine rises again after `total`, and is 1 at `total` if `warmup` equals `total`.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * const schedule = cosineSchedule({ warmup: 100, total: 1000 });
 * schedule(100); // 1
 */
export function cosineSchedule(options: ScheduleOptions): (step: number) => number {
  return schedule('cosineSchedule', options, (step, span, { warmup }) => {
    return (1 + Math.cos((Math.PI * (step - warmup)) / span)) / 2;
  });
}
