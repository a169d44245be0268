import { checkChoice, checkInteger, checkNumber, reject } from '../check.js';
import type { Svd } from '../linalg/svd.js';
import { random } from '../random.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { memoryOf, output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import { chooseFrom, decomposeWhole, family, type Site, selectTriples } from './construct.js';
import type { Terms } from './operator.js';
import { orthonormalColumns, transposed } from './orthonormal.js';
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
  if (count !== undefined && options.spectrum !== undefined) {
    reject(op, 'options.spectrum', 'no value beside `count`', options.spectrum);
  }
  const share = checkNumber(op, 'options.perc', perc ?? 0.95, 0);
  if (share === 0 || share > 1) reject(op, 'options.perc', 'a share above 0 and up to 1', perc);
  return {
    count: count === undefined ? undefined : checkInteger(op, 'options.count', count, 1, thin),
    perc: share,
    spectrum: checkChoice(op, 'options.spectrum', options.spectrum ?? 'squared', ['squared', 'linear']),
    select: checkChoice(op, 'options.select', options.select ?? 'lowest', ['lowest', 'top']),
    basis: checkChoice(op, 'options.basis', options.basis ?? 'weight', ['weight', 'random']),
    seed: checkInteger(op, 'options.seed', options.seed ?? 0, -(2 ** 31)),
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
    const common = { rank: k, bias: site.bias };

    if (chosen.basis === 'weight' && wantsFactored(site, k)) {
      const { u, vt } = full;
      const indices = Array.from({ length: k }, (_, i) => first + i);
      const core = { pattern: SparsityPattern.fromCoordinates(indices, indices, thin), values: s };
      const factored: Terms = { u, vt, diagonal: full.s, core };
      const merge = (): Terms => {
        const base = site.borrowedWeight();
        return base ? { base, u, vt, core } : factored;
      };
      const rest = choices.filter((strategy) => strategy !== 'lowrank');
      return { ...common, factors: full, factored, merge, choices: rest, owned: [] };
    }

    const factors =
      chosen.basis === 'weight' ? selectTriples(op, full, first, k) : await randomBasis(site, full, chosen, k);
    for (const tensor of [full.u, full.s, full.vt]) tensor.dispose();
    for (const tensor of [factors.u, factors.s, factors.vt]) site.own(tensor);
    const lowrank: Terms = { base: site.weight, u: factors.u, vt: factors.vt, diagonal: s };
    const rest = choices.filter((strategy) => strategy !== 'factored');
    return { ...common, factors, lowrank, merge: () => lowrank, choices: rest, owned: [site.weight] };
  },
);

/** Whether U and V whole serve better than the base and two thin products: from k > r² / (out + in) on. */
function wantsFactored({ strategy, inFeatures, outFeatures, thin }: Site, k: number): boolean {
  if (strategy !== 'auto') return strategy === 'factored';
  const load = { inFeatures, outFeatures, tokens: 1, training: true };
  return costOf('factored', { ...load, rank: thin }) < costOf('lowrank', { ...load, rank: k });
}

async function randomBasis(site: Site, full: Svd, { seed }: { seed: number }, k: number): Promise<Svd> {
  const { op, outFeatures, inFeatures } = site;
  const { dtype } = full.u;
  const generator = random(seed);
  const u = keep(await orthonormalColumns(op, dtype, outFeatures, k, generator));
  const v = await orthonormalColumns(op, dtype, inFeatures, k, generator);
  const vt = transposed(op, v);
  v.dispose();
  // These directions have no singular values.
  return { u, s: keep(output(op, dtype, [k]).tensor()), vt };
}
