import { checkBoolean, checkOptions, reject } from '../check.js';
import { copyOf } from '../tensor/operand.js';
import { chooseFrom, decomposeWhole, family } from './construct.js';
import type { Terms } from './operator.js';
import type { AdapterOptions } from './types.js';

export interface VectorFitOptions extends AdapterOptions {
  /** What trains: both by default. A layer without a bias trains none. */
  train?: { sigma?: boolean; bias?: boolean };
}

/**
 * VectorFit: y = x (U diag(σ) Vᵀ)ᵀ + b with σ and b trained in place, from the weight's singular values and its bias.
 * The parameters are 'sigma' [r] and, where there is a bias, 'bias' [out]. See `AdaptiveVectorFreezing`.
 *
 * @param weight W0 [out, in], float32 or float64
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE, UNSUPPORTED,
 * ABORTED, DEVICE_UNAVAILABLE
 * @example
 * const layer = await vectorFit(weight, { bias, name: 'blocks.0.q' });
 * layer.parameters.map(({ name }) => name); // ['blocks.0.q.sigma', 'blocks.0.q.bias']
 */
export const vectorFit = family<VectorFitOptions>('vectorfit', ['train'], async (site, options) => {
  const { op } = site;
  const train = checkOptions(op, 'options.train', options.train, ['sigma', 'bias']);
  const trainsSigma = checkBoolean(op, 'options.train.sigma', train.sigma ?? true);
  const trainsBias = checkBoolean(op, 'options.train.bias', train.bias ?? true) && site.bias !== undefined;
  if (!trainsSigma && !trainsBias) {
    reject(op, 'options.train', 'something to train: sigma, or the bias of a layer that has one', train);
  }
  const choices = chooseFrom(
    site,
    ['factored', 'merged'],
    'σ fills every direction, so there is no base left to add to',
  );
  const factors = await decomposeWhole(site);
  const { u, s, vt } = factors;

  const sigma = trainsSigma ? site.parameter('sigma', copyOf(op, 'factors.s', s)) : s;
  const bias = trainsBias && site.bias ? site.parameter('bias', copyOf(op, 'options.bias', site.bias)) : site.bias;
  if (trainsBias) site.bias?.dispose();
  const terms: Terms = { u, vt, diagonal: sigma };
  return {
    factors: () => factors,
    rank: s.size,
    bias,
    factored: terms,
    merge: () => terms,
    choices,
    owned: [u, s, vt],
  };
});
