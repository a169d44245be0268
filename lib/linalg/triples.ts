import type { RealArray } from '../native.js';

/** The memory of a thin SVD: u (m, q), s (q), vt (q, n), by rows. */
export interface Triples {
  readonly u: RealArray;
  readonly s: RealArray;
  readonly vt: RealArray;
}

/** Fills `to` with the singular triples of `from` that begin at `first`, as many as it has room for. */
export function copyTriples(from: Triples, to: Triples, first: number): void {
  const [q, count] = [from.s.length, to.s.length];
  const [rows, columns] = [from.u.length / q, from.vt.length / q];
  for (let i = 0; i < rows; i++) to.u.set(from.u.subarray(i * q + first, i * q + first + count), i * count);
  to.s.set(from.s.subarray(first, first + count));
  to.vt.set(from.vt.subarray(first * columns, (first + count) * columns));
}
