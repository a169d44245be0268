// The change of a layer's core, C − diag(σ), reduced to what an SVD of it needs.

import type { RealArray } from '../runtime/native.js';
import { allocate, type Real } from '../tensor/dtype.js';
import type { changeOf } from './telemetry.js';

export type CoreChange = ReturnType<typeof changeOf>;

/** Whether only the diagonal has changed. The magnitudes of its numbers are then the singular values of ΔW. */
export function isDiagonal({ values, count }: CoreChange): boolean {
  return values.subarray(0, count).every((value) => value === 0);
}

/** The first number of the change that is not finite, if any. */
export function firstBroken({ diagonal, values, count }: CoreChange): number | undefined {
  const isBroken = (value: number) => !Number.isFinite(value);
  return diagonal.find(isBroken) ?? values.subarray(0, count).find(isBroken);
}

/** The change of the core without its rows and columns of zeros. It has the same singular values, other than 0. */
export interface Compact {
  /** Which rows and columns of the core these are. */
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  /** (rows, columns) */
  readonly numbers: RealArray;
}

export function compactOf(op: string, dtype: Real, change: CoreChange): Compact {
  const { diagonal, starts, columns, values } = change;
  const r = diagonal.length;
  const [rowAt, columnAt] = [new Int32Array(r).fill(-1), new Int32Array(r).fill(-1)];
  const [usedRows, usedColumns]: [number[], number[]] = [[], []];
  const each = (use: (i: number, j: number, value: number) => void) => {
    for (let i = 0; i < r; i++) {
      if (diagonal[i] !== 0) use(i, i, diagonal[i] as number);
      for (let p = starts[i] as number; p < (starts[i + 1] as number); p++) {
        if (values[p] !== 0) use(i, columns[p] as number, values[p] as number);
      }
    }
  };
  each((i, j) => {
    if (rowAt[i] === -1) rowAt[i] = usedRows.push(i) - 1;
    if (columnAt[j] === -1) columnAt[j] = usedColumns.push(j) - 1;
  });
  const numbers = allocate(op, dtype, usedRows.length * usedColumns.length);
  each((i, j, value) => {
    numbers[(rowAt[i] as number) * usedColumns.length + (columnAt[j] as number)] = value;
  });
  return { rows: usedRows, columns: usedColumns, numbers };
}
