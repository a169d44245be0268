import type { Blueprint } from '../layers/adapter.js';
import { biasOfLayer, trainsBias } from '../layers/bias.js';
import { chooseFrom, family, mergeOnBase } from '../layers/construct.js';
import { factorShapes, heldValues, type PlannedSite, type Site } from '../layers/site.js';
import type { Spectrum } from '../layers/telemetry.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Svd } from '../linalg/svd.js';
import type { Strategy } from '../operator/planner.js';
import type { Terms } from '../operator/terms.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkNumber,
  checkOptions,
  describe,
  fail,
  isRecord,
  reject,
} from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { type Band, readBand } from '../sparse/banded.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { allocate, type FactorDType, readNumbers } from '../tensor/dtype.js';
import { fromNumbers } from '../tensor/operand.js';
import type { Vector } from '../tensor/tensor.js';
import { fillNormal } from './orthonormal.js';
import { entriesOf, type PatternName, patternNames, patternOf } from './svft-pattern.js';
import { completed } from './svft-residual.js';

export interface SvftOptions extends AdapterOptions {
  /** The pattern of M: 'plain' (default), 'banded', 'random', 'topk', or your own. */
  pattern?: PatternName | SparsityPattern;
  /**
   * Number of off-diagonals of the band on each side, or { lower, upper }. 'random' and 'topk' get as many entries as
   * that band. Default 1; 0 is 'plain'.
   */
  offDiagonals?: number | Band;
  /** 'random': draw with replacement, so that cells can repeat. Default false; true with `parity`. */
  replacement?: boolean;
  /** 'random': include the whole diagonal. Default false. */
  includeDiagonal?: boolean;
  /**
   * Seed of the random pattern, the Kaiming start and the orthonormal residual, combined with the layer's `name`.
   * Default 0. Layers of the same size, seed and name get the same numbers.
   */
  seed?: number;
  /**
   * Number of singular directions in the core, the largest first. Default: all. If it is at most an eighth of min(out, in),
   * from 256 on, only these are computed, and telemetry knows no other σ.
   */
  rank?: number;
  /** Whether a trainable scalar γ, from 0, scales M by sigmoid(γ). Default true. */
  gate?: boolean;
  /** `bias: true`: the layer's bias trains too, as the parameter 'bias' [out], where there is one. Default false. */
  train?: { bias?: boolean };
  /** Give a layer without a bias a trainable bias of zeros; implies `train.bias`. Default false. */
  createBias?: boolean;
  /** Initial M: 'zeros' (default), 'kaiming' for N(0, 2/z) with z entries, or numbers in CSR order (and γ). */
  init?: 'zeros' | 'kaiming' | { m: ArrayLike<number>; gate?: number };
  /**
   * 'topk': rank alignments by magnitude (default) or by signed value. A rectangular weight is SHAPE_MISMATCH, except
   * with `parity`.
   */
  absolute?: boolean;
  /**
   * The part of W0 beyond `rank`: 'keep' (default) adds it unchanged, 'drop' leaves it out of W', 'orthonormal'
   * replaces its directions by random orthonormal ones with σ = 0.
   */
  residual?: 'drop' | 'keep' | 'orthonormal';
  /**
   * Use the defaults of the public reference code, which differ from the paper: M starts from N(0, 2/z), the part
   * beyond `rank` is dropped, 'random' draws with replacement, 'topk' takes the largest signed entries of U · V by
   * rows, and 'orthonormal' directions are not orthogonal to the kept ones. An option that you give has priority.
   */
  parity?: 'svft-ref';
}

/** Checks the options and fills in the defaults. */
function settings(site: Pick<PlannedSite, 'op' | 'thin' | 'seed' | 'hasBias'>, options: SvftOptions) {
  const { op, thin } = site;
  const { pattern = 'plain', init, rank } = options;
  const { offDiagonals } = options;
  const band = readBand(op, 'options.offDiagonals', offDiagonals ?? 1);
  if (options.pattern === undefined && offDiagonals !== undefined && band.lower + band.upper > 0) {
    reject(op, 'options.pattern', `'banded', 'random' or 'topk' to go with offDiagonals`, options.pattern);
  }
  const parity = options.parity !== undefined;
  if (parity) checkChoice(op, 'options.parity', options.parity, ['svft-ref']);
  if (typeof pattern === 'object') {
    if (!SparsityPattern.is(pattern))
      reject(op, 'options.pattern', 'the name of a pattern or a SparsityPattern', pattern);
  } else checkChoice(op, 'options.pattern', pattern, patternNames);
  return {
    pattern,
    parity,
    offDiagonals: band,
    replacement: checkBoolean(op, 'options.replacement', options.replacement ?? parity),
    includeDiagonal: checkBoolean(op, 'options.includeDiagonal', options.includeDiagonal ?? false),
    seed: site.seed(options.seed),
    rank: rank === undefined ? undefined : checkInteger(op, 'options.rank', rank, 1, thin),
    gate: checkBoolean(op, 'options.gate', options.gate ?? true),
    bias: readTrain(site, options),
    init: isRecord(init)
      ? readInit(op, init)
      : checkChoice(op, 'options.init', init ?? (parity ? 'kaiming' : 'zeros'), ['zeros', 'kaiming']),
    absolute: checkBoolean(op, 'options.absolute', options.absolute ?? !parity),
    residual: checkChoice(op, 'options.residual', options.residual ?? (parity ? 'drop' : 'keep'), [
      'drop',
      'keep',
      'orthonormal',
    ]),
  };
}

/** Whether the bias trains. */
function readTrain(site: Pick<PlannedSite, 'op' | 'hasBias'>, { train, createBias }: SvftOptions): boolean {
  const { bias = createBias ?? false } = checkOptions(site.op, 'options.train', train, ['bias']);
  return trainsBias(site, bias, createBias);
}

/** The caller's numbers for M and γ. */
function readInit(op: string, init: object): { m: ArrayLike<number>; gate: unknown } {
  const { m, gate } = checkOptions<{ m?: unknown; gate?: unknown }>(op, 'options.init', init, ['m', 'gate']);
  return { m: readNumbers(op, 'options.init.m', m), gate };
}

type Settings = ReturnType<typeof settings>;
type Core = NonNullable<Terms['core']>;

/**
 * SVFT (Lingam et al. 2024, Equation 1): y = x (U (diag(σ) + sigmoid(γ) M) Vᵀ)ᵀ + b. σ is frozen, and M [r, r] is
 * sparse. The parameters are 'm' [entries], the values of M in CSR order, 'gate' [1], which is γ, unless
 * `gate: false`, and 'bias' [out] with `train: { bias: true }`. docs/svft.md has the options, the settings of the paper,
 * and where paper and code disagree.
 *
 * @param weight W0 [out, in], float32, float64 or bfloat16. The layer borrows it: you may dispose it,
 * but do not write it while the layer lives.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, BASE_MISMATCH,
 * DISPOSED, NON_FINITE, NOT_CONVERGED, UNSUPPORTED, ABORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * const layer = await svft(weight, { pattern: 'banded', offDiagonals: 2 });
 * const pass = layer.forward(x);
 * const dx = pass.backward(dy);
 */
export const svft = family<SvftOptions>(
  'svft',
  [
    'pattern',
    'offDiagonals',
    'replacement',
    'includeDiagonal',
    'seed',
    'rank',
    'gate',
    'train',
    'createBias',
    'init',
    'absolute',
    'residual',
    'parity',
  ],
  design,
  (site, options) => {
    const { thin } = site;
    const chosen = settings(site, options);
    const { rank = thin } = chosen;
    const columns = chosen.residual === 'orthonormal' ? thin : rank;
    return {
      parameters: entriesOf(site, chosen, columns) + (chosen.gate ? 1 : 0) + (chosen.bias ? site.outFeatures : 0),
      matrices: factorShapes(site, columns),
      vectors:
        (chosen.residual === 'keep' ? heldValues(site, columns) : columns) +
        (chosen.bias && site.hasBias ? site.outFeatures : 0),
    };
  },
);

function* design(site: Site, options: SvftOptions): Work<Blueprint> {
  const chosen = settings({ ...site, hasBias: site.bias !== undefined }, options);
  const keeps = chosen.residual === 'keep';
  const found = yield* site.decompose(chosen.rank, !keeps);
  const truncated = found.factors.s.size < site.thin;
  if (options.residual === 'keep' && !truncated) requireRest(site);
  const factors =
    truncated && chosen.residual === 'orthonormal'
      ? yield* completed(site, found.factors, random(chosen.seed, 2), chosen.parity)
      : found.factors;
  const tail = truncated || found.filled ? (keeps ? 'kept' : 'gone') : 'none';
  // Directions from the caller, or drawn as in the reference code, need not be orthogonal to the others.
  const skew = found.filled || (factors !== found.factors && chosen.parity);
  // If the tail is kept, W' also has its σ.
  const initial = tail === 'kept' ? found.sigma : factors.s;
  if (initial !== found.sigma) found.sigma.dispose();
  const whole = tail !== 'kept' || initial.size === site.thin;
  const spectrum = { initial, first: skew ? undefined : 0, whole, skew, scale: undefined };
  const core = yield* coreOf(site, chosen, factors);
  const { bias, before, owned } = biasOfLayer(site, chosen.bias);
  const made = blueprint(site, factors, core, before, tail, spectrum);
  return { ...made, bias, owned: [...made.owned, ...owned] };
}

/** Refuses a strategy that leaves out what int8 factors round off W0, which the caller wants to keep. */
function requireRest({ op, isRounded, strategy }: Site): void {
  if (!isRounded || strategy === 'lowrank' || strategy === 'auto') return;
  const wanted = `'lowrank' with int8 factors and residual: 'keep', because it alone carries W0 − U diag(σ) Vᵀ`;
  fail('UNSUPPORTED', op, 'options.strategy', `${wanted} (or leave out residual)`, `'${strategy}'`);
}

/** The trainable M and γ, with their initial values. */
function* coreOf(site: Site, chosen: Settings, factors: Svd<FactorDType>): Work<Core> {
  const { op } = site;
  const { device, dtype } = site.vectors;
  const pattern = yield* patternOf(site, chosen, factors);
  // The ranking depends on the singular vectors.
  if (chosen.pattern === 'topk') site.settle({ pattern });
  const m = allocate(op, dtype, pattern.entries);
  const gamma = allocate(op, dtype, 1);
  yield* initialise(op, chosen, m, gamma);
  const parameter = (name: string, start: RealArray) =>
    site.parameter(name, fromNumbers(op, device, dtype, [start.length], start));
  const values = parameter('m', m);
  return { pattern, values, gate: chosen.gate ? parameter('gate', gamma) : undefined };
}

function* initialise(op: string, { init, gate, seed }: Settings, m: RealArray, gamma: RealArray): Work<void> {
  if (init === 'zeros') return;
  if (init === 'kaiming') {
    // PyTorch's kaiming_normal_ on M's values as one row: variance 2 / fan_in, fan_in = z.
    yield* fillNormal(m, random(seed, 1), Math.sqrt(2 / m.length));
    return;
  }
  const { m: given, gate: start } = init;
  if (given.length !== m.length) {
    const expected = `${m.length} numbers, one for each entry of the pattern`;
    fail('SHAPE_MISMATCH', op, 'options.init.m', expected, describe(given.length));
  }
  const put = (array: RealArray, index: number, argument: string, value: unknown): void => {
    array[index] = checkNumber(op, argument, value, -Infinity);
    // Rounding to float32 may overflow.
    if (!Number.isFinite(array[index])) reject(op, argument, 'a number that the dtype of the layer can hold', value);
  };
  for (let p = 0; p < m.length; p++) put(m, p, `options.init.m[${p}]`, given[p]);
  if (start !== undefined) {
    if (!gate) reject(op, 'options.init.gate', 'no value, because `gate` is false', start);
    put(gamma, 0, 'options.init.gate', start);
  }
}

/** `before`: the pretrained bias. `tail`: the part of W0 beyond the factors is empty, is added to U C Vᵀ, or is left out of W'. */
function blueprint(
  site: Site,
  factors: Svd<FactorDType>,
  core: Core,
  before: Vector | undefined,
  tail: 'none' | 'kept' | 'gone',
  spectrum: Spectrum,
): Omit<Blueprint, 'bias'> {
  const { u, s, vt } = factors;
  const available: Strategy[] = tail === 'kept' ? ['lowrank', 'merged'] : ['factored', 'merged'];
  // At full rank 'lowrank' also works, with diag(σ) in the base, but costs more. So only on request.
  if (tail === 'none' && site.strategy === 'lowrank') available.push('lowrank');
  const refusal =
    tail === 'kept'
      ? 'the directions beyond `rank` are not decomposed'
      : 'the weight beyond `rank` is not kept, so there is no base to add to';
  const choices = chooseFrom(site, available, refusal);
  const common = { factors: () => factors, rank: s.size, spectrum, choices };
  if (tail === 'kept' || choices.includes('lowrank')) {
    const { weight, derived } = site.base();
    const lowrank: Terms = { ...site.noTerms, base: weight, u, vt, core };
    const base = { weight: () => weight, derived, original: undefined, bias: before };
    const owned = [u, s, vt, spectrum.initial, weight];
    return { ...common, base, factored: undefined, lowrank, merge: () => lowrank, owned };
  }
  const original: Terms = { ...site.noTerms, u, vt, diagonal: s };
  const factored: Terms = { ...original, core };
  const base = { weight: site.borrowedWeight, derived: false, original: undefined, bias: before };
  const owned = [u, s, vt, spectrum.initial];
  // Without its tail W' is no update of W0, and the factors do not reproduce W0.
  if (tail === 'gone') return { ...common, base, factored, lowrank: undefined, merge: () => factored, owned };
  const merge = mergeOnBase(site, factored, s);
  return { ...common, base: { ...base, original }, factored, lowrank: undefined, merge, owned };
}
