// @ts-check

/**
 * Every number of the experiment. All methods share `adapt`: the same data, steps, batch size and schedule. It is the
 * recipe of the SVFT paper's vision experiments (AdamW, 10 epochs, batches of 64, linear decay after 10 % warm-up), but
 * for the weight decay: 0, as in the VectorFit paper, where the SVFT paper has 0.01. At these learning rates 0.01 would
 * pull VectorFit's singular values, which are the pretrained ones, towards zero.
 */
export const settings = {
  seed: 1,
  widths: [784, 512, 512, 10],
  base: { epochs: 5, batchSize: 128, lr: 1e-3, weightDecay: 0.01, warmup: 0.1 },
  shift: { degrees: 45, labelled: 2000, heldOut: 2000 },
  adapt: { epochs: 10, batchSize: 64, weightDecay: 0, warmup: 0.1 },
  /** Orders of the training data: one for choosing learning rates, others for the runs that are reported. */
  tuningSeed: 100,
  reportedSeeds: [201, 202, 203],
  /** When the first of them is judged for its training curve; the last epoch is the result. */
  curveEpochs: [1, 2, 3, 4, 6, 8, 10],
  reportFile: 'quickstart-report.html',
};
