import type { Site } from '../layers/site.js';
import type { Svd } from '../linalg/svd.js';
import { transposing } from '../linalg/transpose.js';
import type { Random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { allocate, type FactorDType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf, placed } from '../tensor/operand.js';
import type { FactorMatrix } from '../tensor/tensor.js';
import { orthonormalRows, stackRows } from './orthonormal.js';

/**
 * Completes truncated factors to full rank with random orthonormal directions of σ = 0. The directions are orthogonal
 * to U and V, unless `raw`: the reference code does not orthogonalise them.
 */
export function* completed(site: Site, kept: Svd<FactorDType>, random: Random, raw: boolean): Work<Svd<FactorDType>> {
  const { op, own, device, dtype, outFeatures, inFeatures, thin } = site;
  const wide = (tensor: FactorMatrix) => own(placed(op, tensor, { device, dtype }));
  const found = { u: wide(kept.u), s: own(kept.s.share()), vt: wide(kept.vt) };
  const missing = thin - found.s.size;
  const ut = own(yield* transposing(op, found.u));
  // Those of the outputs are drawn first, whatever the layout.
  const [outputs, inputs] = site.noTerms.transposed ? [found.vt, ut] : [ut, found.vt];
  const moreOutputs = own(yield* orthonormalRows(site, missing, outFeatures, random, raw ? undefined : outputs));
  const moreInputs = own(yield* orthonormalRows(site, missing, inFeatures, random, raw ? undefined : inputs));
  const [moreUt, moreVt] = site.noTerms.transposed ? [moreInputs, moreOutputs] : [moreOutputs, moreInputs];
  const allUt = own(stackRows(op, ut, moreUt));
  const s = allocate(op, found.s.dtype, thin);
  s.set(numbersOf(op, 'factors.s', found.s));
  const u = own(yield* transposing(op, allUt));
  const vt = own(stackRows(op, found.vt, moreVt));
  const result = {
    u: own(placed<FactorDType>(op, u, { device, dtype: kept.u.dtype })),
    s: own(fromNumbers(op, device, found.s.dtype, [thin], s)),
    vt: own(placed<FactorDType>(op, vt, { device, dtype: kept.vt.dtype })),
  };
  for (const tensor of [...Object.values(kept), ...Object.values(found), ut, moreUt, moreVt, allUt, u, vt]) {
    tensor.dispose();
  }
  return result;
}
