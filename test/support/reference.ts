/**
 * Naive float64 references of every operation, in as few lines as possible. They share no code with the package, so an
 * error must be made twice to go unnoticed.
 */
import { at } from './helpers.js';

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

export function matrix(rows: number, columns: number, data: ArrayLike<number>): Matrix {
  if (data.length !== rows * columns) throw new RangeError(`${rows} × ${columns} from ${data.length} numbers`);
  return { rows, columns, data: Float64Array.from(data) };
}

export function entry(a: Matrix, i: number, j: number): number {
  return at(a.data, i * a.columns + j);
}

export function build(rows: number, columns: number, value: (i: number, j: number) => number): Matrix {
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) data[i * columns + j] = value(i, j);
  return { rows, columns, data };
}

export const transpose = (a: Matrix): Matrix => build(a.columns, a.rows, (i, j) => entry(a, j, i));
export const add = (a: Matrix, b: Matrix): Matrix =>
  build(a.rows, a.columns, (i, j) => entry(a, i, j) + entry(b, i, j));
export const subtract = (a: Matrix, b: Matrix): Matrix =>
  build(a.rows, a.columns, (i, j) => entry(a, i, j) - entry(b, i, j));
export const identity = (n: number): Matrix => build(n, n, (i, j) => (i === j ? 1 : 0));
export const diagonal = (d: ArrayLike<number>): Matrix => build(d.length, d.length, (i, j) => (i === j ? at(d, i) : 0));
export const norm = (a: Matrix): number => Math.sqrt(a.data.reduce((sum, value) => sum + value * value, 0));
export const largest = (a: Matrix): number => a.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

export function matmul(a: Matrix, b: Matrix): Matrix {
  if (a.columns !== b.rows) throw new RangeError(`${a.rows} × ${a.columns} by ${b.rows} × ${b.columns}`);
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++) {
    const sums = data.subarray(i * b.columns, (i + 1) * b.columns);
    for (let k = 0; k < a.columns; k++) {
      const factor = at(a.data, i * a.columns + k);
      const row = b.data.subarray(k * b.columns, (k + 1) * b.columns);
      // The innermost loop of this suite: `?? 0` is never taken, but is cheaper than a check.
      for (let j = 0; j < row.length; j++) sums[j] = (sums[j] ?? 0) + factor * (row[j] ?? 0);
    }
  }
  return { rows: a.rows, columns: b.columns, data };
}

/** Singular values by one-sided Jacobi rotations, descending: independent of LAPACK, accurate to rounding. */
export function singularValues(a: Matrix): Float64Array {
  const { rows, columns, data } = a.rows >= a.columns ? transpose(a) : { ...a, data: a.data.slice() };
  // Rotates `rows` vectors of length `columns` until they are orthogonal. Their norms are the singular values.
  const row = (i: number): Float64Array => data.subarray(i * columns, (i + 1) * columns);
  for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
    rotated = false;
    for (let p = 0; p < rows; p++) {
      for (let q = p + 1; q < rows; q++) {
        const x = row(p);
        const y = row(q);
        let xx = 0;
        let yy = 0;
        let xy = 0;
        for (let i = 0; i < columns; i++) {
          xx += at(x, i) * at(x, i);
          yy += at(y, i) * at(y, i);
          xy += at(x, i) * at(y, i);
        }
        // Orthogonal to the rounding of the sums. The remaining xy has an effect of second order on σ.
        if (Math.abs(xy) <= 1e-15 * Math.sqrt(xx * yy)) continue;
        rotated = true;
        const zeta = (yy - xx) / (2 * xy);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        const sine = cosine * tangent;
        for (let i = 0; i < columns; i++) {
          const [left, right] = [at(x, i), at(y, i)];
          x[i] = cosine * left - sine * right;
          y[i] = sine * left + cosine * right;
        }
      }
    }
  }
  const norms = Float64Array.from({ length: rows }, (_, i) => Math.hypot(...row(i)));
  return norms.sort().reverse();
}

export function effectiveRank(s: ArrayLike<number>): number {
  const magnitudes = Array.from(s, Math.abs);
  const total = magnitudes.reduce((sum, value) => sum + value, 0);
  if (total === 0) return 0;
  let entropy = 0;
  for (const value of magnitudes) if (value > 0) entropy -= (value / total) * Math.log(value / total);
  return Math.exp(entropy);
}

// ── sparse ───────────────────────────────────────────────────────────────────────────────────────────────

/** The part of a SparsityPattern that a product needs. */
export interface Csr {
  readonly shape: readonly [number, number];
  readonly rowPointers: ArrayLike<number>;
  readonly columnIndices: ArrayLike<number>;
}

/** The coordinates in slot order. */
export function coordinates(pattern: Csr): { row: number; column: number }[] {
  const out: { row: number; column: number }[] = [];
  for (let i = 0; i < pattern.shape[0]; i++) {
    for (let p = at(pattern.rowPointers, i); p < at(pattern.rowPointers, i + 1); p++) {
      out.push({ row: i, column: at(pattern.columnIndices, p) });
    }
  }
  return out;
}

/** M as a dense matrix: duplicates sum. */
export function densify(pattern: Csr, values: ArrayLike<number>): Matrix {
  const m = build(pattern.shape[0], pattern.shape[1], () => 0);
  coordinates(pattern).forEach(({ row, column }, p) => {
    m.data[row * m.columns + column] = entry(m, row, column) + at(values, p);
  });
  return m;
}

export function spmm(pattern: Csr, values: ArrayLike<number>, dense: Matrix, transposed = false): Matrix {
  const m = densify(pattern, values);
  return matmul(transposed ? transpose(m) : m, dense);
}

export function sddmm(pattern: Csr, a: Matrix, b: Matrix): Float64Array {
  const products = matmul(a, transpose(b));
  return Float64Array.from(coordinates(pattern), ({ row, column }) => entry(products, row, column));
}

// ── the adapter operator ─────────────────────────────────────────────────────────────────────────────────

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

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const strength = (operator: Operator): number => (operator.gate === undefined ? 1 : sigmoid(operator.gate));

export function core(operator: Operator): Matrix {
  const c = diagonal(operator.sigma);
  if (!operator.m) return c;
  const m = densify(operator.m.pattern, operator.m.values);
  const g = strength(operator);
  return build(c.rows, c.columns, (i, j) => entry(c, i, j) + g * entry(m, i, j));
}

export function mergedWeight(operator: Operator): Matrix {
  const update = matmul(matmul(operator.u, core(operator)), operator.vt);
  return operator.base ? add(operator.base, update) : update;
}

/** x · Wᵀ + b. */
export function linear(x: Matrix, weight: Matrix, bias?: ArrayLike<number>): Matrix {
  const y = matmul(x, transpose(weight));
  return bias ? build(y.rows, y.columns, (i, j) => entry(y, i, j) + at(bias, j)) : y;
}

export function forward(operator: Operator, x: Matrix): Matrix {
  const p = matmul(x, transpose(operator.vt));
  const q = matmul(p, transpose(core(operator)));
  const y = linear(q, operator.u, operator.bias);
  return operator.base ? add(y, linear(x, operator.base)) : y;
}

export interface Gradients {
  readonly dx: Matrix;
  readonly sigma: Float64Array;
  readonly bias: Float64Array;
  /** One number for each slot; empty without M. */
  readonly m: Float64Array;
  /** dγ; 0 without a gate. */
  readonly gate: number;
  /** The size of the terms of dγ, which may cancel: the root of the sum of their squares. */
  readonly gateSize: number;
  /** The gradients of the parameters in the operator's `names`. */
  readonly named: Readonly<Record<string, Float64Array>>;
}

export function backward(operator: Operator, x: Matrix, dy: Matrix): Gradients {
  const p = matmul(x, transpose(operator.vt));
  const dq = matmul(dy, operator.u);
  const dp = matmul(dq, core(operator));
  let dx = matmul(dp, operator.vt);
  if (operator.base) dx = add(dx, matmul(dy, operator.base));
  const k = matmul(transpose(dq), p);
  const g = strength(operator);
  const slots = operator.m ? coordinates(operator.m.pattern) : [];
  const dots = slots.map(({ row, column }) => entry(k, row, column));
  const terms = dots.map((dot, slot) => dot * at(operator.m?.values ?? [], slot));
  const gated = operator.gate === undefined ? 0 : g * (1 - g);
  const bias = new Float64Array(dy.columns);
  for (let t = 0; t < dy.rows; t++) for (let i = 0; i < dy.columns; i++) bias[i] = at(bias, i) + entry(dy, t, i);
  const sigma = Float64Array.from({ length: k.rows }, (_, i) => entry(k, i, i));
  const parts = { sigma, m: Float64Array.from(dots, (dot) => g * dot) };
  return {
    dx,
    bias,
    sigma,
    named: Object.fromEntries(Object.entries(operator.names ?? {}).map(([name, part]) => [name, parts[part]])),
    m: parts.m,
    gate: gated * terms.reduce((sum, term) => sum + term, 0),
    gateSize: gated * Math.hypot(...terms),
  };
}
