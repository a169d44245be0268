import { describe, fail, isRecord, reject } from '../check.js';
import type { Device } from '../device.js';
import { matmul } from '../linalg/matmul.js';
import type { Svd } from '../linalg/svd.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { allocate, type DType, type Real, vectorType } from '../tensor/dtype.js';
import { checkReal, fromNumbers, memoryOf, numbersOf, output, widened } from '../tensor/operand.js';
import { tidy } from '../tensor/scope.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';

/** What is given as factors, each of the three read once. */
export interface Triples {
  readonly u: unknown;
  readonly s: unknown;
  readonly vt: unknown;
}

export function readTriples(op: string, factors: unknown): Triples {
  if (!isRecord(factors)) reject(op, 'options.factors', 'an object { u, s, vt }', factors);
  const { u, s, vt } = factors;
  return { u, s, vt };
}

/** Given factors: u [out, q], s [q], vt [q, in] with q ≤ min(out, in), of the weight's type, or float32 beside bfloat16. */
export function checkFactors(
  op: string,
  given: Triples,
  weight: Tensor<Real>,
  half: Device,
  device: Device | undefined,
): Svd {
  const [outFeatures, inFeatures] = weight.shape as MatrixShape;
  const vectors = vectorType(weight.dtype);
  const matrices = { dtype: vectors, device, ...(weight.dtype !== vectors && { half }) };
  const s = checkReal(op, 'options.factors.s', given.s, { shape: [null], dtype: vectors, device });
  const q = s.shape[0] as number;
  if (q > Math.min(outFeatures, inFeatures)) {
    fail('SHAPE_MISMATCH', op, 'options.factors.s', `at most ${Math.min(outFeatures, inFeatures)} values`, describe(q));
  }
  const u = checkReal(op, 'options.factors.u', given.u, { shape: [outFeatures, q], ...matrices });
  const vt = checkReal(op, 'options.factors.vt', given.vt, { shape: [q, inFeatures], ...matrices });
  return { u, s, vt };
}

/** How far given factors may be from the weight's: loose enough for any real decomposition, far from any other weight. */
const belonging = (weight: Tensor<Real>) => ((weight.dtype as DType) === 'bfloat16' ? 3e-2 : 1e-3);

/** What a product of the weight and its factors may leave of a zero. */
function roundingOf({ dtype }: Tensor): number {
  return { float64: 1e-11, float32: 1e-4, bfloat16: 3e-2, int32: 0 }[dtype];
}

/** ‖a − b‖ / ‖(a, b)‖ of numbers whose largest magnitude is `scale`, without overflow on the way. */
function relativeDistance(a: Float64Array, b: Float64Array, scale: number): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [(a[i] as number) / scale, (b[i] as number) / scale];
    difference += (x - y) ** 2;
    size += x ** 2 + y ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Uᵀ W z and diag(s) Vᵀ z (q) of a random z: equal for the singular triples of W, be they all or some. */
function probe(op: string, { u, s, vt }: Svd, weight: Tensor<Real>): { found: Float64Array; wanted: Float64Array } {
  const { finite, ...sides } = tidy(() => probed(op, { u, s, vt }, weight));
  if (!finite) fail('NON_FINITE', op, 'weight', 'finite numbers, not too large to be summed', 'others');
  return sides;
}

function probed(op: string, { u, s, vt }: Svd, weight: Tensor<Real>) {
  type Matrix = Tensor<Real, MatrixShape>;
  const generator = random(0);
  const [a, left, right] = [weight, u, vt].map((tensor) => widened(op, tensor)) as [Matrix, Matrix, Matrix];
  const numbers = allocate(op, a.dtype, a.shape[1]);
  for (let i = 0; i < numbers.length; i++) numbers[i] = generator.normal();
  const z = fromNumbers(op, a.device, a.dtype, [numbers.length, 1], numbers);
  const wz = matmul(a, z);
  const leftWz = matmul(left, wz, { transposeA: true });
  const rightZ = matmul(right, z);
  const sigma = numbersOf(op, 'options.factors.s', s);
  const found = Float64Array.from(leftWz.dataSync());
  const wanted = Float64Array.from(rightZ.dataSync(), (value, i) => value * (sigma[i] as number));
  return { found, wanted, finite: wz.dataSync().every(Number.isFinite) };
}

/**
 * BASE_MISMATCH where the factors are those of another weight: one probe tells, at the price of a few products with a
 * vector. Returns whether all triples are the weight's own; with `allowFill` those of σ = 0 may be others, as they are
 * where a truncated rank was filled up.
 */
export function checkBelongs(op: string, factors: Svd, weight: Tensor<Real>, allowFill: boolean): boolean {
  const { found, wanted } = probe(op, factors, weight);
  const scale = [...found, ...wanted].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const smallest = weight.dtype === 'float64' ? 1e-300 : 1e-32; // below it hardly a digit is left to compare
  if (scale <= smallest) return true;
  const off = relativeDistance(found, wanted, scale);
  const sigma = numbersOf(op, 'options.factors.s', factors.s);
  const own = (_: number, i: number) => sigma[i] !== 0;
  // Along a direction of σ = 0 the weight has nothing but rounding, however slight its tail.
  const rounding = roundingOf(weight) * scale;
  const filled = found.some((value, i) => sigma[i] === 0 && Math.abs(value) > rounding);
  if (off <= belonging(weight) && !filled) return true;
  if (allowFill && relativeDistance(found.filter(own), wanted.filter(own), scale) <= belonging(weight)) return false;
  fail(
    'BASE_MISMATCH',
    op,
    'options.factors',
    'the singular triples of the weight',
    `others (off by ${off.toPrecision(2)} of their size)`,
  );
}

/** Own handles on given factors, or compact copies of their `rank` largest triples. */
export function sliceFactors(op: string, factors: Svd, rank: number | undefined): Svd {
  const q = factors.s.size;
  const wanted = rank ?? q;
  if (wanted > q) {
    fail('SHAPE_MISMATCH', op, 'options.factors', `at least ${wanted} singular triples`, describe(q));
  }
  if (wanted === q) return { u: factors.u.share(), s: factors.s.share(), vt: factors.vt.share() };
  return selectTriples(op, factors, 0, wanted);
}

/** Copies of the triples first … first + count − 1. */
export function selectTriples(op: string, { u, s, vt }: Svd, first: number, count: number): Svd {
  const [rows, columns, q] = [u.shape[0] as number, vt.shape[1] as number, s.size];
  const left = output(op, u, [rows, count]);
  const values = output(op, s, [count]);
  const right = output(op, vt, [count, columns]);
  native.copyMatrix(op, memoryOf(op, 'factors.u', u), first, q, left.memory, 0, count, rows, count);
  native.copyMatrix(op, memoryOf(op, 'factors.s', s), first, q, values.memory, 0, count, 1, count);
  native.copyMatrix(
    op,
    memoryOf(op, 'factors.vt', vt),
    first * columns,
    columns,
    right.memory,
    0,
    columns,
    count,
    columns,
  );
  return { u: left.tensor(), s: values.tensor(), vt: right.tensor() };
}
