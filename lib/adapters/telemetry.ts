import { effectiveRank } from '../linalg/effective-rank.js';
import type { RealArray } from '../native.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';
import { diagonalOf, type Terms, termMemory } from './operator.js';

/** What training has done to a layer so far. */
export interface Telemetry {
  /**
   * exp of the spectrum's entropy (see `effectiveRank`) of W0 and of W', over the singular values that the layer knows:
   * all, or the `rank` largest of a truncated weight. `after` is undefined for directions that are not the weight's own.
   */
  readonly effectiveRank: { readonly before: number; readonly after: number | undefined };
  /** |σ' − σ| over the same singular values. */
  readonly drift: { readonly mean: number; readonly max: number } | undefined;
  /** Whether `after` and `drift` are exact, as they are for a diagonal core; else they hold to first order in M. */
  readonly exact: boolean;
  /** ‖ΔW‖_F: how much training has changed the weight. */
  readonly change: number;
  /** sigmoid(γ), where there is a gate. */
  readonly gate: number | undefined;
  /** Names of the parameters that are not trainable now. */
  readonly frozen: readonly string[];
}

/** What is known of the singular values of W0. */
export interface Spectrum {
  /** σ (q): all, or the largest */
  readonly initial: Tensor<Real>;
  /** Which of them belongs to the first direction of the terms; undefined where those are not the weight's own. */
  readonly first: number | undefined;
}

interface Core {
  /** (r) */
  readonly diagonal: Float64Array;
  /** Beside the diagonal: whether there is anything, and the sum of its squares. */
  readonly diagonalOnly: boolean;
  readonly otherSquares: number;
}

function gateOf(op: string, { core }: Terms): number | undefined {
  const gamma = termMemory(op, 'gate', core?.gate)?.[0];
  return gamma === undefined ? undefined : 1 / (1 + Math.exp(-gamma));
}

/** C = diag(d) + g·M, read in one pass. Equal coordinates stand together in CSR order, and sum. */
function coreOf(op: string, terms: Terms): Core {
  const r = terms.vt.shape[0] as number;
  const diagonal = Float64Array.from(diagonalOf(op, terms) ?? new Float64Array(r));
  let diagonalOnly = true;
  let otherSquares = 0;
  if (terms.core !== undefined) {
    const { rowPointers, columnIndices } = terms.core.pattern;
    const values = termMemory(op, 'm', terms.core.values) as RealArray;
    const g = gateOf(op, terms) ?? 1;
    let entry = 0;
    for (let i = 0; i < r; i++) {
      const end = rowPointers[i + 1] as number;
      while (entry < end) {
        const j = columnIndices[entry];
        let sum = 0;
        while (entry < end && columnIndices[entry] === j) sum += values[entry++] as number;
        if (j === i) diagonal[i] = (diagonal[i] as number) + g * sum;
        else {
          diagonalOnly = false;
          otherSquares += (g * sum) ** 2;
        }
      }
    }
  }
  return { diagonal, diagonalOnly, otherSquares };
}

/** What each direction of the terms has gained (r). Terms without a base carry σ themselves, beginning with the first. */
function gains(terms: Terms, { diagonal }: Core, initial: RealArray): Float64Array {
  return terms.base ? diagonal : diagonal.map((value, i) => value - (initial[i] as number));
}

/** The singular values of W' (q) with their signs, in the order of those of W0, to first order in M. */
function moved(gained: Float64Array, initial: RealArray, first: number | undefined): Float64Array | undefined {
  if (first === undefined) return undefined;
  const sigma = Float64Array.from(initial);
  for (let i = 0; i < gained.length; i++) sigma[first + i] = (sigma[first + i] as number) + (gained[i] as number);
  return sigma;
}

/** No decomposition: O(q + entries), cheap enough for every step. */
export function telemetryOf(op: string, terms: Terms, spectrum: Spectrum): Omit<Telemetry, 'frozen'> {
  const initial = memoryOf(op, 'factors.s', spectrum.initial);
  const core = coreOf(op, terms);
  const gained = gains(terms, core, initial);
  let squares = core.otherSquares;
  let distance = 0;
  let farthest = 0;
  for (let i = 0; i < gained.length; i++) {
    const gain = Math.abs(gained[i] as number);
    squares += gain * gain;
    distance += gain;
    farthest = Math.max(farthest, gain);
  }
  const sigma = moved(gained, initial, spectrum.first);
  return {
    effectiveRank: { before: effectiveRank(initial), after: sigma && effectiveRank(sigma) },
    drift: sigma && { mean: distance / initial.length, max: farthest },
    exact: sigma !== undefined && core.diagonalOnly,
    change: Math.sqrt(squares),
    gate: gateOf(op, terms),
  };
}

/** The singular values of W', descending, where no decomposition is needed to know them all: `thin` values. */
export function knownSpectrum(op: string, terms: Terms, spectrum: Spectrum, thin: number): Float64Array | undefined {
  const initial = memoryOf(op, 'factors.s', spectrum.initial);
  const core = coreOf(op, terms);
  if (!core.diagonalOnly || initial.length < thin) return undefined;
  const sigma = moved(gains(terms, core, initial), initial, spectrum.first);
  return sigma?.map(Math.abs).sort().reverse();
}
