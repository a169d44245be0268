import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, family, mergeOnBase, type Site } from '../layers/construct.js';
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
import { inSlices, type Work } from '../runtime/slices.js';
import { type Band, readBand } from '../sparse/banded.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { allocate, type MatrixDType, readNumbers } from '../tensor/dtype.js';
import { fromNumbers } from '../tensor/operand.js';
import { fillNormal } from './orthonormal.js';
import { entriesOf, type PatternName, patternNames, patternOf } from './svft-pattern.js';
import { completed } from './svft-residual.js';

export interface SvftOptions extends AdapterOptions {
  /** 'plain' (default), 'banded', 'random', 'topk', or a structure of your own. */
  pattern?: PatternName | SparsityPattern;
  /**
   * Width of the band, on either side or on each; 'random' and 'topk' get as many entries as such a band. Default 1; 0 is
   * 'plain'.
   */
  offDiagonals?: number | Band;
  /** random: draw every entry on its own, so that cells repeat. Default false; true in `parity`. */
  replacement?: boolean;
  /** random: begin with the whole diagonal. Default false. */
  includeDiagonal?: boolean;
  /**
   * For the random pattern, the Kaiming init and the orthonormal residual, together with the layer's `name`. Default 0. Layers
   * of one size, seed and name get the same.
   */
  seed?: number;
  /** Keep only so many singular directions. */
  rank?: number;
  /** Trainable scalar γ, sigmoid(γ) scales M; γ starts at 0. Default true. */
  gate?: boolean;
  /** M at the start: zeros (default), N(0, 2/z), or given numbers in CSR order. */
  init?: 'zeros' | 'kaiming' | { m: ArrayLike<number>; gate?: number };
  /** top-k: rank alignments by magnitude (default) or by signed value. A rectangular weight is SHAPE_MISMATCH, except in `parity`. */
  absolute?: boolean;
  /**
   * What happens to the singular directions beyond `rank`: they stay as they are ('keep', default), are left out of W'
   * ('drop'), or make way for random orthonormal ones of σ = 0 ('orthonormal').
   */
  residual?: 'drop' | 'keep' | 'orthonormal';
  /**
   * Behave as the public reference code where it departs from the paper: M starts from N(0, 2/z), what lies beyond `rank`
   * is dropped, 'random' draws with replacement, 'topk' takes the largest signed entries of U · V by rows, 'orthonormal'
   * directions are not made orthogonal to those kept. An option that is given overrules it.
   */
  parity?: 'svft-ref';
}

/** The options with their defaults, checked. */
function settings(site: Pick<Site, 'op' | 'thin' | 'seed'>, options: SvftOptions) {
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

/** Given numbers for M, and for γ. */
function readInit(op: string, init: object): { m: ArrayLike<number>; gate: unknown } {
  const { m, gate } = checkOptions<{ m?: unknown; gate?: unknown }>(op, 'options.init', init, ['m', 'gate']);
  return { m: readNumbers(op, 'options.init.m', m), gate };
}

type Settings = ReturnType<typeof settings>;
type Core = NonNullable<Terms['core']>;

/**
 * SVFT (Lingam et al. 2024, Equation 1): y = x (U (diag(σ) + sigmoid(γ) M) Vᵀ)ᵀ + b with a sparse trainable M [r, r]
 * beside the frozen singular values. The parameters are 'm' [entries] in CSR order and, unless `gate: false`, 'gate' [1].
 * Options, settings of the paper, and where paper and code disagree: docs/svft.md.
 *
 * @param weight W0 [out, in], float32 or float64, on a device bfloat16 too; borrowed for the life of the layer: it may be disposed, but must not be
 * written
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, UNSUPPORTED,
 * ABORTED, DEVICE_UNAVAILABLE
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
      parameters: entriesOf(site, chosen, columns) + (chosen.gate ? 1 : 0),
      matrices: columns * (site.outFeatures + site.inFeatures),
      vectors: columns + (chosen.residual === 'keep' && columns < thin ? thin : 0),
    };
  },
);

async function design(site: Site, options: SvftOptions): Promise<Blueprint> {
  const chosen = settings(site, options);
  const keeps = chosen.residual === 'keep';
  const found = await site.decompose(chosen.rank, !keeps);
  const truncated = found.factors.s.size < site.thin;
  const factors =
    truncated && chosen.residual === 'orthonormal'
      ? await completed(site, found.factors, random(chosen.seed, 2), chosen.parity)
      : found.factors;
  const tail = truncated || found.filled ? (keeps ? 'kept' : 'gone') : 'none';
  // Directions drawn as the reference code draws them, or given, need not be orthogonal to the others.
  const skew = found.filled || (factors !== found.factors && chosen.parity);
  // A tail that is kept keeps its σ in W', too.
  const initial = tail === 'kept' ? found.sigma : factors.s;
  if (initial !== found.sigma) found.sigma.dispose();
  const whole = tail !== 'kept' || initial.size === site.thin;
  const spectrum = { initial, first: skew ? undefined : 0, whole, skew, scale: undefined };
  return blueprint(site, factors, await coreOf(site, chosen, factors), tail, spectrum);
}

/** The trainable M and γ, at their start. */
async function coreOf(site: Site, chosen: Settings, factors: Svd<MatrixDType>): Promise<Core> {
  const { op } = site;
  const { device, dtype } = site.vectors;
  const pattern = await patternOf(site, chosen, factors);
  const m = allocate(op, dtype, pattern.entries);
  const gamma = allocate(op, dtype, 1);
  await inSlices(op, initialise(op, chosen, m, gamma), site.signal);
  const parameter = (name: string, start: RealArray) =>
    site.parameter(name, fromNumbers(op, device, dtype, [start.length], start));
  const values = parameter('m', m);
  return { pattern, values, gate: chosen.gate ? parameter('gate', gamma) : undefined };
}

function* initialise(op: string, { init, gate, seed }: Settings, m: RealArray, gamma: RealArray): Work<void> {
  if (init === 'zeros') return;
  if (init === 'kaiming') {
    // kaiming_normal_ on M's values as one row: variance 2 / fan_in, fan_in = z.
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
    // Rounded to float32, a large number is infinite.
    if (!Number.isFinite(array[index])) reject(op, argument, 'a number that the dtype of the layer can hold', value);
  };
  for (let p = 0; p < m.length; p++) put(m, p, `options.init.m[${p}]`, given[p]);
  if (start !== undefined) {
    if (!gate) reject(op, 'options.init.gate', 'no value, since `gate` is false', start);
    put(gamma, 0, 'options.init.gate', start);
  }
}

/** `tail`: what lies beyond the factors' directions is nothing, or is kept beside U C Vᵀ, or is left out of W'. */
function blueprint(
  site: Site,
  factors: Svd<MatrixDType>,
  core: Core,
  tail: 'none' | 'kept' | 'gone',
  spectrum: Spectrum,
): Blueprint {
  const { u, s, vt } = factors;
  const available: Strategy[] = tail === 'kept' ? ['lowrank', 'merged'] : ['factored', 'merged'];
  // At full rank the base can carry diag(σ) as well, at a higher price: only for those who ask.
  if (tail === 'none' && site.strategy === 'lowrank') available.push('lowrank');
  const refusal =
    tail === 'kept'
      ? 'the directions beyond `rank` are not decomposed'
      : 'the weight beyond `rank` is not kept, so there is no base to add to';
  const choices = chooseFrom(site, available, refusal);
  const common = { factors: () => factors, rank: s.size, bias: site.bias, spectrum, choices };
  if (tail === 'kept' || choices.includes('lowrank')) {
    const lowrank: Terms = { ...site.noTerms, base: site.weight, u, vt, core };
    const base = { weight: () => site.weight, original: undefined, bias: site.bias };
    const owned = [u, s, vt, spectrum.initial, site.weight];
    return { ...common, base, factored: undefined, lowrank, merge: () => lowrank, owned };
  }
  const original: Terms = { ...site.noTerms, u, vt, diagonal: s };
  const factored: Terms = { ...original, core };
  const base = { weight: site.borrowedWeight, original: undefined, bias: site.bias };
  const owned = [u, s, vt, spectrum.initial];
  // Without its tail W' is no longer W0 and an update, nor do the factors make up W0.
  if (tail === 'gone') return { ...common, base, factored, lowrank: undefined, merge: () => factored, owned };
  const merge = mergeOnBase(site, factored, s);
  return { ...common, base: { ...base, original }, factored, lowrank: undefined, merge, owned };
}
