import { effectiveRank, entropyOf, type Sums, sumsOf, xLogX } from '../linalg/effective-rank.js';
import { diagonalOf, type Term, type Terms, termNumbers } from '../operator/terms.js';
import type { RealArray } from '../runtime/native.js';
import type { Cells } from '../sparse/coordinates.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { Real } from '../tensor/dtype.js';
import { largestMagnitude, meanDistance, normOf } from '../tensor/norm.js';
import { numbersOf } from '../tensor/operand.js';
import { LayerParameter } from '../tensor/parameter.js';
import type { Tensor, Vector } from '../tensor/tensor.js';

/** How training has changed a layer so far. `layer.telemetry()` computes it without an SVD, in O(r + parameters). */
export interface Telemetry {
  /**
   * The effective rank (see `effectiveRank`) of W0 and of W', over the singular values that the layer knows: all, those of
   * the truncated factors that you supplied, or those of a small `rank`. `after` is undefined if only an SVD can tell (call `spectrum`):
   * for random directions, and if M is too large compared with σ.
   */
  readonly effectiveRank: { readonly before: number; readonly after: number | undefined };
  /**
   * The drift |C_ii − σ_i| of the core's diagonal from the singular values of W0. The mean is over all of them: if SiVA
   * trains k of r, it is the sum divided by r. Eq. 4 of VectorFit would divide by k.
   */
  readonly drift: { readonly mean: number; readonly max: number } | undefined;
  /**
   * Whether `after` is exact: the core is diagonal and all σ are known. If not, `after` is correct to second order in
   * M.
   */
  readonly exact: boolean;
  /** ‖ΔW‖_F, the change of the weight by the trained parameters. undefined if U or V is not orthonormal. */
  readonly change: number | undefined;
  /** sigmoid(γ). undefined for a layer without a gate. */
  readonly gate: number | undefined;
  /**
   * How far each parameter v is from the pretrained layer, by its name: ‖v0 − v‖₁ / dim(v), as in Eq. 4 of VectorFit. v0
   * is σ for 'sigma', the layer's bias for 'bias', and 0 for the other parameters, whatever `init` says. The gate has
   * no such value, and no entry. `AdaptiveVectorFreezing` measures from the values at its construction instead.
   */
  readonly distances: Readonly<Record<string, number>>;
  /** Names of the parameters with `trainable` false. */
  readonly frozen: readonly string[];
}

/** The diagonal of a layer's core by position, in the order of the singular values of W0. */
export interface CoreDiagonal {
  /** σ_i of W0 (q), descending: all, or those of the truncated factors that the layer has. */
  readonly before: Float64Array;
  /**
   * u_iᵀ W' v_i (q) for the singular vectors u_i and v_i of W0. In layers with a diagonal core these are the singular
   * values of W', in the order of W0 and with a sign. undefined if the layer's directions are not those of W0.
   */
  readonly after: Float64Array | undefined;
}

/** What is known of the singular values of W0. */
export interface Spectrum {
  /** σ (q): all, or the largest. */
  readonly initial: Tensor<Real>;
  /** Whether `initial` determines all singular values of W'. */
  readonly whole: boolean;
  /** Index in `initial` of the terms' first direction. undefined if the directions are not the weight's own. */
  readonly first: number | undefined;
  /** Whether U or V may not be orthonormal. */
  readonly skew: boolean;
  /** (r) Scale of the rows of the terms' Vᵀ, if any. Column j of M is multiplied by scale j. */
  readonly scale: Tensor<Real> | undefined;
}

/** The spectrum of a layer that has all singular triples of its weight. */
export function wholeSpectrum(initial: Spectrum['initial']): Spectrum {
  return { initial, first: 0, whole: true, skew: false, scale: undefined };
}

/** C: its diagonal (r) in two parts, and its off-diagonal cells in CSR, without duplicates. */
interface Core {
  readonly diagonal: Float64Array;
  /** The diagonal of M. Kept apart, because rounding may lose it in the sum. */
  readonly added: Float64Array;
  /** (r + 1) Row i of the lists below is [starts[i], starts[i + 1]). */
  readonly starts: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float64Array;
  readonly count: number;
}

/** sigmoid(γ); undefined without a gate. */
export function gateOf(op: string, { core }: Terms): number | undefined {
  const gamma = termNumbers(op, 'gate', core?.gate)?.[0];
  return gamma === undefined ? undefined : 1 / (1 + Math.exp(-gamma));
}

/** The cells of M by rows. */
export function cellsByRow(
  pattern: SparsityPattern | undefined,
  r: number,
): Pick<Cells, 'rowPointers' | 'columnIndices'> {
  if (pattern !== undefined) return pattern.cells;
  const rowPointers = Int32Array.from({ length: r + 1 }, (_, i) => i * r);
  const columnIndices = Int32Array.from({ length: r * r }, (_, p) => p % r);
  return { rowPointers, columnIndices };
}

/** C = diag(d) + g·M, with M's columns scaled. Duplicates are adjacent in CSR order; their values are summed. */
function coreOf(op: string, terms: Terms, { scale }: Spectrum): Core {
  const r = terms.vt.shape[0] as number;
  const diagonal = Float64Array.from(diagonalOf(op, terms) ?? new Float64Array(r));
  const added = new Float64Array(r);
  const sizes = termNumbers(op, 'factors.s', scale);
  const m = termNumbers(op, 'm', terms.core?.values);
  const entries = m?.length ?? 0;
  const [starts, columns, values] = [new Int32Array(r + 1), new Int32Array(entries), new Float64Array(entries)];
  let count = 0;
  if (m !== null) {
    const { rowPointers, columnIndices } = cellsByRow(terms.core?.pattern, r);
    const g = gateOf(op, terms) ?? 1;
    for (let i = 0; i < r; i++) {
      for (let p = rowPointers[i] as number; p < (rowPointers[i + 1] as number); p++) {
        const j = columnIndices[p] as number;
        const value = g * (m[p] as number) * (sizes?.[j] ?? 1);
        if (i === j) added[i] = (added[i] as number) + value;
        else {
          const again = count > (starts[i] as number) && columns[count - 1] === j;
          if (!again) columns[count++] = j;
          values[count - 1] = (values[count - 1] as number) + value;
        }
      }
      starts[i + 1] = count;
    }
  }
  return { diagonal, added, starts, columns, values, count };
}

/** The off-diagonal C_ij; undefined if there is no such cell. */
function cellOf({ starts, columns, values }: Core, i: number, j: number): number | undefined {
  let [low, high] = [starts[i] as number, starts[i + 1] as number];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((columns[middle] as number) < j) low = middle + 1;
    else high = middle;
  }
  return low < (starts[i + 1] as number) && columns[low] === j ? values[low] : undefined;
}

/** The change of C_ii (r). Terms without a base contain σ, from the first direction on. */
function gains(terms: Terms, { diagonal, added }: Core, initial: RealArray): Float64Array {
  const before = (i: number) => (terms.base ? 0 : (initial[i] as number));
  return diagonal.map((value, i) => value - before(i) + (added[i] as number));
}

/** The singular values of W0 (q) plus the change of the core's diagonal, unsorted and with signs. */
function moved(gained: Float64Array, initial: RealArray, first: number): Float64Array {
  const sigma = Float64Array.from(initial);
  for (let i = 0; i < gained.length; i++) sigma[first + i] = (sigma[first + i] as number) + (gained[i] as number);
  return sigma;
}

/** Adds what b and c contribute in a block [p b; c q]. Its singular values satisfy s1 ± s2 = √(‖block‖² ± 2|det|). */
function addBlock(sums: Sums, p: number, q: number, b: number, c: number): void {
  if (b === 0 && c === 0) return;
  const squares = p * p + q * q + b * b + c * c;
  const twice = 2 * Math.abs(p * q - b * c);
  const [plus, minus] = [Math.sqrt(squares + twice), Math.sqrt(Math.max(0, squares - twice))];
  sums.sum += plus - Math.abs(p) - Math.abs(q);
  sums.logs += xLogX((plus + minus) / 2) + xLogX((plus - minus) / 2) - xLogX(Math.abs(p)) - xLogX(Math.abs(q));
}

/** Largest share of Σσ that the blocks may add. Above it, treating each pair alone is too inaccurate. */
const furthest = 0.05;

/**
 * The effective rank of a core with diagonal σ. Off-diagonal cells act to second order, and to that order each pair (i,
 * j) acts alone, as a 2 × 2 block.
 */
function effectiveRankOf(sigma: Float64Array, core: Core, first: number): number | undefined {
  const sizes = sigma.map(Math.abs);
  const unit = largestMagnitude(sizes) || 1;
  const sums = sumsOf(sizes.map((size) => size / unit));
  const at = (i: number) => (sigma[first + i] as number) / unit;
  const ofDiagonal = sums.sum;
  const { starts, columns, values } = core;
  for (let i = 0; i + 1 < starts.length; i++) {
    for (let p = starts[i] as number; p < (starts[i + 1] as number); p++) {
      const j = columns[p] as number;
      const mirrored = cellOf(core, j, i);
      if (mirrored !== undefined && j < i) continue; // already added with (j, i)
      addBlock(sums, at(i), at(j), (values[p] as number) / unit, (mirrored ?? 0) / unit);
    }
  }
  if (sums.sum - ofDiagonal > furthest * ofDiagonal) return undefined;
  return sums.sum === 0 ? 0 : Math.exp(entropyOf(sums));
}

/** C − diag(σ), the change of the core: of its diagonal (r), and its other cells in CSR. Vᵀ without its scale. */
export type CoreChange = Omit<Core, 'added'>;

/** Whether training may change C_ii. */
export function trainsCell({ diagonal, core }: Terms, i: number): boolean {
  if (diagonal instanceof LayerParameter) return true;
  if (core === undefined) return false;
  if (core.pattern === undefined) return true;
  const { rowPointers, columnIndices } = core.pattern.cells;
  return columnIndices.subarray(rowPointers[i], rowPointers[i + 1]).includes(i);
}

export function changeOf(op: string, terms: Terms, spectrum: Spectrum): CoreChange {
  const core = coreOf(op, terms, spectrum);
  return { ...core, diagonal: gains(terms, core, numbersOf(op, 'factors.s', spectrum.initial)) };
}

/** O(q + entries), without a decomposition. */
export function telemetryOf(op: string, terms: Terms, spectrum: Spectrum): Omit<Telemetry, 'distances' | 'frozen'> {
  const { initial, first, whole, skew } = spectrum;
  const before = numbersOf(op, 'factors.s', initial);
  const core = coreOf(op, terms, spectrum);
  const gained = gains(terms, core, before);
  const own = first !== undefined;
  const distances = gained.map(Math.abs);
  const mean = distances.reduce((sum, distance) => sum + distance / before.length, 0);
  return {
    effectiveRank: {
      before: effectiveRank(before),
      after: own ? effectiveRankOf(moved(gained, before, first), core, first) : undefined,
    },
    drift: own ? { mean, max: largestMagnitude(distances) } : undefined,
    exact: own && whole && core.count === 0,
    change: skew ? undefined : normOf([gained, core.values.subarray(0, core.count)]),
    gate: gateOf(op, terms),
  };
}

/** The distance of each parameter but the gate from the pretrained layer, which has the bias `initial`. */
export function distancesOf(
  op: string,
  { diagonal, offset, base, core }: Terms,
  spectrum: Spectrum,
  { bias, initial }: { readonly bias: Term | undefined; readonly initial: Vector | undefined },
): Record<string, number> {
  // Without a base or an offset the trained diagonal is σ itself.
  const sigma = base === undefined && offset === undefined ? spectrum.initial : undefined;
  const starts = [
    [diagonal, sigma],
    [core?.values, undefined],
    [bias, initial],
  ] as const;
  const distances: [string, number][] = [];
  for (const [term, start] of starts) {
    if (!(term instanceof LayerParameter)) continue;
    const before = start && numbersOf(op, 'the pretrained layer', start);
    distances.push([term.name, meanDistance(numbersOf(op, term.name, term.value), before)]);
  }
  return Object.fromEntries(distances);
}

/** O(q + entries of M), without a decomposition. */
export function coreDiagonalOf(op: string, terms: Terms, spectrum: Spectrum): CoreDiagonal {
  const { initial, first } = spectrum;
  const before = Float64Array.from(numbersOf(op, 'factors.s', initial));
  if (first === undefined) return { before, after: undefined };
  return { before, after: moved(gains(terms, coreOf(op, terms, spectrum), before), before, first) };
}

/** The `thin` singular values of W', descending. undefined if they take a decomposition. */
export function knownSpectrum(op: string, terms: Terms, spectrum: Spectrum, thin: number): Float64Array | undefined {
  const { initial, first } = spectrum;
  const before = numbersOf(op, 'factors.s', initial);
  const core = coreOf(op, terms, spectrum);
  if (first === undefined || core.count > 0 || before.length < thin) return undefined;
  return moved(gains(terms, core, before), before, first)
    .map(Math.abs)
    .sort()
    .reverse();
}
