import { SigmaError } from '../runtime/errors.js';

/** Settles as `work` does, or rejects with TIMED_OUT after `seconds`: for functions of MPI that have no limit themselves. */
export async function inTime<T>(op: string, work: Promise<T>, seconds: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SigmaError('TIMED_OUT', op, message)), Math.min(seconds * 1000, 2 ** 31 - 1));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
