import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, family, mergeOnBase, onWholeBase, wholeStrategies } from '../layers/construct.js';
import { decomposeWhole, factorShapes, type Site } from '../layers/site.js';
import { wholeSpectrum } from '../layers/telemetry.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Terms } from '../operator/terms.js';
import type { Work } from '../runtime/slices.js';
import { zeroOutput } from '../tensor/operand.js';

/** SVDiff has only the options of every family. */
export interface SvdiffOptions extends AdapterOptions {}

/**
 * SVDiff (Han et al. 2023, Equation 2): y = x (U diag(max(0, σ + δ)) Vᵀ)ᵀ + b. The only parameter is the spectral shift
 * δ, 'delta' [r], which starts at 0. docs/svdiff.md has the options, and says how to combine the shifts of several
 * runs.
 *
 * @param weight W0 [out, in], float32, float64 or bfloat16. The layer borrows it: you may dispose it,
 * but do not write it while the layer lives.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, BASE_MISMATCH,
 * DISPOSED, NON_FINITE, NOT_CONVERGED, UNSUPPORTED, ABORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * const layer = await svdiff(weight, { bias, name: 'blocks.0.q' });
 * layer.parameters.map(({ name }) => name); // ['blocks.0.q.delta']
 */
export const svdiff = family<SvdiffOptions>('svdiff', [], design, (site) => ({
  parameters: site.thin,
  matrices: factorShapes(site, site.thin),
  vectors: site.thin,
}));

function* design(site: Site): Work<Blueprint> {
  const choices = chooseFrom(
    site,
    wholeStrategies(site),
    'σ + δ covers all singular triples, so there is no base to add to',
  );
  const factors = yield* decomposeWhole(site);
  const { u, s, vt } = factors;
  const delta = site.parameter('delta', zeroOutput(site.op, site.vectors, [s.size]).tensor());
  const terms: Terms = { ...site.noTerms, u, vt, diagonal: delta, offset: s, rectified: true };
  if (choices.includes('lowrank')) {
    const { weight, ...parts } = onWholeBase(site, terms, s);
    const common = { factors: () => factors, rank: s.size, bias: site.bias, spectrum: wholeSpectrum(s), choices };
    return { ...common, ...parts, owned: [u, s, vt, weight] };
  }
  return {
    factors: () => factors,
    rank: s.size,
    bias: site.bias,
    base: {
      weight: site.borrowedWeight,
      derived: false,
      original: { ...site.noTerms, u, vt, diagonal: s },
      bias: site.bias,
    },
    spectrum: wholeSpectrum(s),
    factored: terms,
    lowrank: undefined,
    merge: mergeOnBase(site, terms, s),
    choices,
    owned: [u, s, vt],
  };
}
