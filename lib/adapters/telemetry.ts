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
  /** |C_ii − σ_i|, how far the core's diagonal has left the same singular values. */
  readonly drift: { readonly mean: number; readonly max: number } | undefined;
  /** Whether `after` is exact, as it is for a diagonal core; else it holds to second order in M. */
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

/** C: its diagonal (r), and by rows what stands beside it, each cell once. */
interface Core {
  readonly diagonal: Float64Array;
  /** (r + 1): row i of the lists below is from starts[i] to before starts[i + 1]. */
  readonly starts: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float64Array;
  readonly count: number;
}

function gateOf(op: string, { core }: Terms): number | undefined {
  const gamma = termMemory(op, 'gate', core?.gate)?.[0];
  return gamma === undefined ? undefined : 1 / (1 + Math.exp(-gamma));
}

/** C = diag(d) + g·M. Equal coordinates stand side by side in CSR order; their values sum. */
function coreOf(op: string, terms: Terms): Core {
  const r = terms.vt.shape[0] as number;
  const diagonal = Float64Array.from(diagonalOf(op, terms) ?? new Float64Array(r));
  const entries = terms.core?.pattern.entries ?? 0;
  const [starts, columns, values] = [new Int32Array(r + 1), new Int32Array(entries), new Float64Array(entries)];
  let count = 0;
  if (terms.core !== undefined) {
    const { rowPointers, columnIndices } = terms.core.pattern;
    const m = termMemory(op, 'm', terms.core.values) as RealArray;
    const g = gateOf(op, terms) ?? 1;
    for (let i = 0; i < r; i++) {
      for (let p = rowPointers[i] as number; p < (rowPointers[i + 1] as number); p++) {
        const j = columnIndices[p] as number;
        const value = g * (m[p] as number);
        if (i === j) diagonal[i] = (diagonal[i] as number) + value;
        else {
          const again = count > (starts[i] as number) && columns[count - 1] === j;
          if (!again) columns[count++] = j;
          values[count - 1] = (values[count - 1] as number) + value;
        }
      }
      starts[i + 1] = count;
    }
  }
  return { diagonal, starts, columns, values, count };
}

/** C_ij beside the diagonal; undefined where there is no cell. */
function cellOf({ starts, columns, values }: Core, i: number, j: number): number | undefined {
  let [low, high] = [starts[i] as number, starts[i + 1] as number];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((columns[middle] as number) < j) low = middle + 1;
    else high = middle;
  }
  return low < (starts[i + 1] as number) && columns[low] === j ? values[low] : undefined;
}

/** What each direction of the terms has gained (r). Terms without a base carry σ themselves, beginning with the first. */
function gains(terms: Terms, { diagonal }: Core, initial: RealArray): Float64Array {
  return terms.base ? diagonal : diagonal.map((value, i) => value - (initial[i] as number));
}

/** What the core's diagonal makes of the singular values of W0 (q), in their order and with signs. */
function moved(gained: Float64Array, initial: RealArray, first: number): Float64Array {
  const sigma = Float64Array.from(initial);
  for (let i = 0; i < gained.length; i++) sigma[first + i] = (sigma[first + i] as number) + (gained[i] as number);
  return sigma;
}

const xLogX = (x: number): number => (x > 0 ? x * Math.log(x) : 0);

/** S = Σσ and Σ σ log σ, of which the entropy is log S − Σ σ log σ / S. */
interface Sums {
  sum: number;
  logs: number;
}

/** Adds what the block [p b; c q] has more than its diagonal: its singular values s1 ≥ s2 have s1 ± s2 = √(‖·‖² ± 2|det|). */
function addBlock(sums: Sums, p: number, q: number, b: number, c: number): void {
  const squares = p * p + q * q + b * b + c * c;
  const twice = 2 * Math.abs(p * q - b * c);
  const [plus, minus] = [Math.sqrt(squares + twice), Math.sqrt(Math.max(0, squares - twice))];
  sums.sum += plus - Math.abs(p) - Math.abs(q);
  sums.logs += xLogX((plus + minus) / 2) + xLogX((plus - minus) / 2) - xLogX(Math.abs(p)) - xLogX(Math.abs(q));
}

/**
 * The effective rank of a core with diagonal σ. What stands beside the diagonal acts to second order, and to that order
 * each pair (i, j) acts alone, as the 2 × 2 block that it is.
 */
function effectiveRankOf(sigma: Float64Array, core: Core, first: number): number {
  const sums: Sums = { sum: 0, logs: 0 };
  for (let i = 0; i < sigma.length; i++) {
    sums.sum += Math.abs(sigma[i] as number);
    sums.logs += xLogX(Math.abs(sigma[i] as number));
  }
  const { starts, columns, values } = core;
  for (let i = 0; i + 1 < starts.length; i++) {
    for (let p = starts[i] as number; p < (starts[i + 1] as number); p++) {
      const j = columns[p] as number;
      const mirrored = cellOf(core, j, i);
      if (mirrored !== undefined && j < i) continue; // seen from its other side
      addBlock(sums, sigma[first + i] as number, sigma[first + j] as number, values[p] as number, mirrored ?? 0);
    }
  }
  return sums.sum > 0 ? Math.exp(Math.log(sums.sum) - sums.logs / sums.sum) : 0;
}

/** No decomposition: O(q + entries), cheap enough for every step. */
export function telemetryOf(op: string, terms: Terms, { initial, first }: Spectrum): Omit<Telemetry, 'frozen'> {
  const before = memoryOf(op, 'factors.s', initial);
  const core = coreOf(op, terms);
  const gained = gains(terms, core, before);
  let [squares, distance, farthest] = [0, 0, 0];
  for (let i = 0; i < gained.length; i++) {
    const gain = Math.abs(gained[i] as number);
    squares += gain * gain;
    distance += gain;
    farthest = Math.max(farthest, gain);
  }
  for (let p = 0; p < core.count; p++) squares += (core.values[p] as number) ** 2;
  const own = first !== undefined;
  const after = own ? effectiveRankOf(moved(gained, before, first), core, first) : undefined;
  return {
    effectiveRank: { before: effectiveRank(before), after },
    drift: own ? { mean: distance / before.length, max: farthest } : undefined,
    exact: own && core.count === 0,
    change: Math.sqrt(squares),
    gate: gateOf(op, terms),
  };
}

/** The singular values of W', descending, where no decomposition is needed to know them all: `thin` values. */
export function knownSpectrum(
  op: string,
  terms: Terms,
  { initial, first }: Spectrum,
  thin: number,
): Float64Array | undefined {
  const before = memoryOf(op, 'factors.s', initial);
  const core = coreOf(op, terms);
  if (first === undefined || core.count > 0 || before.length < thin) return undefined;
  return moved(gains(terms, core, before), before, first)
    .map(Math.abs)
    .sort()
    .reverse();
}
