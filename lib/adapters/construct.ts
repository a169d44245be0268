import { checkChoice, checkOptions, checkSignal, describe, fail, isRecord, reject } from '../check.js';
import { resolveDevice } from '../device.js';
import { SigmaError } from '../errors.js';
import { matmul } from '../linalg/matmul.js';
import { type Svd, thinSvd } from '../linalg/svd.js';
import { LayerParameter } from '../parameter.js';
import { random } from '../random.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, memoryOf, output } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import { Adapter, type Blueprint } from './adapter.js';
import { type Strategy, type StrategyOption, strategies } from './planner.js';
import type { AdaptedLinear, AdapterOptions } from './types.js';

const commonOptions = ['name', 'bias', 'factors', 'device', 'signal', 'strategy'] as const;

/** What a family's design works with, checked. */
export interface Site {
  readonly op: string;
  /** The layer's own handle on the weight: released after the design, unless the blueprint's `owned` holds it. */
  readonly weight: Tensor<Real>;
  /** The caller's weight, for as long as the caller keeps it. */
  borrowedWeight(): Tensor<Real> | undefined;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** min(out, in) */
  readonly thin: number;
  /** The bias, as a handle of this layer's own. */
  readonly bias: Tensor<Real> | undefined;
  readonly strategy: StrategyOption;
  readonly dtype: Real;
  readonly signal: AbortSignal | undefined;
  /** Thin factors of the weight as handles of this layer's own: the `rank` largest triples. */
  decompose(rank?: number): Promise<Svd>;
  /** A trainable parameter, under the layer's name. */
  parameter(name: string, value: Tensor<Real>): LayerParameter;
  /** Takes care of a new tensor: it is disposed if the construction fails. */
  own<T extends Scoped>(made: T): T;
}

/** A family's own part: which terms of the operator there are, and which of them train. */
export type Design<O extends AdapterOptions> = (site: Site, options: O) => Promise<Blueprint>;

/**
 * A family as a function (weight [out, in], options) → layer. `known` names the family's own options, beside those that
 * every family has. Whatever fails on the way leaves nothing behind.
 */
export function family<O extends AdapterOptions>(
  name: string,
  known: readonly string[],
  design: Design<O>,
): (weight: Tensor, options?: O) => Promise<AdaptedLinear> {
  return async (weight, options) => {
    const given = checkOptions(name, 'options', options, [...commonOptions, ...known]);
    const made: Scoped[] = [];
    try {
      const site = prepare(name, weight, given, made);
      const blueprint = await design(site, given);
      checkSignal(name, given.signal);
      if (!blueprint.owned.includes(site.weight)) site.weight.dispose();
      return new Adapter(name, blueprint);
    } catch (error) {
      for (const each of made) each.dispose();
      throw error;
    }
  };
}

function prepare(op: string, weight: unknown, options: AdapterOptions, made: Scoped[]): Site {
  const own = <T extends Scoped>(scoped: T): T => {
    made.push(keep(scoped));
    return scoped;
  };
  const device = resolveDevice(op, options.device);
  const base = checkReal(op, 'weight', weight, { shape: [null, null], device });
  const [outFeatures, inFeatures] = base.shape as MatrixShape;
  const thin = Math.min(outFeatures, inFeatures);
  const { dtype } = base;
  const { name, signal } = options;
  if (name !== undefined && (typeof name !== 'string' || name === ''))
    reject(op, 'options.name', 'a non-empty string', name);
  checkSignal(op, signal);
  const strategy = checkChoice(op, 'options.strategy', options.strategy ?? 'auto', strategies);
  const bias =
    options.bias === undefined
      ? undefined
      : checkReal(op, 'options.bias', options.bias, { shape: [outFeatures], dtype, device });
  const factors = options.factors === undefined ? undefined : checkFactors(op, options.factors, base);
  // The caller may dispose the weight while the decomposition runs; this handle keeps its memory until then.
  const kept = own(base.share());
  return {
    op,
    weight: kept,
    borrowedWeight: () => (base.disposed ? undefined : base),
    own,
    outFeatures,
    inFeatures,
    thin,
    dtype,
    signal,
    bias: bias && own(bias.share()),
    strategy,
    decompose: async (rank) => {
      const found = factors
        ? slice(op, factors, rank)
        : await thinSvd(op, 'weight', kept, { ...(rank && { rank }), ...(signal && { signal }) });
      for (const tensor of [found.u, found.s, found.vt]) own(tensor);
      return found;
    },
    parameter: (role, value) => own(new LayerParameter(name === undefined ? role : `${name}.${role}`, value)),
  };
}

/** All thin triples; SHAPE_MISMATCH where the factors that were given are fewer. */
export async function decomposeWhole(site: Site): Promise<Svd> {
  const factors = await site.decompose();
  const { size } = factors.s;
  if (size < site.thin) {
    fail('SHAPE_MISMATCH', site.op, 'options.factors', `all ${site.thin} singular triples`, describe(size));
  }
  return factors;
}

/** Given factors: u [out, q], s [q], vt [q, in] with q ≤ min(out, in), of the weight's type. */
function checkFactors(op: string, factors: unknown, weight: Tensor<Real>): Svd {
  if (!isRecord(factors)) reject(op, 'options.factors', 'an object { u, s, vt }', factors);
  const [outFeatures, inFeatures] = weight.shape as MatrixShape;
  const { dtype, device } = weight;
  const s = checkReal(op, 'options.factors.s', factors['s'], { shape: [null], dtype, device });
  const q = s.shape[0] as number;
  if (q > Math.min(outFeatures, inFeatures)) {
    fail('SHAPE_MISMATCH', op, 'options.factors.s', `at most ${Math.min(outFeatures, inFeatures)} values`, describe(q));
  }
  const u = checkReal(op, 'options.factors.u', factors['u'], { shape: [outFeatures, q], dtype, device });
  const vt = checkReal(op, 'options.factors.vt', factors['vt'], { shape: [q, inFeatures], dtype, device });
  checkBelongs(op, { u, s, vt }, weight);
  return { u, s, vt };
}

/** How far given factors may be from the weight's: loose enough for any real decomposition, far from any other weight. */
const belonging = 1e-3;

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

/**
 * BASE_MISMATCH where the factors are those of another weight. One probe z tells, at the price of a few products with a
 * vector: Uᵀ W z = diag(s) Vᵀ z holds for the singular triples of W, be they all or some.
 */
function checkBelongs(op: string, { u, s, vt }: Svd, weight: Tensor<Real>): void {
  type Matrix = Tensor<Real, MatrixShape>;
  const generator = random(0);
  const probe = output(op, weight.dtype, [weight.shape[1] as number, 1]);
  for (let i = 0; i < probe.array.length; i++) probe.array[i] = generator.normal();
  const z = probe.tensor();
  const wz = matmul(weight as Matrix, z);
  const left = matmul(u as Matrix, wz, { transposeA: true });
  const right = matmul(vt as Matrix, z);
  const sigma = memoryOf(op, 'options.factors.s', s);
  const found = Float64Array.from(left.dataSync());
  const wanted = Float64Array.from(right.dataSync(), (value, i) => value * (sigma[i] as number));
  const finite = wz.dataSync().every(Number.isFinite);
  for (const tensor of [z, wz, left, right]) tensor.dispose();
  if (!finite) fail('NON_FINITE', op, 'weight', 'finite numbers, not too large to be summed', 'others');
  const scale = [...found, ...wanted].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const smallest = weight.dtype === 'float64' ? 1e-300 : 1e-32; // below it hardly a digit is left to compare
  if (scale <= smallest) return;
  const off = relativeDistance(found, wanted, scale);
  if (!(off <= belonging)) {
    fail(
      'BASE_MISMATCH',
      op,
      'options.factors',
      'the singular triples of the weight',
      `others (off by ${off.toPrecision(2)} of their size)`,
    );
  }
}

/** Own handles on given factors, or compact copies of their `rank` largest triples. */
function slice(op: string, factors: Svd, rank: number | undefined): Svd {
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
  const [rows, q] = u.shape as MatrixShape;
  const columns = vt.shape[1] as number;
  const left = output(op, u.dtype, [rows, count]);
  const from = memoryOf(op, 'factors.u', u);
  for (let i = 0; i < rows; i++) left.array.set(from.subarray(i * q + first, i * q + first + count), i * count);
  const values = output(op, u.dtype, [count]);
  values.array.set(memoryOf(op, 'factors.s', s).subarray(first, first + count));
  const right = output(op, u.dtype, [count, columns]);
  right.array.set(memoryOf(op, 'factors.vt', vt).subarray(first * columns, (first + count) * columns));
  return { u: left.tensor(), s: values.tensor(), vt: right.tensor() };
}

/** The strategies to choose from, given those the layer has; UNSUPPORTED where the one asked for is not among them. */
export function chooseFrom(site: Site, available: readonly Strategy[], refusal: string): readonly Strategy[] {
  const { op, strategy } = site;
  if (strategy === 'auto') return available;
  if (!available.includes(strategy)) {
    const offered = available.map((each) => `'${each}'`).join(', ');
    throw new SigmaError(
      'UNSUPPORTED',
      op,
      `options.strategy: expected one of ${offered}, got '${strategy}' (${refusal})`,
    );
  }
  return [strategy];
}
