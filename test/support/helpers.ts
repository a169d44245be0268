import { inspect, isDeepStrictEqual } from 'node:util';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import {
  type Device,
  type ErrorCode,
  type MatrixDType,
  memory,
  type Real,
  SigmaError,
  type Svd,
  type Tensor,
  tensor,
} from 'sigmatune';

/** The part of tap that the helpers need. */
export interface Check {
  ok(value: unknown, message: string): unknown;
  equal(found: unknown, wanted: unknown, message: string): unknown;
  same(found: unknown, wanted: unknown, message: string): unknown;
}

/** Collects failures, so that a case with many comparisons is one assertion. */
export class Findings implements Check {
  readonly failures: string[] = [];

  ok(value: unknown, message: string): void {
    if (!value) this.failures.push(message);
  }

  equal(found: unknown, wanted: unknown, message: string): void {
    this.ok(Object.is(found, wanted), `${message} (${found} for ${wanted})`);
  }

  same(found: unknown, wanted: unknown, message: string): void {
    this.ok(isDeepStrictEqual(found, wanted), `${message} (${inspect(found)} for ${inspect(wanted)})`);
  }
}

export type Values = ArrayLike<number> | Tensor;

/** The number of float16 bits, by its definition. */
export function numberOfHalf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size =
    exponent === 31
      ? fraction === 0
        ? Infinity
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -24
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/** The numbers of all float16 bits. To look them up takes a fiftieth of the time. */
let halves: Float32Array | undefined;

function numbersOfHalves(bits: ArrayLike<number>): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, half) => numberOfHalf(half));
  // Not `from` with a function, which calls it through an iterator.
  const numbers = new Float32Array(bits.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = halves[bits[i] as number] as number;
  return numbers;
}

/** The numbers, also of a bfloat16 tensor, whose data are bits, and of an int8 tensor, whose data are codes. */
export function values(source: Values): ArrayLike<number> {
  if (!('dataSync' in source)) return source;
  if (source.dtype === 'int8') {
    using wide = source.cast('float32');
    return wide.dataSync();
  }
  if (source.dtype === 'float16') return numbersOfHalves(source.dataSync());
  if (source.dtype !== 'bfloat16') return source.dataSync();
  const words = new Uint32Array(source.dataSync());
  for (let i = 0; i < words.length; i++) words[i] = (words[i] as number) << 16;
  return new Float32Array(words.buffer);
}

// ── seeded data ──────────────────────────────────────────────────────────────────────────────────────────

export interface Random {
  uniform(): number;
  normal(): number;
  integer(below: number): number;
  normals(count: number, scale?: number): Float64Array;
}

export function seeded(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  const uniform = (): number => uniformFloat64(generator);
  // Box–Muller transform; 1 − u avoids log 0.
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    uniform,
    normal,
    integer: (below) => Math.floor(uniform() * below),
    normals: (count, scale = 1) => {
      const numbers = new Float64Array(count);
      for (let i = 0; i < count; i++) numbers[i] = scale * normal();
      return numbers;
    },
  };
}

export function real<D extends Real>(data: ArrayLike<number>, shape: readonly number[], dtype: D): Tensor<D> {
  return tensor<D, readonly number[]>(data, shape, { dtype });
}

export function gaussian<D extends MatrixDType>(
  random: Random,
  shape: readonly number[],
  dtype: D,
  scale = 1,
): Tensor<D> {
  const count = shape.reduce((product, length) => product * length, 1);
  return tensor<D, readonly number[]>(random.normals(count, scale), shape, { dtype });
}

/** Orthonormal columns [rows, columns], row-major: Gram-Schmidt twice over Gaussian columns. */
export function orthonormal(random: Random, rows: number, columns: number): Float64Array {
  const basis: Float64Array[] = [];
  while (basis.length < columns) {
    const vector = random.normals(rows);
    for (let pass = 0; pass < 2; pass++) {
      for (const other of basis) {
        let dot = 0;
        for (let i = 0; i < rows; i++) dot += at(other, i) * at(vector, i);
        for (let i = 0; i < rows; i++) vector[i] = at(vector, i) - dot * at(other, i);
      }
    }
    const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    basis.push(vector.map((value) => value / norm));
  }
  return Float64Array.from({ length: rows * columns }, (_, i) => at(basis[i % columns] ?? [], Math.floor(i / columns)));
}

/** A matrix [rows, columns] with the given singular values, row-major. */
export function withSpectrum(random: Random, rows: number, columns: number, spectrum: ArrayLike<number>): Float64Array {
  const r = spectrum.length;
  const u = orthonormal(random, rows, r);
  const v = orthonormal(random, columns, r);
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < r; k++) sum += at(u, i * r + k) * at(spectrum, k) * at(v, j * r + k);
      out[i * columns + j] = sum;
    }
  }
  return out;
}

/** An entry that must exist. Reading past the end is a bug of the test. */
export function at(data: ArrayLike<number>, index: number): number {
  const value = data[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${data.length}`);
  return value;
}

export function item<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${list.length}`);
  return value;
}

export function disposeAll(...things: readonly (Disposable | null | undefined)[]): void {
  for (const thing of things) thing?.[Symbol.dispose]();
}

export function disposeSvd(...results: readonly Svd[]): void {
  for (const { u, s, vt } of results) disposeAll(u, s, vt);
}

// ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

export function write(tensor: Tensor, source: ArrayLike<number>): void {
  tensor.assign(source);
}

export function fill(tensor: Tensor, value: number): void {
  tensor.assign(new Float64Array(tensor.size).fill(value));
}

/** Replaces every number by `change` of it. */
export function rewrite(tensor: Tensor, change: (value: number, index: number) => number): void {
  tensor.assign(snapshot(tensor).map(change));
}

/** Overwrites one number. */
export function put(tensor: Tensor, index: number, value: number): void {
  rewrite(tensor, (before, i) => (i === index ? value : before));
}

// ── comparisons ──────────────────────────────────────────────────────────────────────────────────────────

export interface Tolerance {
  /** Relative to the largest magnitude of the reference, so that it fits every scale of data. */
  readonly atol: number;
  /** Relative to the entry's own magnitude. */
  readonly rtol: number;
}

/**
 * |actual − expected| ≤ atol · max|expected| + rtol · |expected| for every entry; reports the worst entry. `size` is
 * the size of the terms, for sums whose terms may cancel.
 */
export function assertClose(
  t: Check,
  actual: Values,
  expected: Values,
  tolerance: Tolerance,
  label: string,
  size = 0,
): void {
  const found = values(actual);
  const wanted = values(expected);
  if (found.length !== wanted.length) {
    t.equal(found.length, wanted.length, `${label}: as many entries`);
    return;
  }
  let scale = size;
  for (let i = 0; i < wanted.length; i++) scale = Math.max(scale, Math.abs(at(wanted, i)));
  let worst = 0;
  let where = -1;
  for (let i = 0; i < wanted.length; i++) {
    const allowed = tolerance.atol * scale + tolerance.rtol * Math.abs(at(wanted, i));
    const error = Math.abs(at(found, i) - at(wanted, i));
    // A NaN on either side, or any difference with a tolerance of 0, is the worst.
    const ratio = error === 0 ? 0 : Number.isNaN(error) || allowed === 0 ? Infinity : error / allowed;
    if (ratio > worst) {
      worst = ratio;
      where = i;
    }
  }
  const detail =
    where < 0 ? '' : ` (worst at ${where}: ${at(found, where)} for ${at(wanted, where)}, ${worst} × allowed)`;
  t.ok(worst <= 1, label + (worst <= 1 ? '' : detail));
}

/** The same bits, entry by entry: 0 and −0 differ, NaN equals itself. */
export function assertSameBits(t: Check, actual: Values, expected: Values, label: string): void {
  const found = values(actual);
  const wanted = values(expected);
  if (found.length !== wanted.length) {
    t.equal(found.length, wanted.length, `${label}: as many entries`);
    return;
  }
  let first = -1;
  for (let i = 0; i < wanted.length && first < 0; i++) if (!Object.is(found[i], wanted[i])) first = i;
  t.ok(first < 0, label + (first < 0 ? '' : ` (at ${first}: ${found[first]} for ${wanted[first]})`));
}

/** A copy of a tensor's numbers, for a later comparison. */
export function snapshot(source: Values): Float64Array {
  return Float64Array.from(values(source));
}

// ── errors ───────────────────────────────────────────────────────────────────────────────────────────────

function checkError(
  t: Check,
  error: unknown,
  code: ErrorCode | readonly ErrorCode[],
  parts: Parts,
  label: string,
): void {
  if (!(error instanceof SigmaError)) {
    t.ok(
      false,
      `${label}: a SigmaError, not ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    return;
  }
  const codes = typeof code === 'string' ? [code] : code;
  t.ok(codes.includes(error.code), `${label}: ${codes.join(' or ')} (came ${error.code}: ${error.message})`);
  t.ok(typeof error.op === 'string' && error.op.length > 0, `${label}: says which operation`);
  // Shapes may be written with or without blanks.
  const message = error.message.replace(/\s/g, '').toLowerCase();
  for (const part of parts) {
    const found =
      part instanceof RegExp ? part.test(error.message) : message.includes(part.replace(/\s/g, '').toLowerCase());
    t.ok(found, `${label}: the message has ${part} ("${error.message}")`);
  }
}

export type Parts = readonly (string | RegExp)[];

/** `body` throws a SigmaError at once. */
export function throwsSigma(
  t: Check,
  body: () => unknown,
  code: ErrorCode | readonly ErrorCode[],
  label: string,
  ...parts: Parts
): void {
  let error: unknown;
  try {
    const result = body();
    // A promise from a synchronous function would be an unhandled rejection.
    if (result instanceof Promise) result.catch(() => {});
    t.ok(false, `${label}: ${String(code)} is thrown, but the call returned`);
    return;
  } catch (caught) {
    error = caught;
  }
  checkError(t, error, code, parts, label);
}

/** `body` returns a promise, never throws, and the promise rejects with a SigmaError. */
export async function rejectsSigma(
  t: Check,
  body: () => Promise<unknown>,
  code: ErrorCode | readonly ErrorCode[],
  label: string,
  ...parts: Parts
): Promise<void> {
  let promise: Promise<unknown>;
  try {
    promise = body();
  } catch (error) {
    t.ok(false, `${label}: rejects, but it threw ${String(error)}`);
    return;
  }
  if (!(promise instanceof Promise)) {
    t.ok(false, `${label}: a promise, not ${String(promise)}`);
    return;
  }
  try {
    await promise;
    t.ok(false, `${label}: ${String(code)}, but the promise was fulfilled`);
  } catch (error) {
    checkError(t, error, code, parts, label);
  }
}

/** A call that rejects: what it is about, the arguments, the code, and parts of the message. */
export type Refusal = readonly [label: string, args: readonly unknown[], code: ErrorCode, ...parts: string[]];

/** Each call rejects with a SigmaError. The arguments need not have the types of the function. */
export async function refuses(t: Check, call: unknown, cases: readonly Refusal[]): Promise<void> {
  const attempt = call as (...args: readonly unknown[]) => Promise<unknown>;
  for (const [label, args, code, ...parts] of cases)
    await rejectsSigma(t, () => attempt(...args), code, label, ...parts);
}

// ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

function census(): { tensors: number; bytes: Record<string, number> } {
  const { tensors, bytes } = memory();
  return { tensors, bytes: Object.fromEntries(Object.entries(bytes).filter(([, count]) => count !== 0)) };
}

/** The device that the tests run on; see test/on-device. */
export const testDevice = (process.env['SIGMATUNE_TEST_DEVICE'] || 'cpu') as Device;

/** Skips, with the reason, a test of CPU tensors, whose memory belongs to JavaScript. */
export const cpuOnly = testDevice !== 'cpu' && `about the CPU's own memory, not on ${testDevice}`;

/** A size for a real device or the CPU, and for the simulated device, which runs one CUDA thread at a time. */
export const sized = <T>(size: T, simulated: T): T =>
  process.env['SIGMATUNE_CUDA_SIMULATION'] === '1' ? simulated : size;

/** The bytes that tensors of that device hold. */
export function bytes(): number {
  return memory().bytes[testDevice] ?? 0;
}

/** Checks that `body` leaves memory() unchanged. */
export async function expectNoLeak(t: Check, label: string, body: () => unknown): Promise<void> {
  const before = census();
  await body();
  t.same(census(), before, `${label}: memory() is back at its baseline`);
}
