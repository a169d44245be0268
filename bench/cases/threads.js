// @ts-check
import os from 'node:os';

/** @typedef {import('./case.js').Case} Case */

/** The package may allow fewer threads than a large machine has processors. */
const mostThreads = 64;

/** Longer, so that some samples find all processors free. */
const turn = 30; // ms

/** A case on as many threads as there are processors, whatever the process was told: a gate runs on one otherwise. */
/** @param {Case} given @returns {Case} */
export const onAllThreads = (given) => ({
  ...given,
  name: `${given.name}, all threads`,
  series: `${given.series}, all threads`,
  turn,
  prepare: async (library) => {
    const before = library.threads();
    library.setThreads(Math.min(os.availableParallelism(), mostThreads));
    const restore = () => library.setThreads(before);
    try {
      const prepared = await given.prepare(library);
      const dispose = () => {
        prepared.dispose();
        restore();
      };
      return { ...prepared, dispose };
    } catch (error) {
      restore();
      throw error;
    }
  },
});
