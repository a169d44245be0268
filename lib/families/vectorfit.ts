import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, family, mergeOnBase } from '../layers/construct.js';
import { decomposeWhole, type PlannedSite, type Site } from '../layers/site.js';
import { wholeSpectrum } from '../layers/telemetry.js';
import type { AdapterOptions } from '../layers/types.js';
import type { Terms } from '../operator/terms.js';
import { checkBoolean, checkOptions, reject } from '../runtime/check.js';
import type { Work } from '../runtime/slices.js';
import type { Real } from '../tensor/dtype.js';
import { copyOf, zeroOutput } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';

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
 * @param weight W0 [out, in], float32 or float64; on a device also bfloat16. The layer borrows it: you may dispose it,
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
    const { thin, outFeatures, inFeatures, hasBias } = site;
    return {
      parameters: (sigma ? thin : 0) + (bias ? outFeatures : 0),
      matrices: thin * (outFeatures + inFeatures),
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
    ['factored', 'merged'],
    'σ covers all singular triples, so there is no base to add to',
  );
  const factors = yield* decomposeWhole(site);
  const { u, s, vt } = factors;

  const sigma = trains.sigma ? site.parameter('sigma', copyOf(op, 'factors.s', s)) : s;
  const bias = trains.bias ? site.parameter('bias', startOf(site)) : site.bias;
  // A copy of the pretrained bias, because the caller may write or dispose it.
  const baseBias = trains.bias && site.bias ? site.own(copyOf(op, 'options.bias', site.bias)) : site.bias;
  if (trains.bias) site.bias?.dispose();
  const owned = trains.bias && baseBias ? [u, s, vt, baseBias] : [u, s, vt];
  const terms: Terms = { ...site.noTerms, u, vt, diagonal: sigma, rectified };
  return {
    factors: () => factors,
    rank: s.size,
    bias,
    base: {
      weight: site.borrowedWeight,
      derived: false,
      original: { ...site.noTerms, u, vt, diagonal: s },
      bias: baseBias,
    },
    spectrum: wholeSpectrum(s),
    factored: terms,
    lowrank: undefined,
    merge: mergeOnBase(site, terms, s),
    choices,
    owned,
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
  const wanted = checkBoolean(op, 'options.train.bias', train.bias ?? true);
  const create = checkBoolean(op, 'options.createBias', options.createBias ?? false);
  if (create && !wanted) reject(op, 'options.createBias', 'false, because `train.bias` is false', create);
  const trainsBias = wanted && (hasBias || create);
  if (!sigma && !trainsBias) {
    reject(op, 'options.train', 'sigma: true, or bias: true for a layer with a bias', Object.entries(train).flat());
  }
  return { sigma, bias: trainsBias };
}

/** The initial b: a copy of the layer's bias, or zeros. */
function startOf(site: Site): Tensor<Real> {
  const { op, bias, outFeatures } = site;
  return bias ? copyOf(op, 'options.bias', bias) : zeroOutput(op, site.vectors, [outFeatures]).tensor();
}
