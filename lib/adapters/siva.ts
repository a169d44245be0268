import { checkChoice, checkInteger, checkNumber, checkSeed, reject } from '../check.js';
import type { Svd } from '../linalg/svd.js';
import { type Random, random } from '../random.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { memoryOf, output } from '../tensor/operand.js';
import { chooseFrom, decomposeWhole, family, mergeOnBase, type Site } from './construct.js';
import { selectTriples } from './factors.js';
import type { Terms } from './operator.js';
import { orthonormalRows, transposed } from './orthonormal.js';
import { costOf, type Strategy } from './planner.js';
import type { AdapterOptions } from './types.js';

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
  /** For the random basis. Default 0. */
  seed?: number;
}

/** k = max(1, n − j*), where the first j* values are the fewest that carry a share `perc` of the spectrum. */
export function varianceCount(s: ArrayLike<number>, perc: number, spectrum: 'squared' | 'linear'): number {
  const parts = Array.from(s, (value) => (spectrum === 'squared' ? value * value : value));
  const total = parts.reduce((sum, part) => sum + part, 0);
  let carried = 0;
  const cut = parts.findIndex((part) => {
    carried += part;
    return carried / total >= perc;
  });
  return Math.max(1, cut < 0 ? 1 : parts.length - (cut + 1));
}

function settings(site: Site, options: SivaOptions) {
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
    seed: checkSeed(op, 'options.seed', options.seed ?? 0),
  };
}

/**
 * SiVA: y = x W0ᵀ + x (U_k diag(s) V_kᵀ)ᵀ + b, where U_k and V_k belong to the k smallest singular values and only
 * 's' [k] is trained, from zero.
 *
 * @param weight W0 [out, in], float32 or float64; borrowed for the life of the layer: it must not be written
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, UNSUPPORTED,
 * ABORTED, DEVICE_UNAVAILABLE
 * @example
 * const layer = await siva(weight, { perc: 0.95 });
 * layer.rank; // k
 */
export const siva = family<SivaOptions>(
  'siva',
  ['perc', 'spectrum', 'count', 'select', 'basis', 'seed'],
  async (site, options) => {
    const chosen = settings(site, options);
    const { op, thin } = site;
    const full = await decomposeWhole(site);
    const k = chosen.count ?? varianceCount(memoryOf(op, 'factors.s', full.s), chosen.perc, chosen.spectrum);
    const first = chosen.select === 'top' ? 0 : thin - k;
    const s = site.parameter('s', output(op, full.u.dtype, [k]).tensor());
    const offered: Strategy[] = chosen.basis === 'random' ? ['lowrank', 'merged'] : ['lowrank', 'factored', 'merged'];
    const choices = chooseFrom(site, offered, 'a random basis does not diagonalise the weight');

    if (chosen.basis === 'weight' && wantsFactored(site, k)) {
      const { u, vt } = full;
      const indices = Array.from({ length: k }, (_, i) => first + i);
      const core = { pattern: SparsityPattern.fromCoordinates(indices, indices, thin), values: s };
      const factored: Terms = { u, vt, diagonal: full.s, core };
      return {
        rank: k,
        bias: site.bias,
        // All triples are in use; those that train are copied only for a caller who asks.
        factors: () => selectTriples(op, full, first, k),
        factored,
        merge: mergeOnBase(site, factored),
        choices: choices.filter((strategy) => strategy !== 'lowrank'),
        owned: [full.u, full.s, full.vt],
      };
    }

    const factors =
      chosen.basis === 'weight' ? selectTriples(op, full, first, k) : await randomBasis(site, k, random(chosen.seed));
    for (const tensor of [full.u, full.s, full.vt]) tensor.dispose();
    const { u, vt } = factors;
    for (const tensor of [u, factors.s, vt]) site.own(tensor);
    const lowrank: Terms = { base: site.weight, u, vt, diagonal: s };
    return {
      rank: k,
      bias: site.bias,
      factors: () => factors,
      lowrank,
      merge: () => lowrank,
      choices: choices.filter((strategy) => strategy !== 'factored'),
      owned: [u, factors.s, vt, site.weight],
    };
  },
);

/** Whether U and V whole serve better than the base and two thin products: from k > r² / (out + in) on. */
function wantsFactored({ strategy, inFeatures, outFeatures, thin }: Site, k: number): boolean {
  if (strategy !== 'auto') return strategy === 'factored';
  const load = { inFeatures, outFeatures, tokens: 1, training: true, trainsCore: true };
  return costOf('factored', { ...load, rank: thin }) < costOf('lowrank', { ...load, rank: k });
}

/** As many random orthonormal directions; they have no singular values. */
async function randomBasis(site: Site, k: number, generator: Random): Promise<Svd> {
  const { op, own, dtype, outFeatures, inFeatures } = site;
  const ut = own(await orthonormalRows(site, k, outFeatures, generator));
  const vt = own(await orthonormalRows(site, k, inFeatures, generator));
  const u = own(transposed(op, ut));
  ut.dispose();
  return { u, s: output(op, dtype, [k]).tensor(), vt };
}
