// Singular vectors are unique only up to their sign, and those of equal singular values up to a rotation. A trained number
// of the core belongs to the vectors that it was trained with. This file says which vectors those are, takes a sketch of
// them that fits into a small file, and finds out what another decomposition of the same weight has done to them.
import { matmulLater } from '../linalg/matmul.js';
import { diagonalOf, type Terms, termNumbers } from '../operator/terms.js';
import type { RealArray } from '../runtime/native.js';
import { type Random, random } from '../runtime/random.js';
import { type Coordinates, slotCoordinates } from '../sparse/coordinates.js';
import { allocate, type Real, vectorType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, widened } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import type { FactorMatrix, MatrixShape, Tensor } from '../tensor/tensor.js';
import type { Anatomy } from './adapter.js';
import { cellsByRow, gateOf } from './telemetry.js';

/** The cells of the core that training changes, cell p at (rows[p], columns[p]). */
interface Cells {
  readonly rows: ArrayLike<number>;
  readonly columns: ArrayLike<number>;
  /** How much each cell has moved W', today. */
  readonly values: Float64Array;
}

/** The directions that a layer's trained numbers multiply. */
export interface Frame {
  /** Columns of U, which belongs to the outputs, ascending. */
  readonly left: readonly number[];
  /** Rows of Vᵀ, which belongs to the inputs, ascending. */
  readonly right: readonly number[];
}

/** Products of the directions with random vectors. */
export interface Sketch {
  /** gᵀ u_i (probes, left) */
  readonly left: RealArray;
  /** hᵀ v_j (probes, right), of unit vectors v_j */
  readonly right: RealArray;
}

/** Random vectors on each side. One would do, but its product with some direction is near 0, and tells no sign. */
export const probes = 2;

/** Whether directions beyond the truncated rank were left out of W', so that W' depends on all that were kept. */
function isCut({ terms, base }: Anatomy): boolean {
  return terms.base === undefined && base.original === undefined;
}

/** σ of direction i of the terms; undefined if the directions are not the weight's own. */
function sigmaOf(op: string, { spectrum }: Anatomy): (i: number) => number | undefined {
  const { initial, first } = spectrum;
  if (first === undefined) return () => undefined;
  const sigma = numbersOf(op, 'factors.s', initial);
  return (i) => sigma[first + i];
}

/** The cells that belong to each trained term. */
function cellsOf(op: string, anatomy: Anatomy): Cells[] {
  const { terms } = anatomy;
  const r = terms.vt.shape[0] as number;
  const found: Cells[] = [];
  const cut = isCut(anatomy);
  if (cut || anatomy.trainsDiagonal) {
    const sigma = sigmaOf(op, anatomy);
    const all = Array.from({ length: r }, (_, i) => i);
    const diagonal = diagonalOf(op, terms) ?? new Float64Array(r);
    const apart = cut || terms.base !== undefined;
    found.push({
      rows: all,
      columns: all,
      values: Float64Array.from(diagonal, (d, i) => d - (apart ? 0 : (sigma(i) ?? 0))),
    });
  }
  const { core } = terms;
  if (core !== undefined) {
    const { rows, columns } = coordinatesOf(terms);
    const gate = gateOf(op, terms) ?? 1;
    const m = termNumbers(op, 'm', core.values) as RealArray;
    found.push({ rows, columns, values: Float64Array.from(m, (value) => gate * value) });
  }
  return found;
}

/** Row and column of each number of M. */
export function coordinatesOf({ core, vt }: Terms): Coordinates {
  return slotCoordinates(cellsByRow(core?.pattern, vt.shape[0] as number));
}

export function frameOf(op: string, anatomy: Anatomy): Frame {
  const [left, right] = [new Set<number>(), new Set<number>()];
  for (const { rows, columns } of cellsOf(op, anatomy)) {
    for (let p = 0; p < rows.length; p++) {
      left.add(rows[p] as number);
      right.add(columns[p] as number);
    }
  }
  const ascending = (set: Set<number>) => [...set].sort((a, b) => a - b);
  return { left: ascending(left), right: ascending(right) };
}

/** The sketch of a frame's directions. The random vectors follow from the seed, the same on every platform. */
export async function sketchOf(
  op: string,
  { terms, spectrum }: Anatomy,
  { left, right }: Frame,
  seed: number,
  signal: AbortSignal | undefined,
): Promise<Sketch> {
  const scale = termNumbers(op, 'factors.s', spectrum.scale);
  const { u, vt, transposed } = terms;
  // Of a weight that is stored as (in, out), u belongs to the inputs.
  const ofColumns = (stream: number) => productsOf(op, u, false, random(seed, stream), signal);
  const ofRows = (stream: number) => productsOf(op, vt, true, random(seed, stream), signal);
  const ofU = await (transposed ? ofRows(streams.left) : ofColumns(streams.left));
  const ofV = await (transposed ? ofColumns(streams.right) : ofRows(streams.right));
  const r = terms.vt.shape[0] as number;
  const picked = (products: RealArray, indices: readonly number[], divisor?: RealArray | null) => {
    const out = products.slice(0, probes * indices.length);
    for (let a = 0; a < probes; a++) {
      for (const [k, i] of indices.entries()) {
        out[a * indices.length + k] = (products[a * r + i] as number) / (divisor?.[i] || 1);
      }
    }
    return out;
  };
  return { left: picked(ofU, left), right: picked(ofV, right, scale) };
}

/** Streams of the seed, apart from those of the families. */
const streams = { left: 3, right: 4 };

/** Random vectors times the columns of a matrix, or its rows (probes, r). */
async function productsOf(
  op: string,
  matrix: FactorMatrix,
  byRows: boolean,
  generator: Random,
  signal: AbortSignal | undefined,
): Promise<RealArray> {
  const length = matrix.shape[byRows ? 1 : 0] as number;
  const dtype = vectorType(matrix.dtype);
  const numbers = allocate(op, dtype, probes * length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = generator.normal();
  const given = fromNumbers(op, matrix.device, dtype, [probes, length], numbers) as Tensor<Real, MatrixShape>;
  const wide = widened(op, matrix) as Tensor<Real, MatrixShape>;
  try {
    const product = await matmulLater(op, given, wide, { transposeA: false, transposeB: byRows, signal });
    const found = numbersOf(op, 'sketch', product).slice();
    product.dispose();
    return found;
  } finally {
    for (const tensor of [given, wide]) tensor.dispose();
  }
}

/** The directions of a layer against those that another one of the same weight had. */
export interface Alignment {
  /** The sign that turns column i of U, and row j of Vᵀ, into the other layer's; 1 outside of the frame. */
  readonly left: Int8Array;
  readonly right: Int8Array;
  /** How far each is from the other's after that: about the angle between them. */
  readonly leftOff: Float64Array;
  readonly rightOff: Float64Array;
}

/** Finds the signs by two sketches of one frame: of this layer's directions, and of the other's. */
export function aligned(op: string, anatomy: Anatomy, frame: Frame, found: Sketch, wanted: Sketch): Alignment {
  const r = anatomy.terms.vt.shape[0] as number;
  const onLeft = comparison(frame.left, found.left, wanted.left, r);
  const onRight = comparison(frame.right, found.right, wanted.right, r);
  const sigma = sigmaOf(op, anatomy);
  const largest = sigma(0) ?? 0;
  // u_i and v_i of σ > 0 turn together. For σ = 0 each has a sign of its own.
  const together = (i: number) => anatomy.terms.rectified || (sigma(i) ?? 0) > 1e-5 * largest;
  const left = new Int8Array(r).fill(1);
  const right = new Int8Array(r).fill(1);
  for (let i = 0; i < r; i++) {
    const both = together(i) ? (onLeft.dots[i] as number) + (onRight.dots[i] as number) : undefined;
    left[i] = (both ?? (onLeft.dots[i] as number)) < 0 ? -1 : 1;
    right[i] = (both ?? (onRight.dots[i] as number)) < 0 ? -1 : 1;
  }
  return { left, right, leftOff: onLeft.off(left), rightOff: onRight.off(right) };
}

/** Of each direction: the product of its two sketches, and their distance under given signs. */
function comparison(indices: readonly number[], found: RealArray, wanted: RealArray, r: number) {
  const dots = new Float64Array(r);
  const each = (use: (i: number, one: number, other: number) => void) => {
    for (let p = 0; p < found.length; p++) {
      use(indices[p % indices.length] as number, found[p] as number, wanted[p] as number);
    }
  };
  each((i, one, other) => {
    dots[i] = (dots[i] as number) + one * other;
  });
  const off = (signs: Int8Array) => {
    const squares = new Float64Array(r);
    each((i, one, other) => {
      squares[i] = (squares[i] as number) + ((signs[i] as number) * one - other) ** 2 / probes;
    });
    return squares.map(Math.sqrt);
  };
  return { dots, off };
}

/** What is lost of ‖ΔW‖, as a part of it, because some directions are others; and the direction that loses most. */
export function lossOf(
  op: string,
  anatomy: Anatomy,
  { leftOff, rightOff }: Alignment,
): { part: number; worst: number } {
  const scale = termNumbers(op, 'factors.s', anatomy.spectrum.scale);
  let [lost, whole, most, worst] = [0, 0, 0, 0];
  for (const { rows, columns, values } of cellsOf(op, anatomy)) {
    for (let p = 0; p < values.length; p++) {
      const [i, j] = [rows[p] as number, columns[p] as number];
      const size = ((values[p] as number) * (scale?.[j] ?? 1)) ** 2;
      const off = size * ((leftOff[i] as number) ** 2 + (rightOff[j] as number) ** 2);
      whole += size;
      lost += off;
      if (off > most) {
        most = off;
        worst = (leftOff[i] as number) > (rightOff[j] as number) ? i : j;
      }
    }
  }
  return { part: whole === 0 ? 0 : Math.sqrt(lost / whole), worst };
}

/** The numbers of a trained parameter for this layer's directions, from those for the other's. */
export function realigned(
  terms: Terms,
  parameter: LayerParameter,
  numbers: RealArray,
  { left, right }: Alignment,
): RealArray {
  const turned = numbers.slice();
  const turn = (p: number, i: number, j: number) => {
    turned[p] = (turned[p] as number) * (left[i] as number) * (right[j] as number);
  };
  if (parameter === terms.diagonal) {
    for (let i = 0; i < turned.length; i++) turn(i, i, i);
  } else if (parameter === terms.core?.values) {
    const { rows, columns } = coordinatesOf(terms);
    for (let p = 0; p < turned.length; p++) turn(p, rows[p] as number, columns[p] as number);
  }
  return turned;
}

/** The first and last of the singular values around the i-th that follow each other by less than `gap` of the largest. */
export function clusterAround(op: string, anatomy: Anatomy, i: number, gap: number): readonly [number, number] {
  const { initial, first } = anatomy.spectrum;
  const sigma = numbersOf(op, 'factors.s', initial);
  const at = (first ?? 0) + i;
  const near = (k: number) =>
    k >= 0 && k + 1 < sigma.length && (sigma[k] as number) - (sigma[k + 1] as number) <= gap * (sigma[0] as number);
  let [from, to] = [at, at];
  while (near(from - 1)) from -= 1;
  while (near(to)) to += 1;
  return [from, to];
}
