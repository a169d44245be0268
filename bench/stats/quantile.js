// @ts-check

/** @param {readonly number[]} samples @param {number} share */
export function quantile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** @param {readonly number[]} samples */
export const median = (samples) => quantile(samples, 0.5);

/** Of any number of values: a call takes some 100,000 arguments. @param {readonly number[]} values */
export const least = (values) => values.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY);

/** The same. @param {readonly number[]} values */
export const greatest = (values) => values.reduce((high, value) => Math.max(high, value), Number.NEGATIVE_INFINITY);

/** @typedef {{ min: number, p10: number, p50: number, p90: number }} Quantiles */

/** @param {readonly number[]} samples @returns {Quantiles} */
export const quantiles = (samples) => ({
  min: least(samples),
  p10: quantile(samples, 0.1),
  p50: quantile(samples, 0.5),
  p90: quantile(samples, 0.9),
});
