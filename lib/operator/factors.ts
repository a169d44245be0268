import { matmul } from '../linalg/matmul.js';
import type { Svd } from '../linalg/svd.js';
import { describe, fail, isRecord, reject } from '../runtime/check.js';
import type { Device } from '../runtime/device.js';
import { native, type RealArray } from '../runtime/native.js';
import { random } from '../runtime/random.js';
import { derived } from '../tensor/derived.js';
import { allocate, type FactorDType, type Real, vectorType } from '../tensor/dtype.js';
import { codesIn, groupSize, scaleShape, scalesIn } from '../tensor/int8.js';
import { powerTo } from '../tensor/norm.js';
import {
  anything,
  checkFactor,
  checkReal,
  factorTypes,
  fromNumbers,
  memoryOf,
  numbersOf,
  output,
  widened,
} from '../tensor/operand.js';
import { tidy } from '../tensor/scope.js';
import type { Shape } from '../tensor/shape.js';
import type { FactorMatrix, Matrix, MatrixShape, Tensor } from '../tensor/tensor.js';

/** Factors as the caller gave them, each read once, and the argument that they came in. */
export interface Triples {
  readonly argument: string;
  readonly u: unknown;
  readonly s: unknown;
  readonly vt: unknown;
}

export function readTriples(op: string, argument: string, factors: unknown): Triples {
  if (!isRecord(factors)) reject(op, argument, 'an object { u, s, vt }', factors);
  const { u, s, vt } = factors;
  return { argument, u, s, vt };
}

/** The types of U and Vᵀ next to a weight of each type, or next to each other without a weight. */
export const typesBeside = {
  float64: ['float64'],
  float32: ['float32', 'int8'],
  bfloat16: ['float32', 'bfloat16', 'int8'],
  float16: ['float32', 'float16', 'int8'],
  int8: ['float32', 'int8'],
} as const satisfies Record<FactorDType, readonly FactorDType[]>;

/**
 * Checks given factors: u [out, q], s [q], vt [q, in], q ≤ min(out, in), u and vt of a type that `typesBeside` has for the
 * weight's. Without a weight the type and the sizes are those of u and vt.
 */
export function checkFactors(
  op: string,
  { argument, ...given }: Triples,
  weight: Matrix | undefined,
  device: Device | undefined,
): Svd<FactorDType> {
  const first = weight ?? checkFactor(op, `${argument}.u`, given.u, factorTypes, { ...anything, shape: [null, null] });
  const [rows, columns] = weight === undefined ? [null, null] : (weight.shape as MatrixShape);
  const vectors = vectorType(first.dtype);
  const s = checkReal(op, `${argument}.s`, given.s, { shape: [null], dtype: vectors, device });
  const q = s.shape[0] as number;
  const matrix = (name: 'u' | 'vt', shape: readonly (number | null)[]) =>
    checkFactor(op, `${argument}.${name}`, given[name], typesBeside[first.dtype], { shape, dtype: undefined, device });
  const most = ([m, n]: readonly number[]) => {
    const thin = Math.min(m as number, n as number);
    if (q > thin) fail('SHAPE_MISMATCH', op, `${argument}.s`, `at most ${thin} values`, describe(q));
  };
  if (weight !== undefined) most(weight.shape);
  const u = matrix('u', [rows, q]);
  const vt = matrix('vt', [q, columns]);
  most([u.shape[0] as number, vt.shape[1] as number]);
  return { u, s, vt };
}

/** Relative tolerance for factors that the caller supplies. */
const belonging = (factor: FactorMatrix) => Math.max(1e-3, roundingOf(factor));

const singleRounding = 1e-4;

/** Largest rounding error of a product that is zero in exact arithmetic, relative to its operands. */
function roundingOf({ dtype }: FactorMatrix): number {
  return { float64: 1e-11, float32: singleRounding, bfloat16: 3e-2, float16: 4e-3, int8: 1e-1 }[dtype];
}

/** Random vectors of a probe, for each group of triples: σ > 0 and σ = 0. */
const probes = 2;

/** Products of a probe, as rows: first for the triples of σ > 0, then, if there are any, for those of σ = 0. */
interface Probe {
  /** W V w and U diag(s) w, then Wᵀ U w and V diag(s) w. Each pair is equal for singular triples of W. None without W. */
  readonly sides: readonly { readonly found: Rows; readonly wanted: Rows }[];
  /** UᵀU w and VᵀV w, which equal w (`given`) for orthonormal factors. The entries of w are ±`unit`. */
  readonly returned: readonly Rows[];
  readonly given: Rows;
  readonly unit: number;
}

interface Rows {
  readonly numbers: RealArray;
  readonly length: number;
}

/** ‖x − y‖ and ‖(x, y)‖ of row `at`, divided by `unit`, over the components that `use` selects. */
function compared(at: number, x: Rows, y: Rows, unit = 1, use: (i: number) => boolean = () => true) {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < x.length; i++) {
    if (!use(i)) continue;
    const [one, other] = [x, y].map((each) => (each.numbers[at * each.length + i] as number) / unit) as [
      number,
      number,
    ];
    difference += (one - other) ** 2;
    size += one ** 2 + other ** 2;
  }
  return { difference: Math.sqrt(difference), size: Math.sqrt(size) };
}

function probe(op: string, { u, vt }: Svd<FactorDType>, sigma: RealArray, weight: Matrix | undefined): Probe {
  type Matrix = Tensor<Real, MatrixShape>;
  const generator = random(0);
  const q = sigma.length;
  const rows = sigma.some((value) => value === 0) ? 2 * probes : probes;
  const wide = (tensor: FactorMatrix) => widened(op, tensor) as Matrix;
  const [left, right] = [wide(u), wide(vt)];
  // Scaling by a power of two brings W's products near 1, so that their squares neither overflow nor underflow.
  const { dtype, device } = left;
  const room = dtype === 'float64' ? 900 : 100;
  const unit = powerTo(sigma[0] as number, room);
  const signs = allocate(op, dtype, rows * q);
  const weighted = allocate(op, dtype, rows * q);
  for (let v = 0; v < probes; v++) {
    for (let i = 0; i < q; i++) {
      // Random signs weight every component of an error alike.
      const sign = generator.normal() < 0 ? -unit : unit;
      const row = sigma[i] === 0 ? probes + v : v;
      signs[row * q + i] = sign;
      weighted[row * q + i] = sign * (sigma[i] as number);
    }
  }
  const matrix = (numbers: RealArray) => fromNumbers(op, device, dtype, [rows, q], numbers) as Matrix;
  const read = (tensor: Matrix): Rows => ({ numbers: numbersOf(op, 'product', tensor), length: tensor.shape[1] });
  const [w, sw] = [matrix(signs.slice()), matrix(weighted)];
  const byU = matmul(w, left, { transposeB: true });
  const byV = matmul(w, right);
  const sidesOf = (a: Matrix) => [
    { found: read(matmul(byV, a, { transposeB: true })), wanted: read(matmul(sw, left, { transposeB: true })) },
    { found: read(matmul(byU, a)), wanted: read(matmul(sw, right)) },
  ];
  return {
    sides: weight === undefined ? [] : sidesOf(wide(weight)),
    returned: [read(matmul(byU, left)), read(matmul(byV, right, { transposeB: true }))],
    given: { numbers: signs, length: q },
    unit,
  };
}

/**
 * Checks that factors are singular triples of a weight, with a few random probes: s is descending and not negative, U
 * and V are orthonormal, W V = U diag(s) and Wᵀ U = V diag(s). Throws BASE_MISMATCH or NON_FINITE otherwise. The signs
 * are free, and the factors may be truncated. With `allowFill` the triples of σ = 0 may be any vectors, not even
 * orthogonal ones: these fill up a truncated rank. For a saved layer `largest` is the weight's largest singular value,
 * which its factors need not contain: rounding errors are relative to it. Returns whether all triples are the weight's own.
 * Without a weight only W V w and Wᵀ U w go unchecked.
 */
export function checkBelongs(
  op: string,
  argument: string,
  factors: Svd<FactorDType>,
  weight: Matrix | undefined,
  allowFill: boolean,
  largest = 0,
): boolean {
  const sigma = numbersOf(op, `${argument}.s`, factors.s);
  requireFinite(op, `${argument}.s`, factors.s);
  for (const [i, value] of sigma.entries()) {
    if (value < 0 || (i > 0 && value > (sigma[i - 1] as number))) {
      const expected = 'descending singular values of at least 0';
      fail('BASE_MISMATCH', op, `${argument}.s`, expected, `${describe(value)} at ${i}`);
    }
  }
  return tidy(() => judged(op, argument, factors, sigma, weight, allowFill, largest));
}

function judged(
  op: string,
  argument: string,
  factors: Svd<FactorDType>,
  sigma: RealArray,
  weight: Matrix | undefined,
  allowFill: boolean,
  largest: number,
): boolean {
  const { sides, returned, given, unit } = probe(op, factors, sigma, weight);
  const tolerance = belonging(factors.u);
  // What rounding adds to each product: each of its terms has an error relative to the largest σ. The vectors of a saved layer
  // may come from float32.
  const relative = Math.max(roundingOf(factors.u), singleRounding);
  const rounding = relative * largest * Math.sqrt(sigma.length) * unit;
  const own = (i: number) => sigma[i] !== 0;
  const part = ({ difference, size }: ReturnType<typeof compared>) =>
    size === 0 ? 0 : Number.isFinite(size) ? difference / size : Infinity;
  const rows = given.numbers.length / given.length;
  let worst = 0;
  let filled = false;
  const keep = (off: number) => {
    worst = Math.max(worst, off);
  };
  for (let v = 0; v < probes; v++) {
    for (const { found, wanted } of sides) {
      const both = compared(v, found, wanted);
      keep(part({ ...both, difference: Math.max(0, both.difference - rounding) }));
      if (rows === probes) continue;
      // Along a direction of σ = 0 the product is zero but for rounding, however small the weight's tail is.
      const none = compared(probes + v, found, wanted);
      if (!(none.difference <= roundingOf(factors.u) * both.size + rounding)) filled = true;
    }
    for (const each of returned) {
      keep(part(compared(v, each, given, unit, own)));
      const of = (row: number) => part(compared(row, each, given, unit));
      if (of(v) > tolerance || (rows > probes && of(probes + v) > tolerance)) filled = true;
    }
  }
  if (!Number.isFinite(worst)) {
    if (weight !== undefined) requireFinite(op, 'weight', weight);
    for (const [name, tensor] of Object.entries(factors)) requireFinite(op, `${argument}.${name}`, tensor);
  }
  if (worst <= tolerance && !filled) return true;
  // If every σ is 0, nothing ties the factors to the weight.
  if (worst <= tolerance && allowFill && rows > probes && own(0)) return false;
  fail(
    'BASE_MISMATCH',
    op,
    argument,
    weight === undefined
      ? 'orthonormal singular vectors (from svd or decompose)'
      : 'orthonormal singular triples of the weight (from svd(weight))',
    filled && worst <= tolerance ? 'other vectors for σ = 0' : `other factors (relative error ${worst.toPrecision(2)})`,
  );
}

function requireFinite(op: string, argument: string, tensor: FactorMatrix): void {
  const at = numbersOf(op, argument, tensor).findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  const value = numbersOf(op, argument, tensor)[at];
  fail('NON_FINITE', op, argument, 'finite numbers', `${describe(value)} at element ${at}`);
}

/** New handles on the factors, or copies of their `rank` largest triples, which layers share. */
export function sliceFactors(
  op: string,
  argument: string,
  factors: Svd<FactorDType>,
  rank: number | undefined,
): Svd<FactorDType> {
  const q = factors.s.size;
  const wanted = rank ?? q;
  if (wanted > q) {
    fail('SHAPE_MISMATCH', op, argument, `at least ${wanted} singular triples`, describe(q));
  }
  if (wanted === q) return { u: factors.u.share(), s: factors.s.share(), vt: factors.vt.share() };
  return selectTriples(op, factors, 0, wanted);
}

/** The triples first … first + count − 1. Layers that select the same ones share the copies; int8 columns are rounded again. */
export function selectTriples(
  op: string,
  { u, s, vt }: Svd<FactorDType>,
  first: number,
  count: number,
): Svd<FactorDType> {
  const what = `triples ${first} + ${count}`;
  const [rows, columns, q] = [u.shape[0] as number, vt.shape[1] as number, s.size];
  const copied = <D extends FactorDType>(name: string, from: Tensor<D>, shape: Shape, copy: CopyArguments) =>
    derived(op, from, what, () => {
      if (from.dtype === 'int8') return selectCodes(op, from as Tensor<'int8'>, first, shape) as Tensor as Tensor<D>;
      const selected = output(op, from, shape);
      const [at, stride, toStride, copiedRows, copiedColumns] = copy;
      const memory = memoryOf(op, `factors.${name}`, from);
      native.copyMatrix(op, memory, at, stride, selected.memory, 0, toStride, copiedRows, copiedColumns);
      return selected.tensor();
    });
  return {
    u: copied('u', u, [rows, count], [first, q, count, rows, count]),
    s: copied('s', s, [count], [first, q, count, 1, count]),
    vt: copied('vt', vt, [count, columns], [first * columns, columns, columns, count, columns]),
  };
}

/** Rows of an int8 matrix as they are, or columns of it, whose groups may begin elsewhere and are rounded anew. */
function selectCodes(op: string, from: Tensor<'int8'>, first: number, shape: Shape): Tensor<'int8'> {
  const [rows, columns] = shape as MatrixShape;
  const [all, width] = from.shape as MatrixShape;
  const selected = output(op, from, shape);
  if (rows < all || columns === width) {
    const whole = from.read(op, 'factors') as Int8Array;
    const block = selected.memory as Int8Array;
    codesIn(block, shape).set(codesIn(whole, from.shape).subarray(first * width, (first + rows) * width));
    const groups = scaleShape([rows, width])[1];
    scalesIn(block, shape).set(scalesIn(whole, from.shape).subarray(first * groups, (first + rows) * groups));
    return selected.tensor();
  }
  const begin = first - (first % groupSize);
  const [skipped, taken] = [first - begin, first - begin + columns];
  const wide = output(op, { device: from.device, dtype: 'float32' }, [rows, taken]);
  native.castMatrix(op, wide.memory, memoryOf(op, 'factors', from), rows, taken, begin, width);
  native.castMatrix(op, selected.memory, wide.memory, rows, columns, skipped, taken);
  wide.tensor().dispose();
  return selected.tensor();
}

/** The first element and the stride in the matrix, the stride of the copy, and how many rows and columns are copied. */
type CopyArguments = readonly [first: number, stride: number, toStride: number, rows: number, columns: number];
