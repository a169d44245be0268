// The bias of a layer, which trains in some families.
import type { Term } from '../operator/terms.js';
import { checkBoolean, reject } from '../runtime/check.js';
import { copyOf, zeroOutput } from '../tensor/operand.js';
import type { Scoped } from '../tensor/scope.js';
import type { Vector } from '../tensor/tensor.js';
import type { PlannedSite, Site } from './site.js';

/**
 * Whether the bias trains. `wanted` is `train.bias`, and `created` is `createBias`: a layer without a bias gets one of zeros.
 */
export function trainsBias(
  { op, hasBias }: Pick<PlannedSite, 'op' | 'hasBias'>,
  wanted: unknown,
  created: unknown,
): boolean {
  const creates = checkBoolean(op, 'options.createBias', created ?? false);
  const trains = checkBoolean(op, 'options.train.bias', wanted);
  if (creates && !trains) reject(op, 'options.createBias', 'false, because `train.bias` is false', creates);
  return trains && (hasBias || creates);
}

/** The bias that the layer computes with, and the pretrained one. */
interface LayerBias {
  readonly bias: Term | undefined;
  readonly before: Vector | undefined;
  /** What the layer disposes with itself. */
  readonly owned: readonly Scoped[];
}

/** The bias as it is, or as a parameter that starts there, or at zeros. */
export function biasOfLayer(site: Site, trains: boolean): LayerBias {
  const { op, bias: given, outFeatures } = site;
  if (!trains) return { bias: given, before: given, owned: [] };
  // Copies, because the caller may write or dispose theirs.
  const copy = () => given && copyOf(op, 'options.bias', given);
  const bias = site.parameter('bias', copy() ?? zeroOutput(op, site.vectors, [outFeatures]).tensor());
  const kept = copy();
  const before = kept && site.own(kept);
  given?.dispose();
  return { bias, before, owned: before ? [before] : [] };
}
