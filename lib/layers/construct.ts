import type { SvdLike } from '../linalg/svd.js';
import type { Strategy } from '../operator/planner.js';
import type { Terms } from '../operator/terms.js';
import { checkBoolean, checkInteger, checkOptions, checkSignal, reject } from '../runtime/check.js';
import { renamed, SigmaError } from '../runtime/errors.js';
import { atOnce, inSlices, type Work } from '../runtime/slices.js';
import { type DType, type FactorDType, isHalf, type MatrixDType } from '../tensor/dtype.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { Matrix, MatrixShape, Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { Adapter, type Blueprint } from './adapter.js';
import { type Recipe, remembered } from './recipe.js';
import { type PlannedSite, prepare, readStrategy, type Site, type Source, seeding } from './site.js';
import type { AdaptedLinear, AdapterOptions, SavingOptions } from './types.js';

const commonOptions = [
  'name',
  'bias',
  'bind',
  'device',
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

/** The size of a layer, found from the shape of its weight. NaN if it depends on the weight's numbers. */
export interface LayerSize {
  /** Numbers that train. */
  readonly parameters: number;
  /** Frozen numbers of the layer's own, in matrices of these shapes and in vectors: the weight and the bias are the caller's. */
  readonly matrices: readonly MatrixShape[];
  readonly vectors: number;
}

/** A family's own part: it chooses the terms of the operator, and which of them train. */
export type Design<O extends AdapterOptions> = (site: Site, options: O) => Work<Blueprint>;

/** The other part: the size of the layer that the design would make. Checks the options as the design does. */
export type Sizing<O extends AdapterOptions> = (site: PlannedSite, options: O) => LayerSize;

/** Options of `family.from`: those of the family, but for what only an SVD needs. */
export type FromOptions<O extends AdapterOptions, D extends DType = DType> = Omit<O, 'factors' | 'signal'> & {
  /**
   * The weight of the factors, borrowed as usual. Without it W0 is U diag(σ) Vᵀ. A layer that needs what truncated factors
   * leave out is then INVALID_ARGUMENT.
   */
  weight?: TensorLike<D>;
};

/** A family makes a layer from a weight [out, in] and options. The layer computes in the weight's type. */
export interface Family<O extends AdapterOptions> {
  <D extends DType>(weight: TensorLike<D>, options?: O): Promise<AdaptedLinear<Extract<D, MatrixDType>>>;
  /**
   * The same synchronously, from factors that are at hand: for frameworks that build their layers at once. With `weight` the
   * layer is that of `await family(weight, { factors })`, to the bit.
   *
   * @param factors from `decompose` or `svd`; borrowed, as the option `factors` is
   * @throws SigmaError as the family does, but at once
   * @example
   * const factors = await decompose(weight);
   * const layer = svft.from(factors, { weight, pattern: 'banded' });
   */
  from<F extends FactorDType, D extends DType = F extends 'int8' ? 'float32' : F>(
    factors: SvdLike<F>,
    options?: FromOptions<O, D>,
  ): AdaptedLinear<Extract<D, MatrixDType>>;
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
  const all = [...commonOptions, 'factors', 'signal', ...known];
  const atHand = [...commonOptions, 'weight', ...known];

  function* building(op: string, source: Source, given: O): Work<Adapter> {
    const made: Scoped[] = [];
    const own = <T extends Scoped>(scoped: T): T => {
      made.push(keep(scoped));
      return scoped;
    };
    const recipe: Recipe = { options: remembered(given), settled: {}, origin: undefined };
    try {
      const saving = readSaving(op, given);
      const site = prepare(op, source, given, own, recipe);
      const blueprint = yield* design(site, given);
      checkSignal(op, given.signal);
      site.finish(blueprint.owned);
      return new Adapter(name.toLowerCase(), blueprint, saving, recipe);
    } catch (error) {
      for (const each of made) each.dispose();
      throw renamed(error, op);
    }
  }

  const remake = async (weight: unknown, options: O | undefined, sigma: Vector | undefined): Promise<AdaptedLinear> => {
    const given = checkOptions(name, 'options', options, all);
    const { factors, signal } = given;
    const source = { weight, factors, sigma, names: { weight: 'weight', factors: 'options.factors' } };
    return await inSlices(name, building(name, source, given), signal);
  };
  const make = (weight: unknown, options?: O) => remake(weight, options, undefined);
  const from = (factors: unknown, options: FromOptions<O> | undefined) => {
    const op = `${name}.from`;
    const given = checkOptions(op, 'options', options, atHand);
    const names = { weight: 'options.weight', factors: 'factors' };
    if (factors === undefined) reject(op, 'factors', 'an object { u, s, vt }', factors);
    return atOnce(building(op, { weight: given.weight, factors, sigma: undefined, names }, given as unknown as O));
  };
  const size = (op: string, [outFeatures, inFeatures]: MatrixShape, hasBias: boolean, options?: O) => {
    const given = checkOptions(op, 'options', options, all);
    const thin = Math.min(outFeatures, inFeatures);
    const strategy = readStrategy(op, given);
    return sizing({ op, outFeatures, inFeatures, thin, strategy, hasBias, seed: seeding(op, given.name) }, given);
  };
  // The casts are safe: the types of the operands were checked.
  return Object.defineProperties(make, {
    name: { value: name },
    from: { value: from },
    remake: { value: remake },
    size: { value: size },
  }) as unknown as Family<O>;
}

/**
 * The terms of W' for a layer with W' = U C Vᵀ. While the caller keeps W0 they are W0 + U (C − diag σ) Vᵀ, which keeps
 * the bits of W0 if nothing was trained. Afterwards they are U C Vᵀ, equal to rounding.
 */
export function mergeOnBase(site: Site, factored: Terms, sigma: Vector): () => Terms {
  // Int8 factors reproduce W0 to their rounding only, so W0 would change the result of the other strategies.
  if (site.isRounded) return () => factored;
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

/** The strategies of a layer that covers all singular triples. Only int8 factors leave a rest of W0 for a base. */
export function wholeStrategies({ isRounded, strategy }: Site): readonly Strategy[] {
  return isRounded && strategy === 'lowrank' ? ['factored', 'merged', 'lowrank'] : ['factored', 'merged'];
}

/**
 * The parts of a blueprint with the base W0 and the core's change of σ: x W0ᵀ + (x V)(C − diag σ)ᵀ Uᵀ. So the rest that int8
 * factors leave of W0 is in the layer, which starts as the pretrained one, to the bit.
 */
export function onWholeBase(
  site: Site,
  factored: Terms,
  sigma: Vector,
): Pick<Blueprint, 'base' | 'factored' | 'lowrank' | 'merge'> & { readonly weight: Matrix } {
  const { weight, derived } = site.base();
  const lowrank: Terms = { ...factored, base: weight, origin: sigma };
  const base = { weight: () => weight, derived, original: undefined, bias: site.bias };
  return { weight, base, factored: undefined, lowrank, merge: () => lowrank };
}

/** The strategies for the planner: those of 'auto', or the one requested; UNSUPPORTED if the layer lacks it. */
export function chooseFrom(site: Site, available: readonly Strategy[], refusal: string): readonly Strategy[] {
  const { op, dtype, strategy } = site;
  // W' in 16 bits rounds small changes of the parameters coarsely, so 'auto' does not trade them for time.
  if (strategy === 'auto') return isHalf(dtype) ? available.filter((each) => each !== 'merged') : available;
  if (!available.includes(strategy)) {
    const names = available.map((each) => `'${each}'`).join(', ');
    throw new SigmaError(
      'UNSUPPORTED',
      op,
      `options.strategy: expected one of ${names}, got '${strategy}' (${refusal})`,
    );
  }
  return [strategy];
}
