// @ts-check
import { placedTensor } from './case.js';
import { norm } from './probe.js';

/** A unit vector. @param {import('./numbers.js').Numbers} random @param {number} length */
function direction(random, length) {
  const vector = random.gaussian(length);
  const size = norm(vector);
  return vector.map((value) => value / size);
}

/**
 * A weight [out, in] whose SVD is known without a decomposition: U and V are the first columns of two reflections
 * I − 2aaᵀ and I − 2bbᵀ.
 * @param {import('./case.js').Library} library
 * @param {import('./numbers.js').Numbers} random
 * @param {number} out
 * @param {number} inFeatures
 */
export function knownWeight(library, random, out, inFeatures) {
  const r = Math.min(out, inFeatures);
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
  return {
    weight: placedTensor(library, weight, [out, inFeatures]),
    factors: {
      u: placedTensor(library, u, [out, r]),
      s: placedTensor(library, sigma, [r]),
      vt: placedTensor(library, vt, [r, inFeatures]),
    },
  };
}
