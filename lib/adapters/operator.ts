import type { GradientArguments, LayerArguments, RealArray } from '../native.js';
import { type Accumulator, LayerParameter } from '../parameter.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';

/** A term is either fixed, or a parameter, whose gradient then has somewhere to go. */
export type Term = Tensor<Real> | LayerParameter;

/**
 * The terms of the one operator that every family is a choice of:
 *
 *   C = diag(diagonal) + sigmoid(gate) · M(values),   Y = [X baseᵀ] + (X V) Cᵀ Uᵀ + bias
 */
export interface Terms {
  /** (out, in) */
  readonly base?: Tensor<Real> | undefined;
  /** (out, r) */
  readonly u: Tensor<Real>;
  /** (r, in) */
  readonly vt: Tensor<Real>;
  /** (r) */
  readonly diagonal?: Term | undefined;
  /** max(0, diagonal) stands in the diagonal's place. */
  readonly rectified?: boolean;
  /** (r) What the base has of the diagonal already: it is subtracted. */
  readonly origin?: Tensor<Real>;
  readonly core?: { readonly pattern: SparsityPattern; readonly values: Term; readonly gate?: Term | undefined };
}

export function tensorOf(term: Term): Tensor<Real> {
  return term instanceof LayerParameter ? term.value : term;
}

/** The memory of a term, or null where there is none. */
export function termMemory(op: string, argument: string, term: Term | undefined): RealArray | null {
  return term === undefined ? null : memoryOf(op, argument, tensorOf(term));
}

/** diag(C) beside M (r), with today's values. */
export function diagonalOf(op: string, { diagonal, rectified, origin }: Terms): RealArray | null {
  const memory = termMemory(op, 'sigma', diagonal);
  if (memory === null || !(rectified || origin)) return memory;
  const present = rectified ? memory.map((value) => Math.max(0, value)) : memory;
  const before = origin && memoryOf(op, 'factors.s', origin);
  return before ? present.map((value, i) => value - (before[i] as number)) : present;
}

/** A copy of what decides which of the diagonal's entries have a slope now; null where all have. */
export function slopeOf(op: string, { diagonal, rectified }: Terms): RealArray | null {
  return rectified ? (termMemory(op, 'sigma', diagonal)?.slice() ?? null) : null;
}

/** What the native side takes for these terms, with today's values. */
export function layerArguments(op: string, terms: Terms, bias: Term | undefined): LayerArguments {
  const { base, u, vt, core } = terms;
  const [rank, inFeatures] = vt.shape as readonly [number, number];
  return [
    inFeatures,
    u.shape[0] as number,
    rank,
    termMemory(op, 'weight', base),
    memoryOf(op, 'factors.u', u),
    memoryOf(op, 'factors.vt', vt),
    diagonalOf(op, terms),
    core?.pattern.handle ?? null,
    termMemory(op, 'm', core?.values),
    termMemory(op, 'gate', core?.gate),
    termMemory(op, 'bias', bias),
  ];
}

/** The same with copies of what training may change, so that a later write does not reach a pull-back. */
export function frozenArguments(args: LayerArguments, { diagonal, core }: Terms): LayerArguments {
  const [inFeatures, out, rank, base, u, vt, d, pattern, m, gamma] = args;
  const frozen = (array: RealArray | null, term: Term | undefined) =>
    term instanceof LayerParameter && array !== null ? array.slice() : array;
  const copies = [frozen(d, diagonal), pattern, frozen(m, core?.values), frozen(gamma, core?.gate)] as const;
  return [inFeatures, out, rank, base, u, vt, ...copies, null];
}

/** The parameters among the core's terms. */
export function coreParameters({ diagonal, core }: Terms): LayerParameter[] {
  return [diagonal, core?.values, core?.gate].filter((term) => term instanceof LayerParameter);
}

/** Where the gradient of a term is added, if it is a parameter that `wanted` names. */
export function accumulatorOf(
  op: string,
  term: Term | undefined,
  wanted: readonly LayerParameter[],
): Accumulator | null {
  return term instanceof LayerParameter && wanted.includes(term) ? term.accumulator(op) : null;
}

/** Where a pull-back adds the gradient of every parameter that `wanted` names; `slope` is that of the forward pass. */
export function gradientTargets(
  op: string,
  { diagonal, core }: Terms,
  bias: Term | undefined,
  wanted: readonly LayerParameter[],
  slope: RealArray | null,
): { arguments: GradientArguments; commit(): void } {
  const accumulators: Accumulator[] = [];
  const target = (term: Term | undefined, mask: RealArray | null = null): RealArray | null => {
    const plain = accumulatorOf(op, term, wanted);
    if (plain === null) return null;
    const accumulator = mask ? wherePositive(plain, mask) : plain;
    accumulators.push(accumulator);
    return accumulator.array;
  };
  const sigma = target(diagonal, slope);
  return {
    arguments: [sigma, target(core?.values), target(core?.gate), target(bias)],
    commit: () => {
      for (const accumulator of accumulators) accumulator.commit();
    },
  };
}

/** An accumulator that takes only what arrives where the mask is positive. */
function wherePositive({ array, commit }: Accumulator, mask: RealArray): Accumulator {
  const arrived = array.map(() => 0);
  return {
    array: arrived,
    commit: () => {
      for (let i = 0; i < array.length; i++) {
        if ((mask[i] as number) > 0) array[i] = (array[i] as number) + (arrived[i] as number);
      }
      commit();
    },
  };
}
