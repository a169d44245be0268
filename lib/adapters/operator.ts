import {
  type DeviceMemory,
  type GradientArguments,
  type LayerArguments,
  native,
  type Operand,
  type RealArray,
} from '../native.js';
import { type Accumulator, LayerParameter } from '../parameter.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { Real } from '../tensor/dtype.js';
import { copyInto, lastingMemoryOf, numbersOf, output } from '../tensor/operand.js';
import type { Scoped } from '../tensor/scope.js';
import { isHost } from '../tensor/storage.js';
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
  readonly base: Tensor<Real> | undefined;
  /** (out, r) */
  readonly u: Tensor<Real>;
  /** (r, in) */
  readonly vt: Tensor<Real>;
  /** (r) */
  readonly diagonal: Term | undefined;
  /** max(0, diagonal) stands in the diagonal's place. */
  readonly rectified: boolean;
  /** (r) What the base has of the diagonal already: it is subtracted. */
  readonly origin: Tensor<Real> | undefined;
  readonly core:
    | { readonly pattern: SparsityPattern; readonly values: Term; readonly gate: Term | undefined }
    | undefined;
}

/** Terms that are absent, as own properties: what is left out would be looked for on Object.prototype. */
export const absent = { base: undefined, diagonal: undefined, rectified: false, origin: undefined, core: undefined };

export function tensorOf(term: Term): Tensor<Real> {
  return term instanceof LayerParameter ? term.value : term;
}

/** The memory of a term, which a pass may keep, or null where there is none. */
export function termMemory(op: string, argument: string, term: Term | undefined): Operand | null {
  return term === undefined ? null : lastingMemoryOf(op, argument, tensorOf(term));
}

/** A term's numbers on the host, or null where there is none. */
export function termNumbers(op: string, argument: string, term: Term | undefined): RealArray | null {
  return term === undefined ? null : numbersOf(op, argument, tensorOf(term));
}

/** diag(C) beside M (r) on the host, with today's values. */
export function diagonalOf(op: string, { diagonal, rectified, origin }: Terms): RealArray | null {
  const numbers = termNumbers(op, 'sigma', diagonal);
  if (numbers === null || !(rectified || origin)) return numbers;
  const present = rectified ? numbers.map((value) => Math.max(0, value)) : numbers;
  const before = origin && numbersOf(op, 'factors.s', origin);
  return before ? present.map((value, i) => value - (before[i] as number)) : present;
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
    lastingMemoryOf(op, 'factors.u', u),
    lastingMemoryOf(op, 'factors.vt', vt),
    termMemory(op, 'sigma', terms.diagonal),
    termMemory(op, 'factors.s', terms.origin),
    terms.rectified,
    core?.pattern.handle ?? null,
    termMemory(op, 'm', core?.values),
    termMemory(op, 'gate', core?.gate),
    termMemory(op, 'bias', bias),
  ];
}

/** Arguments, and the copies among them. */
export interface Frozen extends Scoped {
  readonly args: LayerArguments;
}

/** The same with copies of what training may change, so that a later write does not reach a pull-back. */
export function frozenArguments(op: string, args: LayerArguments, { diagonal, core }: Terms): Frozen {
  const [inFeatures, out, rank, base, left, vt, d, origin, rectified, pattern, m, gamma] = args;
  const ofDevice: DeviceMemory[] = [];
  const frozen = (memory: Operand | null, term: Term | undefined): Operand | null => {
    if (memory === null || !(term instanceof LayerParameter)) return memory;
    if (isHost(memory)) return memory.slice();
    const copy = output(op, term.value, [term.value.size]).memory;
    copyInto(op, copy, memory);
    ofDevice.push(copy as DeviceMemory);
    return copy;
  };
  const start = [inFeatures, out, rank, base, left, vt, frozen(d, diagonal), origin, rectified, pattern] as const;
  return {
    args: [...start, frozen(m, core?.values), frozen(gamma, core?.gate), null],
    dispose: () => {
      for (const memory of ofDevice.splice(0)) native.deviceRelease(op, memory);
    },
  };
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

/** Where a pull-back adds the gradient of every parameter that `wanted` names. */
export function gradientTargets(
  op: string,
  { diagonal, core }: Terms,
  bias: Term | undefined,
  wanted: readonly LayerParameter[],
): { arguments: GradientArguments; commit(): void } {
  const accumulators: Accumulator[] = [];
  const target = (term: Term | undefined): Operand | null => {
    const accumulator = accumulatorOf(op, term, wanted);
    if (accumulator === null) return null;
    accumulators.push(accumulator);
    return accumulator.memory;
  };
  return {
    arguments: [target(diagonal), target(core?.values), target(core?.gate), target(bias)],
    commit: () => {
      for (const accumulator of accumulators) accumulator.commit();
    },
  };
}
