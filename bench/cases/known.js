// @ts-check
import { length } from '../reference/dense.js';

/** A unit vector. @param {import('./numbers.js').Numbers} random @param {number} size */
function direction(random, size) {
  const vector = random.gaussian(size);
  const norm = length(vector);
  return vector.map((value) => value / norm);
}

/**
 * A weight [out, in] whose SVD is known without a decomposition: U and V are the first columns of two reflections
 * I − 2aaᵀ and I − 2bbᵀ.
 * @param {import('./operands.js').Operands} operands
 * @param {number} out
 * @param {number} inFeatures
 */
export function knownWeight(operands, out, inFeatures) {
  const r = Math.min(out, inFeatures);
  const { random, real } = operands;
  const [a, b] = [direction(random, out), direction(random, inFeatures)];
  const sigma = Float32Array.from({ length: r }, (_, i) => (2 - i / r) / Math.sqrt(inFeatures));
  let coupling = 0;
  for (let j = 0; j < r; j++) coupling += a[j] * sigma[j] * b[j];
  const [u, vt, weight] = [out * r, r * inFeatures, out * inFeatures].map((size) => new Float32Array(size));
  for (let i = 0; i < out; i++) {
    for (let j = 0; j < r; j++) u[i * r + j] = (i === j ? 1 : 0) - 2 * a[i] * a[j];
    for (let k = 0; k < inFeatures; k++) {
      const diagonal = i === k ? sigma[i] : 0;
      const left = k < r ? a[i] * a[k] * sigma[k] : 0;
      const right = i < r ? sigma[i] * b[i] * b[k] : 0;
      weight[i * inFeatures + k] = diagonal - 2 * left - 2 * right + 4 * coupling * a[i] * b[k];
    }
  }
  for (let j = 0; j < r; j++) {
    for (let k = 0; k < inFeatures; k++) vt[j * inFeatures + k] = (j === k ? 1 : 0) - 2 * b[j] * b[k];
  }
  const made = {
    weight: operands.tensor(weight, [out, inFeatures]),
    factors: /** @type {import('sigmatune').Svd} */ ({
      u: operands.tensor(u, [out, r], real),
      s: operands.tensor(sigma, [r], real),
      vt: operands.tensor(vt, [r, inFeatures], real),
    }),
  };
  return {
    ...made,
    dispose: () => [made.weight, ...Object.values(made.factors)].forEach((each) => void each.dispose()),
  };
}
