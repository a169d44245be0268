// @ts-check

/**
 * Every number of the study. All methods share the data, steps, batches and schedule. The head's rate is that of all methods
 * but 'head only', which chooses it.
 */
export const settings = {
  sizes: { heldOut: 300, test: 600, seed: 1 },
  train: { examples: 512, epochs: 2, batchSize: 16, warmup: 0.1, headRate: 1e-1 },
  /** In steps, as shares of all: the paper's start at a tenth to a half of its trainings. */
  freezing: { start: 0.3, every: 0.05, count: 10, freeze: 3 },
  tuningSeed: 100,
  seeds: [1, 2, 3, 4, 5],
  /** How often a grid of rates whose best is at its end is widened. */
  widenings: 2,
  tasks: /** @type {const} */ (['reviews', 'mail']),
};

/** The same for a check in a few minutes: it shows that all parts work, not what is true. @type {typeof settings} */
export const short = {
  ...settings,
  sizes: { heldOut: 100, test: 100, seed: 1 },
  train: { ...settings.train, examples: 64, epochs: 1 },
  seeds: [1],
  widenings: 0,
};
