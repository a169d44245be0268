// @ts-check
import { count, percent } from './format.js';
import { mean } from './table.js';

/** @typedef {import('./table.js').Row} Row */

const familyNames = { svft: 'SVFT', siva: 'SiVA', vectorfit: 'VectorFit' };

/**
 * The result in a few sentences, made from the numbers: for each family the variant that recovers most.
 * @param {readonly Row[]} rows no adaptation, full fine-tuning, then the others
 * @param {{ uprightAccuracy: number; degrees: number }} task
 */
export function headlineOf(rows, { uprightAccuracy, degrees }) {
  const [none, full] = rows;
  const best = Object.entries(familyNames).map(([family, name]) => {
    const top = rows.filter((row) => row.family === family).reduce((a, b) => (b.recovered > a.recovered ? b : a));
    const share = percent(top.parameters / full.parameters, 2);
    return `${name} recovers ${percent(top.recovered, 0)} with ${count(top.parameters)} parameters (${share})`;
  });
  return (
    `Turning the digits by ${degrees}° takes the network from ${percent(uprightAccuracy)} right down to ` +
    `${percent(mean(none.accuracies))}. Full fine-tuning brings it back to ${percent(mean(full.accuracies))} by ` +
    `training all ${count(full.parameters)} parameters. Of that gain ${best.join(', ')}.`
  );
}

/**
 * @param {typeof import('./settings.js').settings} settings
 * @param {number} steps
 */
export function notesOf({ adapt, reportedSeeds, shift, widths }, steps) {
  const { labelled, heldOut, degrees } = shift;
  return [
    `The network is a ${widths.join('-')} perceptron with ReLU, trained on the 60,000 upright MNIST images.`,
    `Every method then sees the same ${count(labelled)} images rotated by ${degrees}° (bilinear), for ${steps} steps ` +
      `of AdamW: ${adapt.epochs} epochs, batches of ${adapt.batchSize}, a linear schedule with ` +
      `${percent(adapt.warmup, 0)} warm-up, no weight decay. All three layers are adapted.`,
    `Each method’s learning rate is the best on ${count(heldOut)} other rotated training images, from a grid of ` +
      'the same size for all, a run per rate; a grid is widened if its first or last rate wins. No choice uses the test images.',
    `Accuracy is the mean over ${reportedSeeds.length} orders of the data, ± the standard deviation, on all 10,000 ` +
      'rotated test images. Whiskers go from the worst run to the best; the curves are those of the first run.',
    'Gain recovered = (accuracy − no adaptation) / (full fine-tuning − no adaptation).',
    'Effective rank: the exponential of the entropy of the singular values, normalised to sum to 1, of each adapted ' +
      'weight; the mean of the three weights and of the runs. SiVA’s paper expects accuracy to rise with it.',
    'SVFT and SiVA keep the biases frozen, as LoRA does. VectorFit trains them with the singular values; its ' +
      'adaptive vector freezing (AVF) is off, because it would start later than this short training ends. Full ' +
      'fine-tuning trains everything.',
    'SiVA trains only the smallest singular values; perc is the share of the variance that stays frozen. “SiVA … ' +
      'top” trains as many of the largest singular values instead, the ablation of its paper.',
    'Milliseconds per step are the median of a whole training step: batch, forward, loss, backward, optimiser. An ' +
      'adapter is one native call each way; the example builds full fine-tuning and LoRA from matmul. ' +
      'The SVD is done once and shared.',
  ];
}
