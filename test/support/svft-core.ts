/** Shared by the tests of SVFT's patterns: a weight with its factors, and the cells that a layer trains. */
import { type AdaptedLinear, type SparsityPattern, type Svd, svd, type Tensor } from 'sigmatune';
import { at, fill, gaussian, seeded, snapshot, values } from './helpers.js';
import { dense, parameter } from './layer.js';
import * as reference from './reference.js';

export async function weightAndFactors(
  rows: number,
  columns: number,
  seed = 1,
): Promise<{ weight: Tensor; factors: Svd }> {
  const weight = gaussian(seeded(seed), [rows, columns], 'float64', 1 / Math.sqrt(columns));
  return { weight, factors: await svd(weight) };
}

/** The cells of M that a layer trains, from its merged weight: M = (Uᵀ W' V − diag σ) / g with all values 1. */
export function cellsOf(layer: AdaptedLinear): string[] {
  fill(parameter(layer, 'm').value, 1);
  const gate = layer.parameters.find(({ name }) => name === 'gate');
  const g = gate ? reference.sigmoid(at(values(gate.value), 0)) : 1;
  const merged = layer.mergedWeight();
  const { u, s, vt } = layer.factors;
  const core = reference.matmul(
    reference.matmul(reference.transpose(dense(u)), dense(merged)),
    reference.transpose(dense(vt)),
  );
  merged.dispose();
  const cells: string[] = [];
  const sigma = snapshot(s);
  for (let i = 0; i < core.rows; i++) {
    for (let j = 0; j < core.columns; j++) {
      const value = (reference.entry(core, i, j) - (i === j ? at(sigma, i) : 0)) / g;
      // Duplicates sum, so a cell has the number of times that it was drawn.
      for (let k = 0; k < Math.round(value); k++) cells.push(`${i},${j}`);
    }
  }
  return cells;
}

export const cells = (pattern: SparsityPattern): string[] =>
  reference.coordinates(pattern).map(({ row, column }) => `${row},${column}`);

/** Reorders values of coordinates to CSR slots. */
export function inSlotOrder({ slots }: SparsityPattern, values: readonly number[]): Float64Array {
  if (!slots) throw new Error('coordinates have slots');
  const out = new Float64Array(values.length);
  values.forEach((value, p) => {
    out[at(slots, p)] = value;
  });
  return out;
}

/** A recorded case of the public code: its factors, M's coordinates and values, and its outputs for x and dy. */
export interface RecordedCase {
  readonly name: string;
  readonly out: number;
  readonly inp: number;
  readonly tokens: number;
  readonly weight: readonly number[];
  readonly u: readonly number[];
  readonly s: readonly number[];
  readonly vt: readonly number[];
  readonly rows: readonly number[];
  readonly cols: readonly number[];
  readonly values: readonly number[];
  readonly gate: number;
  readonly x: readonly number[];
  readonly dy: readonly number[];
  readonly y: readonly number[];
  readonly dx: readonly number[];
  readonly dvalues: readonly number[];
  readonly dgate: readonly number[];
  readonly merged: readonly number[];
}
