import type { Blueprint } from '../layers/adapter.js';
import { chooseFrom, family } from '../layers/construct.js';
import { factorShapes, heldValues, type Site } from '../layers/site.js';
import type { AdapterOptions } from '../layers/types.js';
import { scaleColumns, scaleRows } from '../linalg/scale.js';
import type { Svd } from '../linalg/svd.js';
import type { Terms } from '../operator/terms.js';
import { checkInteger, checkNumber, checkOptions, isRecord, reject } from '../runtime/check.js';
import { random } from '../runtime/random.js';
import type { Work } from '../runtime/slices.js';
import { derivedBefore, originOf, remember } from '../tensor/derived.js';
import { allocate, type FactorDType } from '../tensor/dtype.js';
import { fromNumbers, numbersOf } from '../tensor/operand.js';
import type { FactorMatrix, MatrixShape, Shape } from '../tensor/tensor.js';
import { fillNormal } from './orthonormal.js';

export interface LoraXsOptions extends AdapterOptions {
  /**
   * k, the number of singular triples in use, the largest first. Default: 16, or all if there are fewer. If it is at most an
   * eighth of min(out, in), from 256 on, only these are computed, and telemetry knows no other σ.
   */
  rank?: number;
  /**
   * Initial R: 'zeros' (default), or normal numbers of mean 0 and this standard deviation; the authors' code uses 1e-5.
   */
  init?: 'zeros' | { deviation: number };
  /** Seed of the normal numbers, combined with the layer's `name`. Default 0. */
  seed?: number;
}

/**
 * LoRA-XS (Bałazy et al. 2024): y = x W0ᵀ + x (U_k R diag(σ_k) V_kᵀ)ᵀ + b. U_k, σ_k and V_k are the k largest singular
 * triples. The only parameter is the dense R, 'r' [k, k]. docs/loraxs.md has the options and the settings of the
 * authors' code.
 *
 * @param weight W0 [out, in], float32, float64 or bfloat16. The layer borrows it: you may dispose it,
 * but do not write it while the layer lives.
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, BASE_MISMATCH,
 * DISPOSED, NON_FINITE, NOT_CONVERGED, UNSUPPORTED, ABORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY
 * @example
 * const layer = await loraXs(weight, { rank: 8 });
 * layer.parameterCount; // 64
 */
export const loraXs = family<LoraXsOptions>('loraXs', ['rank', 'init', 'seed'], design, (site, options) => {
  const rank = readRank(site, options);
  // Vᵀ twice: with and without diag(σ).
  const matrices = [...factorShapes(site, rank), [rank, site.inFeatures] as const];
  return { parameters: rank ** 2, matrices, vectors: heldValues(site, rank) };
});

function* design(site: Site, options: LoraXsOptions): Work<Blueprint> {
  const { op, thin, bias } = site;
  const rank = readRank(site, options);
  const seed = site.seed(options.seed);
  const deviation = readDeviation(op, options.init ?? 'zeros');
  const choices = chooseFrom(site, ['lowrank', 'merged'], 'the layer adds R to the base and does not train σ');
  const { factors, sigma } = yield* site.decompose(rank);
  const { device, dtype } = site.vectors;
  const start = allocate(op, dtype, rank * rank);
  if (deviation > 0) yield* fillNormal(start, random(seed), deviation);
  const r = site.parameter('r', fromNumbers(op, device, dtype, [rank, rank], start));
  const scaled = site.own(yield* scaledInputs(site, factors));
  const { weight, derived } = site.base();
  const lowrank: Terms = {
    ...site.noTerms,
    base: weight,
    ...(site.noTerms.transposed ? { u: scaled, vt: factors.vt } : { u: factors.u, vt: scaled }),
    core: { pattern: undefined, values: r, gate: undefined },
  };
  return {
    factors: () => factors,
    rank,
    bias,
    base: { weight: () => weight, derived, original: undefined, bias },
    spectrum: { initial: sigma, first: 0, whole: sigma.size === thin, skew: false, scale: factors.s },
    factored: undefined,
    lowrank,
    merge: () => lowrank,
    choices,
    owned: [...Object.values(factors), sigma, scaled, weight],
  };
}

/** k, the triples in use. */
function readRank({ op, thin }: Pick<Site, 'op' | 'thin'>, { rank }: LoraXsOptions): number {
  return checkInteger(op, 'options.rank', rank ?? Math.min(16, thin), 1, thin);
}

/** The vectors of the inputs' side, each times its σ, as the factors have them: diag(σ) Vᵀ, or U diag(σ) of W0ᵀ. */
function* scaledInputs(
  { op, device, dtype, vectors, noTerms }: Site,
  { u, s, vt }: Svd<FactorDType>,
): Work<FactorMatrix> {
  const [inputs, scale] = noTerms.transposed ? [u, scaleColumns] : [vt, scaleRows];
  const what = `times σ ${originOf(op, 'factors.s', s).id}`;
  const before = derivedBefore<FactorDType, Shape>(op, inputs, what);
  if (before !== undefined) return before;
  const kept = inputs.dtype === 'int8' ? 'int8' : dtype;
  const scaled = allocate(op, vectors.dtype, inputs.size);
  yield* scale(scaled, numbersOf(op, 'factors', inputs), numbersOf(op, 'factors.s', s));
  return remember<FactorMatrix>(op, inputs, what, fromNumbers(op, device, kept, inputs.shape as MatrixShape, scaled));
}

/** The standard deviation of R's initial numbers; 0 for zeros. */
function readDeviation(op: string, init: unknown): number {
  if (init === 'zeros') return 0;
  if (!isRecord(init)) reject(op, 'options.init', `'zeros' or { deviation }`, init);
  const { deviation } = checkOptions(op, 'options.init', init, ['deviation']);
  return checkNumber(op, 'options.init.deviation', deviation, 0);
}
