import { lanes } from '../linalg/svd.js';

/**
 * Runs `work` on each item, as many at a time as decompositions run. Rejects with the first failure, once nothing runs any
 * more. `hasFailed` tells the work of one item that another one has failed.
 */
export async function inLanes<T>(
  items: Iterable<T>,
  work: (item: T, hasFailed: () => boolean) => Promise<void>,
): Promise<void> {
  const waiting = items[Symbol.iterator]();
  let failed = false;
  const lane = async () => {
    while (!failed) {
      const { value, done } = waiting.next();
      if (done) return;
      try {
        await work(value, () => failed);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: lanes.most }, lane));
  const first = settled.find((outcome) => outcome.status === 'rejected');
  if (first !== undefined) throw first.reason;
}
