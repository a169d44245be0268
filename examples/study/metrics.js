// @ts-check
// How well scores tell two classes apart, if one class is rarer: balanced accuracy, F1 and the area under the ROC curve.

/** @typedef {{ balanced: number, accuracy: number, f1: number, auroc: number }} Metrics */

/** @param {readonly number[]} scores above 0 for class 1 @param {readonly number[]} labels 0 or 1 @returns {Metrics} */
export function metricsOf(scores, labels) {
  const count = (/** @type {number} */ label, /** @type {boolean} */ told) =>
    scores.filter((score, i) => labels[i] === label && score > 0 === told).length;
  const [right, missed, wrong, rejected] = [count(1, true), count(1, false), count(0, true), count(0, false)];
  return {
    balanced: (right / (right + missed) + rejected / (rejected + wrong)) / 2,
    accuracy: (right + rejected) / scores.length,
    f1: (2 * right) / (2 * right + wrong + missed),
    auroc: auroc(scores, labels),
  };
}

/** The share of pairs of both classes that the scores order; a tie counts half. @param {readonly number[]} scores @param {readonly number[]} labels */
function auroc(scores, labels) {
  const order = scores.map((_, i) => i).sort((a, b) => scores[a] - scores[b]);
  let positives = 0;
  let ranks = 0; // of the positives, from 1; ties share the mean of their ranks
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && scores[order[end]] === scores[order[first]]) end++;
    const tied = order.slice(first, end).filter((i) => labels[i] === 1).length;
    positives += tied;
    ranks += (tied * (first + 1 + end)) / 2;
    first = end;
  }
  const negatives = order.length - positives;
  return (ranks - (positives * (positives + 1)) / 2) / (positives * negatives);
}
