// Parts of the test suite that a run for another purpose leaves out. The run on the CPU has made them.

/** The package, its tools and its studies; ranks, which run under mpirun. */
export const tools = ['test/package/**', 'test/bench/**', 'test/cli/**', 'test/study/**', 'test/distributed/**'];

/** The bytes of files, and writers that are killed. */
export const bytesOfFiles = [
  'test/files/*atomic.test.ts',
  'test/files/checkpoint-numbered.test.ts',
  'test/files/header-properties.test.ts',
  'test/files/mutations.test.ts',
];

/** A plan is a function of shapes. */
export const plans = ['test/operator/planner.test.ts', 'test/model/plan.test.ts'];
