/**
 * The float64 reference that tests and benchmarks share, with its types: bench/reference is plain JavaScript, which this
 * compilation does not read (`npm run check` reads its types).
 */
// @ts-expect-error: no declarations
import * as dense from '../../bench/reference/dense.js';
// @ts-expect-error: no declarations
import * as operators from '../../bench/reference/operator.js';
// @ts-expect-error: no declarations
import * as sparse from '../../bench/reference/sparse.js';

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

export const matrix: (rows: number, columns: number, data: ArrayLike<number>) => Matrix = dense.matrix;
export const entry: (a: Matrix, i: number, j: number) => number = dense.entry;
export const build: (rows: number, columns: number, value: (i: number, j: number) => number) => Matrix = dense.build;
export const transpose: (a: Matrix) => Matrix = dense.transpose;
export const add: (a: Matrix, b: Matrix) => Matrix = dense.add;
export const subtract: (a: Matrix, b: Matrix) => Matrix = dense.subtract;
export const identity: (n: number) => Matrix = dense.identity;
export const diagonal: (d: ArrayLike<number>) => Matrix = dense.diagonal;
export const norm: (a: Matrix) => number = dense.norm;
export const largest: (a: Matrix) => number = dense.largest;
export const matmul: (a: Matrix, b: Matrix) => Matrix = dense.matmul;
export const singularValues: (a: Matrix) => Float64Array = dense.singularValues;
export const withSingularValues: (
  rows: number,
  columns: number,
  spectrum: (j: number) => number,
  normals: (count: number) => ArrayLike<number>,
) => Matrix = dense.withSingularValues;
export const effectiveRank: (s: ArrayLike<number>) => number = dense.effectiveRank;

/** The part of a SparsityPattern that a product needs. */
export interface Csr {
  readonly shape: readonly [number, number];
  readonly rowPointers: ArrayLike<number>;
  readonly columnIndices: ArrayLike<number>;
}

export const coordinates: (pattern: Csr) => { row: number; column: number }[] = sparse.coordinates;
export const densify: (pattern: Csr, values: ArrayLike<number>) => Matrix = sparse.densify;
export const spmm: (pattern: Csr, values: ArrayLike<number>, dense: Matrix, transposed?: boolean) => Matrix =
  sparse.spmm;
export const sddmm: (pattern: Csr, a: Matrix, b: Matrix) => Float64Array = sparse.sddmm;

/** C = diag(σ) + g·M; Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b. */
export interface Operator {
  /** W0 [out, in], if the family has a base term. */
  readonly base?: Matrix | undefined;
  readonly u: Matrix;
  readonly vt: Matrix;
  /** The diagonal of the core, [r]. */
  readonly sigma: ArrayLike<number>;
  readonly m?: { readonly pattern: Csr; readonly values: ArrayLike<number> } | undefined;
  /** γ, if M is gated: g = sigmoid(γ). Without a gate g = 1. */
  readonly gate?: number | undefined;
  readonly bias?: ArrayLike<number> | undefined;
  /** Maps a parameter's name to its gradient, for names that differ. */
  readonly names?: Readonly<Record<string, 'sigma' | 'm'>>;
}

export interface Gradients {
  readonly dx: Matrix;
  readonly sigma: Float64Array;
  readonly bias: Float64Array;
  /** One number for each slot; empty without M. */
  readonly m: Float64Array;
  /** dγ; 0 without a gate. */
  readonly gate: number;
  /** The size of the terms of dγ, which may cancel. */
  readonly gateSize: number;
  /** The gradients of the parameters in the operator's `names`. */
  readonly named: Readonly<Record<string, Float64Array>>;
}

export const sigmoid: (x: number) => number = operators.sigmoid;
export const core: (operator: Operator) => Matrix = operators.core;
export const mergedWeight: (operator: Operator) => Matrix = operators.mergedWeight;
export const linear: (x: Matrix, weight: Matrix, bias?: ArrayLike<number>) => Matrix = operators.linear;
export const forward: (operator: Operator, x: Matrix) => Matrix = operators.forward;
export const backward: (operator: Operator, x: Matrix, dy: Matrix) => Gradients = operators.backward;
