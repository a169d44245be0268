function sumOfSquares(lists: readonly ArrayLike<number>[], scale: number): number {
  let sum = 0;
  // By index: iterators make these loops an order of magnitude slower.
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) sum += ((list[i] as number) * scale) ** 2;
  }
  return sum;
}

/** The largest magnitude; NaN if any number is NaN, 0 for an empty list. */
export function largestMagnitude(list: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < list.length; i++) largest = Math.max(largest, Math.abs(list[i] as number));
  return largest;
}

/** The mean of |a_i − b_i|, with 0 for an absent b. Each term is divided, so that the sum does not overflow. */
export function meanDistance(a: ArrayLike<number>, b?: ArrayLike<number>): number {
  let mean = 0;
  for (let i = 0; i < a.length; i++) mean += Math.abs((a[i] as number) - (b?.[i] ?? 0)) / a.length;
  return mean;
}

/** The power of 2 that scales a magnitude to about 1; 1 for 0. Its exponent is within ±`most`. */
export function powerTo(magnitude: number, most = 1000): number {
  return magnitude === 0 ? 1 : 2 ** -Math.max(-most, Math.min(most, Math.floor(Math.log2(magnitude))));
}

/**
 * The L2 norm over all lists. Scales the numbers if their squares would overflow or underflow. NaN or Infinity if any
 * number is, and Infinity if the norm itself overflows float64.
 */
export function normOf(lists: readonly ArrayLike<number>[]): number {
  const plain = Math.sqrt(sumOfSquares(lists, 1));
  if (plain > 2 ** -450 && plain < Infinity) return plain;
  const largest = largestMagnitude(lists.map(largestMagnitude));
  if (!(largest > 0 && largest < Infinity)) return largest;
  // A power of 2, so that scaling is exact, and its inverse is finite too.
  const scale = powerTo(largest);
  return Math.sqrt(sumOfSquares(lists, scale)) / scale;
}
