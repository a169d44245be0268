// @ts-check

/** @typedef {import('./network.js').Matrix} Matrix */

/**
 * Softmax cross-entropy, the mean over the batch. Its gradient with respect to the logits is written into `gradient`.
 * @param {Matrix} logits [N, classes]
 * @param {Uint8Array} labels [N]
 * @param {Matrix} gradient [N, classes]
 */
export function softmaxCrossEntropy(logits, labels, gradient) {
  const z = logits.dataSync();
  const dz = gradient.dataSync();
  const count = labels.length;
  const classes = z.length / count;
  let loss = 0;
  for (let row = 0; row < count; row++) {
    const start = row * classes;
    let peak = Number.NEGATIVE_INFINITY; // subtracted, so that exp cannot overflow
    for (let j = start; j < start + classes; j++) peak = Math.max(peak, z[j]);
    let sum = 0;
    for (let j = start; j < start + classes; j++) {
      dz[j] = Math.exp(z[j] - peak);
      sum += dz[j];
    }
    const target = start + labels[row];
    loss += Math.log(sum) - (z[target] - peak);
    for (let j = start; j < start + classes; j++) dz[j] /= sum * count;
    dz[target] -= 1 / count;
  }
  return loss / count;
}

/**
 * How many rows have their largest logit at the label.
 * @param {Matrix} logits [N, classes]
 * @param {Uint8Array} labels [N]
 */
export function countCorrect(logits, labels) {
  const z = logits.dataSync();
  const classes = z.length / labels.length;
  let correct = 0;
  for (let row = 0; row < labels.length; row++) {
    let best = row * classes;
    for (let j = best + 1; j < (row + 1) * classes; j++) if (z[j] > z[best]) best = j;
    if (best - row * classes === labels[row]) correct++;
  }
  return correct;
}
