import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, decomposeWhole, family, mergeOnBase, type Site } from '../layers/construct.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Terms } from '../operator/terms.js';
import { zeroOutput } from '../tensor/operand.js';

/** SVDiff has no options of its own. */
export interface SvdiffOptions extends AdapterOptions {}

/**
 * SVDiff (Han et al.): y = x (U diag(max(0, σ + δ)) Vᵀ)ᵀ + b, where only the spectral shift 'delta' [r] is trained, from
 * zeros. Options, and how to combine the shifts of several runs: docs/svdiff.md.
 *
 * @param weight W0 [out, in], float32 or float64, on a device bfloat16 too; borrowed for the life of the layer: it may be disposed, but must not be
 * written
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, UNSUPPORTED,
 * ABORTED, DEVICE_UNAVAILABLE
 * @example
 * const layer = await svdiff(weight, { bias, name: 'blocks.0.q' });
 * layer.parameters.map(({ name }) => name); // ['blocks.0.q.delta']
 */
export const svdiff = family<SvdiffOptions>('svdiff', [], design, ({ outFeatures, inFeatures, thin }) => ({
  parameters: thin,
  matrices: thin * (outFeatures + inFeatures),
  vectors: thin,
}));

async function design(site: Site): Promise<Blueprint> {
  const choices = chooseFrom(
    site,
    ['factored', 'merged'],
    'σ + δ fills every direction, so there is no base left to add to',
  );
  const factors = await decomposeWhole(site);
  const { u, s, vt } = factors;
  const delta = site.parameter('delta', zeroOutput(site.op, site.vectors, [s.size]).tensor());
  const terms: Terms = { ...site.noTerms, u, vt, diagonal: delta, offset: s, rectified: true };
  return {
    factors: () => factors,
    rank: s.size,
    bias: site.bias,
    base: { weight: site.borrowedWeight, original: { ...site.noTerms, u, vt, diagonal: s }, bias: site.bias },
    spectrum: { initial: s, first: 0, whole: true, skew: false, scale: undefined },
    factored: terms,
    lowrank: undefined,
    merge: mergeOnBase(site, terms, s),
    choices,
    owned: [u, s, vt],
  };
}
