import type { RealArray } from '../runtime/native.js';
import type { Work } from '../runtime/slices.js';

/** to[i, j] = from[i, j] · factors[j] */
export function* scaleColumns(to: RealArray, from: RealArray, factors: ArrayLike<number>): Work<void> {
  const columns = factors.length;
  for (let first = 0; first < to.length; first += columns) {
    for (let j = 0; j < columns; j++) to[first + j] = (from[first + j] as number) * (factors[j] as number);
    yield;
  }
}

/** to[i, j] = from[i, j] · factors[i] */
export function* scaleRows(to: RealArray, from: RealArray, factors: ArrayLike<number>): Work<void> {
  const columns = to.length / factors.length;
  for (let i = 0; i < factors.length; i++) {
    for (let at = i * columns; at < (i + 1) * columns; at++) to[at] = (from[at] as number) * (factors[i] as number);
    yield;
  }
}
