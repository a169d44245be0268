import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, family, mergeOnBase } from '../layers/construct.js';
import { factorShapes, type PlannedSite, type Site } from '../layers/site.js';
import { wholeSpectrum } from '../layers/telemetry.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Svd } from '../linalg/svd.js';
import { transposing } from '../linalg/transpose.js';
import { selectTriples } from '../operator/factors.js';
import { costOf, ofOneToken, type Strategy } from '../operator/planner.js';
import type { Terms } from '../operator/terms.js';
import {
  checkChoice,
  checkInteger,
  checkNumber,
  checkOptions,
  describe,
  fail,
  isRecord,
  reject,
} from '../runtime/check.js';
import { type Random, random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { allocate, type FactorDType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, zeroOutput } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import type { Vector } from '../tensor/tensor.js';
import { orthonormalRows } from './orthonormal.js';
import { entropyPerturbation } from './siva-init.js';

/** k is `count`, or follows from the variance rule with `perc`. s[0] belongs to the largest of the chosen σ. */
export interface SivaOptions extends AdapterOptions {
  /** The share of the variance that the larger, frozen singular values carry; the others are trained. Default 0.95. */
  perc?: number;
  /** The variance is σ² (default), or σ itself. */
  spectrum?: 'squared' | 'linear';
  /** k, instead of `perc`. */
  count?: number;
  /** The k smallest singular values (default), or the k largest. */
  select?: 'lowest' | 'top';
  /** The weight's own singular vectors (default), or k random orthonormal vectors on each side. */
  basis?: 'weight' | 'random';
  /**
   * Seed of the random basis, combined with the layer's `name`. Default 0. Layers of the same size, seed and name get
   * the same basis.
   */
  seed?: number;
  /**
   * Initial s: 'zeros' (default), or Theorem 1's perturbation with Σ s² = energy, which raises the entropy of the
   * spectrum most. W' then differs from W0 by ‖ΔW‖_F = √energy before the first step.
   */
  init?: 'zeros' | { energy: number };
}

/** k = max(1, n − j*), where the first j* values are the fewest that carry a share `perc` of the spectrum. */
export function varianceCount(s: ArrayLike<number>, perc: number, spectrum: 'squared' | 'linear'): number {
  const largest = s[0] || 1; // neither overflow nor underflow
  const parts = Array.from(s, (value) => (spectrum === 'squared' ? (value / largest) ** 2 : value / largest));
  const total = parts.reduce((sum, part) => sum + part, 0);
  let carried = 0;
  const cut = parts.findIndex((part) => {
    carried += part;
    return carried / total >= perc;
  });
  return Math.max(1, cut < 0 ? 1 : parts.length - (cut + 1));
}

function settings(site: Pick<Site, 'op' | 'thin' | 'seed'>, options: SivaOptions) {
  const { op, thin } = site;
  const { count, perc } = options;
  if (count !== undefined && perc !== undefined) reject(op, 'options.perc', 'no value together with `count`', perc);
  const share = checkNumber(op, 'options.perc', perc ?? 0.95, 0);
  if (share === 0 || share > 1) reject(op, 'options.perc', 'a share above 0 and up to 1', perc);
  return {
    count: count === undefined ? undefined : checkInteger(op, 'options.count', count, 1, thin),
    perc: share,
    spectrum: checkChoice(op, 'options.spectrum', options.spectrum ?? 'squared', ['squared', 'linear']),
    select: checkChoice(op, 'options.select', options.select ?? 'lowest', ['lowest', 'top']),
    basis: checkChoice(op, 'options.basis', options.basis ?? 'weight', ['weight', 'random']),
    seed: site.seed(options.seed),
    energy: readEnergy(op, options),
  };
}

/** The initial Σ s²; undefined for zeros. */
function readEnergy(op: string, { init = 'zeros', basis }: SivaOptions): number | undefined {
  if (!isRecord(init)) {
    if (init !== 'zeros') reject(op, 'options.init', `'zeros' or { energy }`, init);
    return undefined;
  }
  if (basis === 'random') reject(op, 'options.init', `'zeros', because a random basis has no singular values`, init);
  const { energy } = checkOptions(op, 'options.init', init, ['energy']);
  if (typeof energy !== 'number' || !Number.isFinite(energy) || energy <= 0) {
    reject(op, 'options.init.energy', 'a finite number above 0', energy);
  }
  return energy;
}

/**
 * SiVA, Singular Value Adaptation (Section 3.3): y = x W0ᵀ + x (U_k diag(s) V_kᵀ)ᵀ + b. U_k and V_k belong to the k
 * smallest singular values. The only parameter is 's' [k]. docs/siva.md has the options, the rule for k, and what the
 * paper leaves open.
 *
 * @param weight W0 [out, in], float32, float64 or bfloat16. The layer borrows it: you may dispose it,
 * but do not write it while the layer lives.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, BASE_MISMATCH,
 * DISPOSED, NON_FINITE, NOT_CONVERGED, UNSUPPORTED, ABORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * const layer = await siva(weight, { perc: 0.95 });
 * layer.rank; // k
 */
export const siva = family<SivaOptions>(
  'siva',
  ['perc', 'spectrum', 'count', 'select', 'basis', 'seed', 'init'],
  design,
  (site, options) => {
    const { count = Number.NaN, basis } = settings(site, options);
    const whole = basis === 'weight' && wantsFactored(site, count);
    const columns = whole ? site.thin : count;
    return {
      parameters: count,
      matrices: factorShapes(site, columns),
      vectors: site.thin + (whole ? 0 : count),
    };
  },
);

function* design(site: Site, options: SivaOptions): Work<Blueprint> {
  const chosen = settings(site, options);
  const { op, thin } = site;
  const { factors: given, sigma: all } = yield* site.decompose();
  const sigma = numbersOf(op, 'factors.s', all);
  if (sigma.length < thin) {
    fail('SHAPE_MISMATCH', op, site.factorsArgument, `all ${thin} singular triples`, describe(sigma.length));
  }
  const k = chosen.count ?? varianceCount(sigma, chosen.perc, chosen.spectrum);
  site.settle({ count: k, perc: undefined, spectrum: undefined });
  const first = chosen.select === 'top' ? 0 : thin - k;
  const { device, dtype } = site.vectors;
  const start = allocate(op, dtype, k);
  if (chosen.energy !== undefined) {
    start.set(entropyPerturbation(sigma, first, k, chosen.energy));
    if (!start.every(Number.isFinite)) {
      reject(op, 'options.init.energy', `an energy whose square root is finite in ${dtype}`, chosen.energy);
    }
  }
  const s = site.parameter('s', fromNumbers(op, device, dtype, [k], start));

  const ownBasis = chosen.basis === 'weight';
  const offered: Strategy[] = ownBasis ? ['lowrank', 'factored', 'merged'] : ['lowrank', 'merged'];
  const choices = chooseFrom(site, offered, 'random directions are not singular vectors of the weight');
  // A saved layer may come with only the triples that it trains.
  const isSaved = given.s.size < thin;
  if (isSaved && (given.s.size !== k || !ownBasis || site.strategy === 'factored')) {
    fail('SHAPE_MISMATCH', op, site.factorsArgument, `all ${thin} singular triples`, describe(given.s.size));
  }
  if (ownBasis && !isSaved && wantsFactored(site, k)) {
    all.dispose();
    return factoredBlueprint(site, given, { first, s, choices });
  }
  const own = () => (isSaved ? given : selectTriples(op, given, first, k));
  const factors = ownBasis ? own() : yield* randomBasis(site, k, random(chosen.seed));
  if (!isSaved) for (const tensor of Object.values(given)) tensor.dispose();
  return lowrankBlueprint(site, all, factors, { first: ownBasis ? first : undefined, s, choices });
}

interface Trained {
  /** Index of the first trained singular triple of the weight; undefined for a random basis. */
  readonly first: number | undefined;
  readonly s: LayerParameter;
  readonly choices: readonly Strategy[];
}

/** 'factored': all of U and V, with σ + s in the core. */
function factoredBlueprint(site: Site, full: Svd<FactorDType>, { first = 0, s, choices }: Trained): Blueprint {
  const { op, thin, bias } = site;
  const { u, vt } = full;
  const rank = s.value.size;
  const indices = Array.from({ length: rank }, (_, i) => first + i);
  const core = { pattern: SparsityPattern.fromCoordinates(indices, indices, thin), values: s, gate: undefined };
  const original: Terms = { ...site.noTerms, u, vt, diagonal: full.s };
  const factored: Terms = { ...original, core };
  return {
    rank,
    bias,
    base: { weight: site.borrowedWeight, derived: false, original, bias },
    spectrum: wholeSpectrum(full.s),
    // The layer uses all triples. The trained ones are copied only if the caller asks for them.
    factors: () => selectTriples(op, full, first, rank),
    factored,
    lowrank: undefined,
    merge: mergeOnBase(site, factored, full.s),
    choices: choices.filter((strategy) => strategy !== 'lowrank'),
    owned: [full.u, full.s, full.vt],
  };
}

/** 'lowrank': the base, and only the k directions. */
function lowrankBlueprint(
  site: Site,
  sigma: Vector,
  factors: Svd<FactorDType>,
  { first, s, choices }: Trained,
): Blueprint {
  const { bias } = site;
  const { weight, derived } = site.base();
  for (const tensor of Object.values(factors)) site.own(tensor);
  const lowrank: Terms = { ...site.noTerms, base: weight, u: factors.u, vt: factors.vt, diagonal: s };
  return {
    rank: s.value.size,
    bias,
    base: { weight: () => weight, derived, original: undefined, bias },
    spectrum: { initial: sigma, first, whole: true, skew: false, scale: undefined },
    factors: () => factors,
    factored: undefined,
    lowrank,
    merge: () => lowrank,
    choices: choices.filter((strategy) => strategy !== 'factored'),
    owned: [...Object.values(factors), sigma, weight],
  };
}

/** Whether all of U and V is cheaper than the base and two thin products, which is so for k > r² / (out + in). */
function wantsFactored({ strategy, inFeatures, outFeatures, thin }: Omit<PlannedSite, 'hasBias'>, k: number): boolean {
  if (strategy !== 'auto') return strategy === 'factored';
  const load = { ...ofOneToken, inFeatures, outFeatures };
  return costOf('factored', { ...load, rank: thin }) < costOf('lowrank', { ...load, rank: k });
}

/** k random orthonormal directions. They have no singular values, so s is zero. */
function* randomBasis(site: Site, k: number, generator: Random): Work<Svd<FactorDType>> {
  const { op, own, outFeatures, inFeatures } = site;
  const outputs = own(yield* orthonormalRows(site, k, outFeatures, generator));
  const inputs = own(yield* orthonormalRows(site, k, inFeatures, generator));
  const [left, vt] = site.noTerms.transposed ? [inputs, outputs] : [outputs, inputs];
  const u = own(yield* transposing(op, left));
  left.dispose();
  return { u, s: zeroOutput(op, site.vectors, [k]).tensor(), vt };
}
