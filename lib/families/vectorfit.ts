import type { Blueprint } from '../layers/adapter.js';
import { biasOfLayer, trainsBias } from '../layers/bias.js';
import { chooseFrom, family, mergeOnBase, onWholeBase, wholeStrategies } from '../layers/construct.js';
import { decomposeWhole, factorShapes, type PlannedSite, type Site } from '../layers/site.js';
import { wholeSpectrum } from '../layers/telemetry.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Terms } from '../operator/terms.js';
import { checkBoolean, checkOptions, reject } from '../runtime/check.js';
import type { Work } from '../runtime/slices.js';
import { copyOf } from '../tensor/operand.js';

export interface VectorFitOptions extends AdapterOptions {
  /** Which vectors train. Default: both. A layer without a bias trains σ alone, unless `createBias`. */
  train?: { sigma?: boolean; bias?: boolean };
  /** Give a layer without a bias a trainable bias of zeros. Default false, as in the paper. */
  createBias?: boolean;
  /** Use max(0, σ) instead of σ, as SVDiff does: a σ at or below 0 gets no gradient. Default false. */
  nonnegative?: boolean;
}

/**
 * VectorFit (Hegde et al., Equations 1 to 3): y = x (U diag(σ) Vᵀ)ᵀ + b. σ and b are trained; they start at the
 * weight's singular values and the layer's bias. The parameters are 'sigma' [r] and, if there is a bias, 'bias' [out].
 * `AdaptiveVectorFreezing` freezes the vectors that move most. docs/vectorfit.md has the options, and the variants and
 * settings of the paper.
 *
 * @param weight W0 [out, in], float32, float64 or bfloat16. The layer borrows it: you may dispose it,
 * but do not write it while the layer lives.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, BASE_MISMATCH,
 * DISPOSED, NON_FINITE, NOT_CONVERGED, UNSUPPORTED, ABORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * const layer = await vectorFit(weight, { bias, name: 'blocks.0.q' });
 * layer.parameters.map(({ name }) => name); // ['blocks.0.q.sigma', 'blocks.0.q.bias']
 */
export const vectorFit = family<VectorFitOptions>(
  'vectorFit',
  ['train', 'createBias', 'nonnegative'],
  design,
  (site, options) => {
    const { sigma, bias } = readTrain(site, options);
    readRectified(site, options);
    const { thin, outFeatures, hasBias } = site;
    return {
      parameters: (sigma ? thin : 0) + (bias ? outFeatures : 0),
      matrices: factorShapes(site, thin),
      vectors: thin + (bias && hasBias ? outFeatures : 0),
    };
  },
);

function* design(site: Site, options: VectorFitOptions): Work<Blueprint> {
  const { op } = site;
  const rectified = readRectified(site, options);
  const trains = readTrain({ op, hasBias: site.bias !== undefined }, options);
  const choices = chooseFrom(
    site,
    wholeStrategies(site),
    'σ covers all singular triples, so there is no base to add to',
  );
  const factors = yield* decomposeWhole(site);
  const { u, s, vt } = factors;

  const sigma = trains.sigma ? site.parameter('sigma', copyOf(op, 'factors.s', s)) : s;
  const { bias, before, owned } = biasOfLayer(site, trains.bias);
  const terms: Terms = { ...site.noTerms, u, vt, diagonal: sigma, rectified };
  if (choices.includes('lowrank')) {
    const { weight, ...parts } = onWholeBase(site, terms, s);
    const common = { factors: () => factors, rank: s.size, bias, spectrum: wholeSpectrum(s), choices };
    return { ...common, ...parts, base: { ...parts.base, bias: before }, owned: [u, s, vt, weight, ...owned] };
  }
  return {
    factors: () => factors,
    rank: s.size,
    bias,
    base: {
      weight: site.borrowedWeight,
      derived: false,
      original: { ...site.noTerms, u, vt, diagonal: s },
      bias: before,
    },
    spectrum: wholeSpectrum(s),
    factored: terms,
    lowrank: undefined,
    merge: mergeOnBase(site, terms, s),
    choices,
    owned: [u, s, vt, ...owned],
  };
}

function readRectified({ op }: Pick<Site, 'op'>, { nonnegative }: VectorFitOptions): boolean {
  return checkBoolean(op, 'options.nonnegative', nonnegative ?? false);
}

/** Which of the two train. */
function readTrain(
  { op, hasBias }: Pick<PlannedSite, 'op' | 'hasBias'>,
  options: VectorFitOptions,
): { sigma: boolean; bias: boolean } {
  const train = checkOptions(op, 'options.train', options.train, ['sigma', 'bias']);
  const sigma = checkBoolean(op, 'options.train.sigma', train.sigma ?? true);
  const bias = trainsBias({ op, hasBias }, train.bias ?? true, options.createBias);
  if (!sigma && !bias) {
    reject(op, 'options.train', 'sigma: true, or bias: true for a layer with a bias', Object.entries(train).flat());
  }
  return { sigma, bias };
}
