import { checkInteger, checkNumber, checkOptions, fail } from '../runtime/check.js';

export interface ScheduleOptions {
  /** Number of warm-up steps, at most `total`. */
  warmup: number;
  /** Number of steps in all. From step `total` on the multiplier is 0. */
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
 * A schedule with linear warm-up and linear decay: the multiplier rises from 0 to 1 during the warm-up, then falls to 0
 * at `total`. Equals Hugging Face's `get_linear_schedule_with_warmup`.
 *
 * @returns a function from the step (from 0; fractions are allowed) to the multiplier of the learning rate
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * const schedule = linearSchedule({ warmup: 100, total: 1000 });
 * optimizer.lrScale = schedule(step);
 */
export function linearSchedule(options: ScheduleOptions): (step: number) => number {
  return schedule('linearSchedule', options, (step, span, { total }) => (total - step) / span);
}

/**
 * A schedule with linear warm-up and cosine decay: the multiplier rises from 0 to 1 during the warm-up, then falls to 0
 * at `total` along half a cosine. Equals Hugging Face's `get_cosine_schedule_with_warmup` before `total`. From `total`
 * on it is 0; Hugging Face's rises again after `total`, and is 1 at `total` if `warmup` equals `total`.
 *
 * @returns a function from the step (from 0; fractions are allowed) to the multiplier of the learning rate
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
