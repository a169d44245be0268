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
export function diagonalOf(op: string, { diagonal, rectified }: Terms): RealArray | null {
  const memory = termMemory(op, 'sigma', diagonal);
  return rectified && memory !== null ? memory.map((value) => Math.max(0, value)) : memory;
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
export function frozenArguments(args: LayerArguments): LayerArguments {
  const [inFeatures, out, rank, base, u, vt, diagonal, pattern, values, gate] = args;
  const copy = (array: RealArray | null) => array?.slice() ?? null;
  return [inFeatures, out, rank, base, u, vt, copy(diagonal), pattern, copy(values), copy(gate), null];
}

/** The parameters among the core's terms. */
export function coreParameters({ diagonal, core }: Terms): LayerParameter[] {
  return [diagonal, core?.values, core?.gate].filter((term) => term instanceof LayerParameter);
}

/**
 * Where a pull-back adds the gradient of every parameter that `wanted` names. `args` are those of the forward pass: what
 * was rectified there to 0 has no slope.
 */
export function gradientTargets(
  op: string,
  { diagonal, rectified, core }: Terms,
  bias: Term | undefined,
  wanted: ReadonlySet<LayerParameter>,
  args: LayerArguments,
): { arguments: GradientArguments; commit(): void } {
  const accumulators: Accumulator[] = [];
  const target = (term: Term | undefined, slope?: RealArray | null): RealArray | null => {
    if (!(term instanceof LayerParameter && wanted.has(term))) return null;
    const accumulator = slope ? whereSloped(term.accumulator(op), slope) : term.accumulator(op);
    accumulators.push(accumulator);
    return accumulator.array;
  };
  const sigma = target(diagonal, rectified ? args[6] : undefined);
  return {
    arguments: [sigma, target(core?.values), target(core?.gate), target(bias)],
    commit: () => {
      for (const accumulator of accumulators) accumulator.commit();
    },
  };
}

/** An accumulator that takes only what arrives where the slope is positive. */
function whereSloped({ array, commit }: Accumulator, slope: RealArray): Accumulator {
  const arrived = array.map(() => 0);
  return {
    array: arrived,
    commit: () => {
      for (let i = 0; i < array.length; i++) {
        if ((slope[i] as number) > 0) array[i] = (array[i] as number) + (arrived[i] as number);
      }
      commit();
    },
  };
}
