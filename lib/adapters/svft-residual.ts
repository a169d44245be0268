import type { Svd } from '../linalg/svd.js';
import type { Random } from '../random.js';
import { memoryOf, output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Site } from './construct.js';
import { concatColumns, orthonormalColumns, transposed } from './orthonormal.js';

/**
 * Truncated factors, completed to full rank with random orthonormal directions of σ = 0. By default these are
 * orthogonal to U_R and V_R; `raw` leaves that out, as the reference code does.
 */
export async function completed(site: Site, found: Svd, random: Random, raw: boolean): Promise<Svd> {
  const { op, outFeatures, inFeatures, thin } = site;
  const { dtype } = found.u;
  const missing = thin - found.s.size;
  const v = transposed(op, found.vt);
  const moreU = await orthonormalColumns(op, dtype, outFeatures, missing, random, raw ? undefined : found.u);
  const moreV = await orthonormalColumns(op, dtype, inFeatures, missing, random, raw ? undefined : v);
  const allV = concatColumns(op, v, moreV);
  const s = output(op, dtype, [thin]);
  s.array.set(memoryOf(op, 'factors.s', found.s));
  const result = { u: concatColumns(op, found.u, moreU), s: keep(s.tensor()), vt: transposed(op, allV) };
  for (const tensor of [found.u, found.s, found.vt, v, moreU, moreV, allV]) tensor.dispose();
  for (const tensor of [result.u, result.s, result.vt]) site.own(tensor);
  return result;
}
