// @ts-check

/** @param {readonly number[]} samples @param {number} share */
export function quantile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** @param {readonly number[]} samples */
export const median = (samples) => quantile(samples, 0.5);

/** @typedef {{ min: number, p10: number, p50: number, p90: number }} Quantiles */

/** @param {readonly number[]} samples @returns {Quantiles} */
export const quantiles = (samples) => ({
  min: Math.min(...samples),
  p10: quantile(samples, 0.1),
  p50: quantile(samples, 0.5),
  p90: quantile(samples, 0.9),
});
