import type { Site } from '../layers/site.js';
import type { Svd } from '../linalg/svd.js';
import { transposing } from '../linalg/transpose.js';
import type { Random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { allocate, type MatrixDType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf } from '../tensor/operand.js';
import { orthonormalRows, stackRows } from './orthonormal.js';

/**
 * Completes truncated factors to full rank with random orthonormal directions of σ = 0. The directions are orthogonal
 * to U and V, unless `raw`: the reference code does not orthogonalise them.
 */
export function* completed(site: Site, found: Svd<MatrixDType>, random: Random, raw: boolean): Work<Svd<MatrixDType>> {
  const { op, own, outFeatures, inFeatures, thin } = site;
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
  const result = {
    u: own(yield* transposing(op, allUt)),
    s: own(fromNumbers(op, site.device, found.s.dtype, [thin], s)),
    vt: own(stackRows(op, found.vt, moreVt)),
  };
  for (const tensor of [found.u, found.s, found.vt, ut, moreUt, moreVt, allUt]) tensor.dispose();
  return result;
}
