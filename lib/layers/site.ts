import { knownValues, type Svd, thinSvdWork } from '../linalg/svd.js';
import { checkBelongs, checkFactors, readTriples, sliceFactors, type Triples } from '../operator/factors.js';
import { mergeTerms } from '../operator/merged.js';
import { type StrategyOption, strategies } from '../operator/planner.js';
import { absent, type Terms } from '../operator/terms.js';
import { checkChoice, checkSeed, checkSignal, describe, fail, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { namedSeed } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { derived, originOf } from '../tensor/derived.js';
import { type FactorDType, type MatrixDType, vectorType } from '../tensor/dtype.js';
import {
  anything,
  checkFactor,
  checkReal,
  checkSupported,
  factorTypes,
  matrixTypes,
  numbersOf,
  type Place,
  placed,
} from '../tensor/operand.js';
import { LayerParameter } from '../tensor/parameter.js';
import type { Scoped } from '../tensor/scope.js';
import { type FactorMatrix, type Matrix, type MatrixShape, Tensor, type Vector } from '../tensor/tensor.js';
import { Binding } from './binding.js';
import type { Recipe } from './recipe.js';
import type { AdapterOptions } from './types.js';

/** How weights are stored. */
export const layouts = ['out-in', 'in-out'] as const;

export interface Decomposed {
  readonly factors: Svd<FactorDType>;
  /** Whether some triples of σ = 0 are not the weight's own. */
  readonly filled: boolean;
  /** All known σ: those of the factors, those that truncation removed, and those of a saved layer. See `knownValues`. */
  readonly sigma: Vector;
}

/** The checked arguments of a family's design, and its tools. */
export interface Site {
  readonly op: string;
  /**
   * The layer's own handle on W0, which the blueprint's `owned` must hold. If the caller gave factors without a weight, W0
   * is derived: U diag(σ) Vᵀ of all triples.
   */
  base(): { readonly weight: Matrix; readonly derived: boolean };
  /** The caller's weight. undefined without one, once the caller has disposed it, or if the layer is on another device. */
  borrowedWeight(): Matrix | undefined;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** min(out, in) */
  readonly thin: number;
  /**
   * No term yet, but the type of the matrices, and whether the weight is stored as [in, out]: then the factors are those of
   * the weight as stored.
   */
  readonly noTerms: typeof absent & Pick<Terms, 'dtype'>;
  /** Whether the given factors are int8: U diag(σ) Vᵀ is then W0 only to their rounding. */
  readonly isRounded: boolean;
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
  decompose(rank?: number, allowFill?: boolean): Work<Decomposed>;
  /** The argument in which the caller gives factors. */
  readonly factorsArgument: string;
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
  /** Ends the construction: releases what the layer, which has `owned`, does not hold. */
  finish(owned: readonly Scoped[]): void;
}

/** A weight of which only the shape is known. */
export interface PlannedSite extends Pick<Site, 'op' | 'outFeatures' | 'inFeatures' | 'thin' | 'strategy' | 'seed'> {
  readonly hasBias: boolean;
}

export function readStrategy(op: string, { strategy }: AdapterOptions): StrategyOption {
  return checkChoice(op, 'options.strategy', strategy ?? 'auto', strategies);
}

/** The shapes of U and Vᵀ with this many columns. */
export function factorShapes(
  { outFeatures, inFeatures }: Pick<Site, 'outFeatures' | 'inFeatures'>,
  columns: number,
): readonly MatrixShape[] {
  return [
    [outFeatures, columns],
    [columns, inFeatures],
  ];
}

/** How many σ a layer holds that has `rank` triples next to its base: those of the triples, and all that are known. */
export function heldValues({ thin }: Pick<Site, 'thin'>, rank: number): number {
  const known = knownValues(thin, rank);
  return known === rank ? rank : known + rank;
}

/** A layer with a name has a seed of its own. */
export function seeding(op: string, name: string | undefined): Site['seed'] {
  return (given) => {
    const seed = checkSeed(op, 'options.seed', given ?? 0);
    return name === undefined ? seed : namedSeed(seed, name);
  };
}

/** Where a layer's numbers come from: a weight, its factors, or both. */
export interface Source {
  readonly weight: unknown;
  readonly factors: unknown;
  /** All σ of the weight, for a saved layer whose factors are only the triples that it keeps. */
  readonly sigma: Vector | undefined;
  /** The arguments of the two, for errors. */
  readonly names: { readonly weight: string; readonly factors: string };
}

/** The checked source. Its numbers are the caller's. */
interface Numbers {
  readonly weight: Matrix | undefined;
  readonly factors: Svd<FactorDType> | undefined;
  /** Of the weight, as it is stored. */
  readonly shape: MatrixShape;
  readonly dtype: MatrixDType;
}

/** `device`: where the layer is; `where`: where the tensors must be, if they have to be anywhere. */
function checkSource(
  op: string,
  { weight, names }: Source,
  triples: Triples | undefined,
  device: Device,
  where: Device | undefined,
): Numbers {
  const alone = weight === undefined ? triples : undefined;
  const argument = alone ? `${names.factors}.u` : names.weight;
  const types = alone ? factorTypes : matrixTypes;
  const first = checkFactor(op, argument, alone ? alone.u : weight, types, { ...anything, shape: [null, null] });
  const dtype = first.dtype === 'int8' ? 'float32' : first.dtype;
  checkSupported(op, argument, { dtype }, 'gemm', device);
  const base = alone ? undefined : (first as Matrix);
  // In the place of u its tensor: a view is read once.
  const factors = triples && checkFactors(op, alone ? { ...alone, u: first } : triples, base, where);
  const [rows, columns] = first.shape as MatrixShape;
  const shape = [rows, alone && factors ? (factors.vt.shape[1] as number) : columns] as const;
  return { weight: base, factors, shape, dtype };
}

/** Checks the source and the options. `own` registers every tensor that is made, also later by the site. */
export function prepare(op: string, source: Source, options: AdapterOptions, own: Site['own'], recipe: Recipe): Site {
  const { names } = source;
  const { name, signal } = options;
  if (name !== undefined && (typeof name !== 'string' || name === ''))
    reject(op, 'options.name', 'a non-empty string', name);
  const strategy = readStrategy(op, options);
  const layout = checkChoice(op, 'options.layout', options.layout ?? 'out-in', layouts);
  // Read everything that may run the caller's code before the first tensor.
  const binding = new Binding(op, options.bind);
  checkSignal(op, signal);
  const triples = source.factors === undefined ? undefined : readTriples(op, names.factors, source.factors);
  const first = source.weight ?? triples?.u;
  const device = resolveDevice(op, options.device, Tensor.is(first) ? first.device : 'cpu');
  // With the option `device` bias and factors are copied there; without it they must be on the weight's device.
  const where = options.device === undefined ? device : undefined;
  const { weight: base, factors: given, shape, dtype } = checkSource(op, source, triples, device, where);
  const here = <D extends FactorDType>(tensor: Tensor<D>) => own(tensor.on(op, device));
  // Layers of the same factors share their copies on another device too.
  const share = <D extends FactorDType>(tensor: Tensor<D>) =>
    tensor.device === device ? here(tensor) : own(derived(op, tensor, device, () => tensor.on(op, device)));
  const transposed = layout === 'in-out';
  const [rows, columns] = shape;
  const [outFeatures, inFeatures] = transposed ? [columns, rows] : shape;
  const thin = Math.min(rows, columns);
  const vectors = vectorType(dtype);
  const bias =
    options.bias === undefined
      ? undefined
      : checkReal(op, 'options.bias', options.bias, { shape: [outFeatures], dtype: vectors, device: where });
  // The caller may dispose the weight while the decomposition runs; this handle keeps its memory until then.
  const kept = base && here(base);
  const noTerms = { ...absent, transposed, dtype };
  const inPlace = (tensor: FactorMatrix): FactorMatrix =>
    own(
      tensor.dtype === 'int8'
        ? tensor.share()
        : derived(op, tensor, dtype, () => placed(op, tensor, { device, dtype })),
    );
  const site: Site = {
    op,
    base: () =>
      kept === undefined
        ? { weight: own(weightOf(site, names, given as Svd<FactorDType>)), derived: true }
        : { weight: kept, derived: false },
    borrowedWeight: () => (base?.disposed === false && base.device === device ? base : undefined),
    own,
    outFeatures,
    inFeatures,
    thin,
    noTerms,
    isRounded: given !== undefined && (given.u.dtype === 'int8' || given.vt.dtype === 'int8'),
    device,
    dtype,
    vectors: { device, dtype: vectors },
    signal,
    bias: bias && here(bias),
    strategy,
    settle: (found) => {
      recipe.settled = { ...recipe.settled, ...found };
    },
    factorsArgument: names.factors,
    *decompose(rank, allowFill = false) {
      const known = given
        ? { u: share(given.u), s: share(given.s), vt: share(given.vt) }
        : yield* thinSvdWork(op, names.weight, kept as Matrix, signal, rank && knownValues(thin, rank));
      for (const tensor of Object.values(known)) own(tensor);
      recipe.origin = originOf(op, names.factors, (given ?? known).u);
      const wide = sliceFactors(op, names.factors, known, rank);
      for (const tensor of Object.values(wide)) own(tensor);
      const factors = { u: inPlace(wide.u), s: own(wide.s.share()), vt: inPlace(wide.vt) };
      for (const tensor of Object.values(wide)) tensor.dispose();
      const all = source.sigma;
      const largest = all && (numbersOf(op, 'factors.s', all)[0] as number);
      const filled = given !== undefined && !checkBelongs(op, names.factors, factors, kept, allowFill, largest);
      const sigma = own((all ?? known.s).on(op, device));
      for (const tensor of Object.values(known)) tensor.dispose();
      return { factors, filled, sigma };
    },
    finish: (owned) => {
      binding.commit([base, bias, ...Object.values(given ?? {})]);
      if (kept !== undefined && !owned.includes(kept)) kept.dispose();
    },
    seed: seeding(op, name),
    parameter: (role, start) => {
      const value = own(binding.place(role, own(start)));
      return own(new LayerParameter(name === undefined ? role : `${name}.${role}`, value));
    },
  };
  return site;
}

/** U diag(σ) Vᵀ of all triples, in the layer's type and on its device. */
function weightOf(
  { op, thin, dtype, device, vectors, noTerms }: Site,
  names: Source['names'],
  { u, s, vt }: Svd<FactorDType>,
): Matrix {
  if (s.size < thin) {
    const why = `the weight, of which this layer needs the part that ${s.size} of ${thin} singular triples leave out`;
    reject(op, names.weight, why, undefined);
  }
  const here = (tensor: FactorMatrix) =>
    tensor.dtype === 'int8' ? tensor.on(op, device) : placed(op, tensor, { device, dtype });
  const handles = { u: here(u), diagonal: placed(op, s, vectors), vt: here(vt) };
  try {
    return mergeTerms(op, { ...noTerms, ...handles });
  } finally {
    for (const tensor of Object.values(handles)) tensor.dispose();
  }
}

/** All thin triples. Throws SHAPE_MISMATCH if the caller's factors are truncated. */
export function* decomposeWhole(site: Site): Work<Svd<FactorDType>> {
  const { factors, sigma } = yield* site.decompose();
  sigma.dispose();
  const { size } = factors.s;
  if (size < site.thin) {
    fail('SHAPE_MISMATCH', site.op, site.factorsArgument, `all ${site.thin} singular triples`, describe(size));
  }
  return factors;
}
