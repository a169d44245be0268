import { type Svd, thinSvd } from '../linalg/svd.js';
import { checkBelongs, checkFactors, readTriples, sliceFactors } from '../operator/factors.js';
import { type Strategy, type StrategyOption, strategies } from '../operator/planner.js';
import { absent, type Terms } from '../operator/terms.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSeed,
  checkSignal,
  describe,
  fail,
  reject,
} from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { renamed, SigmaError } from '../runtime/errors.js';
import { namedSeed } from '../runtime/random.js';
import { derived, originOf } from '../tensor/derived.js';
import { type DType, type MatrixDType, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix, checkReal, checkSupported, numbersOf, type Place, placed } from '../tensor/operand.js';
import { LayerParameter } from '../tensor/parameter.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { type Matrix, type MatrixShape, Tensor, type Vector } from '../tensor/tensor.js';
import { Adapter, type Blueprint } from './adapter.js';
import { type Recipe, remembered } from './recipe.js';
import type { AdaptedLinear, AdapterOptions, SavingOptions } from './types.js';

/** How weights are stored. */
export const layouts = ['out-in', 'in-out'] as const;

const commonOptions = [
  'name',
  'bias',
  'factors',
  'device',
  'signal',
  'strategy',
  'microBatches',
  'borrowInputs',
  'passBytes',
  'layout',
] as const;

function readSaving(op: string, { microBatches, borrowInputs, passBytes }: AdapterOptions): SavingOptions {
  return {
    microBatches: checkInteger(op, 'options.microBatches', microBatches ?? 1, 1),
    borrowInputs: checkBoolean(op, 'options.borrowInputs', borrowInputs ?? false),
    passBytes:
      passBytes === undefined
        ? Number.POSITIVE_INFINITY
        : checkInteger(op, 'options.passBytes', passBytes, 0, Number.MAX_SAFE_INTEGER),
  };
}

export interface Decomposed {
  readonly factors: Svd<MatrixDType>;
  /** Whether some triples of σ = 0 are not the weight's own. */
  readonly filled: boolean;
  /** All known σ: those of the factors, those that truncation removed, and those of a saved layer. */
  readonly sigma: Vector;
}

/** The checked arguments of a family's design, and its tools. */
export interface Site {
  readonly op: string;
  /** The layer's own handle on the weight. It is released after the design, unless the blueprint's `owned` holds it. */
  readonly weight: Matrix;
  /** The caller's weight. undefined once the caller has disposed it, or if the layer is on another device. */
  borrowedWeight(): Matrix | undefined;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** min(out, in) */
  readonly thin: number;
  /** No term yet, but whether the weight is stored as [in, out]: then the factors are those of the weight as stored. */
  readonly noTerms: typeof absent;
  /** The layer's own handle on the bias. */
  readonly bias: Vector | undefined;
  readonly strategy: StrategyOption;
  readonly device: Device;
  /** Type of the matrices: the weight's. */
  readonly dtype: MatrixDType;
  /** Device and type of the vectors. */
  readonly vectors: Place;
  readonly signal: AbortSignal | undefined;
  /**
   * The `rank` largest singular triples of the weight, as handles of the layer's own. Checks factors that the caller
   * supplies: with `allowFill` triples of σ = 0 may be any vectors, and `filled` says whether some are not the
   * weight's.
   */
  decompose(rank?: number, allowFill?: boolean): Promise<Decomposed>;
  /** The layer's seed from `options.seed`: a layer with a name draws numbers of its own. */
  seed(given: number | undefined): number;
  /** A trainable parameter; the layer's name precedes `name`. */
  parameter(name: string, value: Vector): LayerParameter;
  /**
   * Options to make the layer again with, in the place of those given: for what was derived from σ or the singular vectors,
   * which another decomposition may round differently. undefined for an option to leave out.
   */
  settle(options: Readonly<Record<string, unknown>>): void;
  /** Registers a new tensor, which is disposed if the construction fails. */
  own<T extends Scoped>(made: T): T;
}

/** A weight of which only the shape is known. */
export interface PlannedSite extends Pick<Site, 'op' | 'outFeatures' | 'inFeatures' | 'thin' | 'strategy' | 'seed'> {
  readonly hasBias: boolean;
}

/** The size of a layer, found from the shape of its weight. NaN if it depends on the weight's numbers. */
export interface LayerSize {
  /** Numbers that train. */
  readonly parameters: number;
  /** Frozen numbers of the layer's own, in matrices and in vectors: the weight and the bias are the caller's. */
  readonly matrices: number;
  readonly vectors: number;
}

/** A family's own part: it chooses the terms of the operator, and which of them train. */
export type Design<O extends AdapterOptions> = (site: Site, options: O) => Promise<Blueprint>;

/** The other part: the size of the layer that the design would make. Checks the options as the design does. */
export type Sizing<O extends AdapterOptions> = (site: PlannedSite, options: O) => LayerSize;

/** A family makes a layer from a weight [out, in] and options. The layer computes in the weight's type. */
export interface Family<O extends AdapterOptions> {
  <D extends DType>(weight: Tensor<D>, options?: O): Promise<AdaptedLinear<Extract<D, MatrixDType>>>;
  /**
   * @internal Makes a saved layer again. `sigma` has all σ of the weight: `options.factors` may then be only the triples that
   * the layer keeps.
   */
  readonly remake: (weight: Matrix, options: O, sigma: Vector | undefined) => Promise<AdaptedLinear>;
  /** @internal Errors carry `op`. */
  readonly size: (op: string, shape: MatrixShape, hasBias: boolean, options?: O) => LayerSize;
}

/**
 * Makes a family's function, called `name`, from its design. `known` lists the family's own options, besides those of
 * every family. If construction fails, every tensor that it made is disposed.
 */
export function family<O extends AdapterOptions>(
  name: string,
  known: readonly string[],
  design: Design<O>,
  sizing: Sizing<O>,
): Family<O> {
  const read = (op: string, options: O | undefined) =>
    checkOptions(op, 'options', options, [...commonOptions, ...known]);
  const remake = async (weight: Tensor, options: O | undefined, sigma: Vector | undefined): Promise<AdaptedLinear> => {
    const given = read(name, options);
    const made: Scoped[] = [];
    const recipe: Recipe = { options: remembered(given), settled: {}, origin: undefined };
    try {
      const saving = readSaving(name, given);
      const site = prepare(name, weight, given, made, recipe, sigma);
      const blueprint = await design(site, given);
      checkSignal(name, given.signal);
      if (!blueprint.owned.includes(site.weight)) site.weight.dispose();
      return new Adapter(name.toLowerCase(), blueprint, saving, recipe);
    } catch (error) {
      for (const each of made) each.dispose();
      throw renamed(error, name);
    }
  };
  // The cast is safe: the weight's type is checked.
  const make = <D extends DType>(weight: Tensor<D>, options?: O) =>
    remake(weight, options, undefined) as Promise<AdaptedLinear<Extract<D, MatrixDType>>>;
  const size = (op: string, [outFeatures, inFeatures]: MatrixShape, hasBias: boolean, options?: O) => {
    const given = read(op, options);
    const thin = Math.min(outFeatures, inFeatures);
    const strategy = readStrategy(op, given);
    return sizing({ op, outFeatures, inFeatures, thin, strategy, hasBias, seed: seeding(op, given.name) }, given);
  };
  return Object.defineProperties(make, {
    name: { value: name },
    remake: { value: remake },
    size: { value: size },
  }) as Family<O>;
}

function readStrategy(op: string, { strategy }: AdapterOptions): StrategyOption {
  return checkChoice(op, 'options.strategy', strategy ?? 'auto', strategies);
}

/** A layer with a name has a seed of its own. */
function seeding(op: string, name: string | undefined): Site['seed'] {
  return (given) => {
    const seed = checkSeed(op, 'options.seed', given ?? 0);
    return name === undefined ? seed : namedSeed(seed, name);
  };
}

function prepare(
  op: string,
  weight: unknown,
  options: AdapterOptions,
  made: Scoped[],
  recipe: Recipe,
  allSigma: Vector | undefined,
): Site {
  const own = <T extends Scoped>(scoped: T): T => {
    made.push(keep(scoped));
    return scoped;
  };
  const { name, signal } = options;
  if (name !== undefined && (typeof name !== 'string' || name === ''))
    reject(op, 'options.name', 'a non-empty string', name);
  const strategy = readStrategy(op, options);
  const layout = checkChoice(op, 'options.layout', options.layout ?? 'out-in', layouts);
  // Read everything that may run the caller's code before the first tensor.
  checkSignal(op, signal);
  const wanted = options.factors === undefined ? undefined : readTriples(op, options.factors);
  const device = resolveDevice(op, options.device, Tensor.is(weight) ? weight.device : 'cpu');
  const base = checkMatrix(op, 'weight', weight, { ...anything, shape: [null, null] });
  checkSupported(op, 'weight', base, 'gemm', device);
  // With the option `device` bias and factors are copied there; without it they must be on the weight's device.
  const where = options.device === undefined ? device : undefined;
  const here = <D extends MatrixDType>(tensor: Tensor<D>) => own(tensor.on(op, device));
  // Layers of the same factors share their copies on another device too.
  const share = <D extends MatrixDType>(tensor: Tensor<D>) =>
    tensor.device === device ? here(tensor) : own(derived(op, tensor, device, () => tensor.on(op, device)));
  const [rows, columns] = base.shape as MatrixShape;
  const transposed = layout === 'in-out';
  const [outFeatures, inFeatures] = transposed ? [columns, rows] : [rows, columns];
  const thin = Math.min(outFeatures, inFeatures);
  const { dtype } = base;
  const vectors = vectorType(dtype);
  const bias =
    options.bias === undefined
      ? undefined
      : checkReal(op, 'options.bias', options.bias, { shape: [outFeatures], dtype: vectors, device: where });
  const given = wanted && checkFactors(op, wanted, base, where);
  // The caller may dispose the weight while the decomposition runs; this handle keeps its memory until then.
  const kept = here(base);
  return {
    op,
    weight: kept,
    borrowedWeight: () => (base.disposed || base.device !== device ? undefined : base),
    own,
    outFeatures,
    inFeatures,
    thin,
    noTerms: { ...absent, transposed },
    device,
    dtype,
    vectors: { device, dtype: vectors },
    signal,
    bias: bias && here(bias),
    strategy,
    settle: (found) => {
      recipe.settled = { ...recipe.settled, ...found };
    },
    decompose: async (rank, allowFill = false) => {
      const known = given
        ? { u: share(given.u), s: share(given.s), vt: share(given.vt) }
        : await thinSvd(op, 'weight', kept, signal && { signal });
      for (const tensor of Object.values(known)) own(tensor);
      recipe.origin = originOf(op, 'options.factors', (given ?? known).u);
      const wide = sliceFactors(op, known, rank);
      for (const tensor of Object.values(wide)) own(tensor);
      const inPlace = (tensor: Matrix) => own(derived(op, tensor, dtype, () => placed(op, tensor, { device, dtype })));
      const factors = { u: inPlace(wide.u), s: own(wide.s.share()), vt: inPlace(wide.vt) };
      for (const tensor of Object.values(wide)) tensor.dispose();
      const largest = allSigma && (numbersOf(op, 'factors.s', allSigma)[0] as number);
      const filled = given !== undefined && !checkBelongs(op, factors, kept, allowFill, largest);
      const sigma = own((allSigma ?? known.s).on(op, device));
      for (const tensor of Object.values(known)) tensor.dispose();
      return { factors, filled, sigma };
    },
    seed: seeding(op, name),
    parameter: (role, value) => own(new LayerParameter(name === undefined ? role : `${name}.${role}`, value)),
  };
}

/** All thin triples. Throws SHAPE_MISMATCH if the caller's factors are truncated. */
export async function decomposeWhole(site: Site): Promise<Svd<MatrixDType>> {
  const { factors, sigma } = await site.decompose();
  sigma.dispose();
  const { size } = factors.s;
  if (size < site.thin) {
    fail('SHAPE_MISMATCH', site.op, 'options.factors', `all ${site.thin} singular triples`, describe(size));
  }
  return factors;
}

/**
 * The terms of W' for a layer with W' = U C Vᵀ. While the caller keeps W0 they are W0 + U (C − diag σ) Vᵀ, which keeps
 * the bits of W0 if nothing was trained. Afterwards they are U C Vᵀ, equal to rounding.
 */
export function mergeOnBase(site: Site, factored: Terms, sigma: Vector): () => Terms {
  let onBase: Terms | undefined;
  return (): Terms => {
    const base = site.borrowedWeight();
    if (base === undefined) return factored;
    // The base contains σ already: a fixed σ adds nothing, a trained diagonal adds its distance from σ.
    const { diagonal } = factored;
    onBase ??= diagonal === sigma ? { ...factored, base, diagonal: undefined } : { ...factored, base, origin: sigma };
    return onBase;
  };
}

/** The strategies for the planner: all that the layer has, or the one requested; UNSUPPORTED if the layer lacks it. */
export function chooseFrom(site: Site, available: readonly Strategy[], refusal: string): readonly Strategy[] {
  const { op, strategy } = site;
  // In bfloat16 the gradient of W', accumulated over a step, would lose too much precision.
  const half = site.dtype === 'bfloat16';
  const offered = half ? available.filter((each) => each !== 'merged') : available;
  if (strategy === 'auto') return offered;
  if (!offered.includes(strategy)) {
    const names = offered.map((each) => `'${each}'`).join(', ');
    const why =
      half && strategy === 'merged' ? 'the gradient of a bfloat16 weight would lose too much precision' : refusal;
    throw new SigmaError('UNSUPPORTED', op, `options.strategy: expected one of ${names}, got '${strategy}' (${why})`);
  }
  return [strategy];
}
