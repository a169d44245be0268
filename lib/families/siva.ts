import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, decomposeWhole, family, mergeOnBase, type PlannedSite, type Site } from '../layers/construct.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Svd } from '../linalg/svd.js';
import { transposed } from '../linalg/transpose.js';
import { selectTriples } from '../operator/factors.js';
import { costOf, type Strategy } from '../operator/planner.js';
import type { Terms } from '../operator/terms.js';
import { checkChoice, checkInteger, checkNumber, checkOptions, isRecord, reject } from '../runtime/check.js';
import { type Random, random } from '../runtime/random.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { allocate, type MatrixDType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, zeroOutput } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import { orthonormalRows } from './orthonormal.js';
import { entropyPerturbation } from './siva-init.js';

/** k = `count`, or by the variance rule with `perc` (default 0.95); s[0] belongs to the largest of the chosen σ. */
export interface SivaOptions extends AdapterOptions {
  /** The share of variance that the frozen, larger singular values carry: the rest is trained. Default 0.95. */
  perc?: number;
  /** Variance as σ² (default), or σ itself. */
  spectrum?: 'squared' | 'linear';
  /** k itself. */
  count?: number;
  /** The smallest singular values (default), or as many of the largest. */
  select?: 'lowest' | 'top';
  /** The weight's own singular vectors (default), or as many random orthonormal ones. */
  basis?: 'weight' | 'random';
  /** For the random basis, together with the layer's `name`. Default 0. Layers of one size, seed and name get the same. */
  seed?: number;
  /**
   * s at the start: zeros (default), or Theorem 1's perturbation with Σ s² = energy, which raises the entropy of the
   * spectrum most; W' then differs from W0 by ‖ΔW‖_F = √energy at once.
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
  if (count !== undefined && perc !== undefined) reject(op, 'options.perc', 'no value beside `count`', perc);
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

/** Σ s² at the start; undefined for zeros. */
function readEnergy(op: string, { init = 'zeros', basis }: SivaOptions): number | undefined {
  if (!isRecord(init)) {
    if (init !== 'zeros') reject(op, 'options.init', `'zeros' or { energy }`, init);
    return undefined;
  }
  if (basis === 'random') reject(op, 'options.init', `'zeros' with a random basis, which has no singular values`, init);
  const { energy } = checkOptions(op, 'options.init', init, ['energy']);
  if (typeof energy !== 'number' || !Number.isFinite(energy) || energy <= 0) {
    reject(op, 'options.init.energy', 'a finite number above 0', energy);
  }
  return energy;
}

/**
 * SiVA (Section 3.3): y = x W0ᵀ + x (U_k diag(s) V_kᵀ)ᵀ + b, where U_k and V_k belong to the k smallest singular values
 * and only 's' [k] is trained. Options, the rule for k, and what the paper leaves open: docs/siva.md.
 *
 * @param weight W0 [out, in], float32 or float64, on a device bfloat16 too; borrowed for the life of the layer: it may be disposed, but must not be
 * written
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, UNSUPPORTED,
 * ABORTED, DEVICE_UNAVAILABLE
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
      matrices: columns * (site.outFeatures + site.inFeatures),
      vectors: site.thin + (whole ? 0 : count),
    };
  },
);

async function design(site: Site, options: SivaOptions): Promise<Blueprint> {
  const chosen = settings(site, options);
  const { op, thin } = site;
  const full = await decomposeWhole(site);
  const sigma = numbersOf(op, 'factors.s', full.s);
  const k = chosen.count ?? varianceCount(sigma, chosen.perc, chosen.spectrum);
  const first = chosen.select === 'top' ? 0 : thin - k;
  const { device, dtype } = site.vectors;
  const start = allocate(op, dtype, k);
  if (chosen.energy !== undefined) {
    start.set(entropyPerturbation(sigma, first, k, chosen.energy));
    if (!start.every(Number.isFinite)) {
      reject(op, 'options.init.energy', `an energy whose root ${dtype} can hold`, chosen.energy);
    }
  }
  const s = site.parameter('s', fromNumbers(op, device, dtype, [k], start));

  const ownBasis = chosen.basis === 'weight';
  const offered: Strategy[] = ownBasis ? ['lowrank', 'factored', 'merged'] : ['lowrank', 'merged'];
  const choices = chooseFrom(site, offered, 'a random basis does not diagonalise the weight');
  if (ownBasis && wantsFactored(site, k)) return factoredBlueprint(site, full, { first, s, choices });
  const factors = ownBasis ? selectTriples(op, full, first, k) : await randomBasis(site, k, random(chosen.seed));
  return lowrankBlueprint(site, full, factors, { first: ownBasis ? first : undefined, s, choices });
}

interface Trained {
  /** Which of the weight's directions is the first that trains; undefined for other directions. */
  readonly first: number | undefined;
  readonly s: LayerParameter;
  readonly choices: readonly Strategy[];
}

/** U and V whole, with s beside σ in the core. */
function factoredBlueprint(site: Site, full: Svd<MatrixDType>, { first = 0, s, choices }: Trained): Blueprint {
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
    base: { weight: site.borrowedWeight, original, bias },
    spectrum: { initial: full.s, first: 0, whole: true, skew: false, scale: undefined },
    // All triples are in use; those that train are copied only for a caller who asks.
    factors: () => selectTriples(op, full, first, rank),
    factored,
    lowrank: undefined,
    merge: mergeOnBase(site, factored, full.s),
    choices: choices.filter((strategy) => strategy !== 'lowrank'),
    owned: [full.u, full.s, full.vt],
  };
}

/** The base, and the k directions alone. */
function lowrankBlueprint(
  site: Site,
  full: Svd<MatrixDType>,
  factors: Svd<MatrixDType>,
  { first, s, choices }: Trained,
): Blueprint {
  const { bias, weight } = site;
  for (const tensor of [full.u, full.vt]) tensor.dispose();
  for (const tensor of Object.values(factors)) site.own(tensor);
  const lowrank: Terms = { ...site.noTerms, base: weight, u: factors.u, vt: factors.vt, diagonal: s };
  return {
    rank: s.value.size,
    bias,
    base: { weight: () => weight, original: undefined, bias },
    spectrum: { initial: full.s, first, whole: true, skew: false, scale: undefined },
    factors: () => factors,
    factored: undefined,
    lowrank,
    merge: () => lowrank,
    choices: choices.filter((strategy) => strategy !== 'factored'),
    owned: [...Object.values(factors), full.s, weight],
  };
}

/** Whether U and V whole serve better than the base and two thin products: from k > r² / (out + in) on. */
function wantsFactored({ strategy, inFeatures, outFeatures, thin }: Omit<PlannedSite, 'hasBias'>, k: number): boolean {
  if (strategy !== 'auto') return strategy === 'factored';
  const load = {
    inFeatures,
    outFeatures,
    tokens: 1,
    training: true,
    trainsCore: true,
    microBatches: 1,
    built: false,
    denseCore: false,
  };
  return costOf('factored', { ...load, rank: thin }) < costOf('lowrank', { ...load, rank: k });
}

/** As many random orthonormal directions; they have no singular values. */
async function randomBasis(site: Site, k: number, generator: Random): Promise<Svd<MatrixDType>> {
  const { op, own, outFeatures, inFeatures } = site;
  const outputs = own(await orthonormalRows(site, k, outFeatures, generator));
  const inputs = own(await orthonormalRows(site, k, inFeatures, generator));
  const [left, vt] = site.noTerms.transposed ? [inputs, outputs] : [outputs, inputs];
  const u = own(await transposed(site, left));
  left.dispose();
  return { u, s: zeroOutput(op, site.vectors, [k]).tensor(), vt };
}
