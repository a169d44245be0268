// @ts-check
import { loadMnist, pick } from './mnist.js';
import { permutation, seeded } from './random.js';
import { rotate } from './rotate.js';

/** @typedef {import('./mnist.js').Digits} Digits */

/**
 * The upright digits that the network learns first, and the shifted task it then meets. The labelled and the held-out
 * images of the shifted task are disjoint; its test images appear nowhere else.
 * @param {{ degrees: number; labelled: number; heldOut: number }} shift
 * @param {number} seed
 */
export async function loadTask({ degrees, labelled, heldOut }, seed) {
  const upright = await loadMnist();
  const order = permutation(seeded(seed), upright.train.labels.length);
  const chosen = pick(upright.train, order.subarray(0, labelled));
  const spare = pick(upright.train, order.subarray(labelled, labelled + heldOut));
  return {
    upright,
    rotated: {
      train: rotate(chosen, degrees),
      heldOut: rotate(spare, degrees),
      test: rotate(upright.test, degrees),
    },
  };
}
