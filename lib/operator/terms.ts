import {
  type GradientArguments,
  type LayerHandle,
  native,
  type Operand,
  type RealArray,
  type SnapshotArguments,
} from '../runtime/native.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import { copyInto, lastingMemoryOf, memoryOf, numbersOf, output, type Place, zeroOutput } from '../tensor/operand.js';
import { type Accumulator, LayerParameter } from '../tensor/parameter.js';
import type { Scoped } from '../tensor/scope.js';
import { isHost, type Reader } from '../tensor/storage.js';
import type { FactorMatrix, Matrix, Tensor } from '../tensor/tensor.js';

/** A term is a tensor (fixed) or a parameter (trained). */
export type Term = Tensor<Real> | LayerParameter;

/** M of the core: values on a pattern, or, without a pattern, a dense M [r, r]. A dense M is all of C. */
export interface CoreTerms {
  readonly pattern: SparsityPattern | undefined;
  readonly values: Term;
  readonly gate: Term | undefined;
}

/**
 * The terms of the one operator; every family is a choice of terms:
 *
 *   C = diag(d) + sigmoid(gate) · M(values),   Y = [X baseᵀ] + (X V) Cᵀ Uᵀ + bias
 *   d = diagonal [+ offset], or max(0, the same) if rectified, [- origin]
 */
export interface Terms {
  /** Whether the weight is stored as (in, out). Then base, u and vt belong to W0ᵀ = u diag(σ) vt. */
  readonly transposed: boolean;
  /** Of the base, of activations and of W'. U and V have it too, or int8. */
  readonly dtype: MatrixDType;
  /** (out, in) */
  readonly base: Matrix | undefined;
  /** (out, r) */
  readonly u: FactorMatrix;
  /** (r, in) */
  readonly vt: FactorMatrix;
  /** (r) */
  readonly diagonal: Term | undefined;
  /** (r) Fixed numbers to add to the diagonal. */
  readonly offset: Tensor<Real> | undefined;
  /** Uses max(0, diagonal + offset) instead of diagonal + offset. */
  readonly rectified: boolean;
  /** (r) Fixed numbers to subtract from the diagonal: what the base contains already. */
  readonly origin: Tensor<Real> | undefined;
  readonly core: CoreTerms | undefined;
}

/** Absent terms. They are own properties, because a missing property is looked up on Object.prototype. */
export const absent = {
  transposed: false,
  base: undefined,
  diagonal: undefined,
  offset: undefined,
  rectified: false,
  origin: undefined,
  core: undefined,
};

/** Device and type of activations and of W'. */
export function placeOf({ u, dtype }: Terms): Place<MatrixDType> {
  return { device: u.device, dtype };
}

/** The features of the layer, and the size of its core. */
export function sizesOf({ u, vt, transposed }: Terms): {
  readonly in: number;
  readonly out: number;
  readonly rank: number;
} {
  const rows = u.shape[0] as number;
  const [rank, columns] = vt.shape as readonly [number, number];
  return transposed ? { in: rows, out: columns, rank } : { in: columns, out: rows, rank };
}

export function tensorOf(term: Term): Tensor<Real> {
  return term instanceof LayerParameter ? term.value : term;
}

/** The memory of a term, which a pass may keep; null for an absent term. */
export function termMemory(op: string, argument: string, term: Term | undefined): Operand | null {
  return term === undefined ? null : lastingMemoryOf(op, argument, tensorOf(term));
}

/** A term's numbers on the host; null for an absent term. */
export function termNumbers(op: string, argument: string, term: Term | undefined): RealArray | null {
  return term === undefined ? null : numbersOf(op, argument, tensorOf(term));
}

/** The diagonal d (r) of C, without M, on the host. */
export function diagonalOf(op: string, { diagonal, offset, rectified, origin }: Terms): RealArray | null {
  const numbers = termNumbers(op, 'sigma', diagonal);
  if (numbers === null || !(offset || rectified || origin)) return numbers;
  const more = termNumbers(op, 'factors.s', offset);
  const before = termNumbers(op, 'factors.s', origin);
  // In float64, so that a small shift of a large σ is not lost to rounding.
  return Float64Array.from(numbers, (value, i) => {
    const sum = value + (more?.[i] ?? 0);
    return (rectified ? Math.max(0, sum) : sum) - (before?.[i] ?? 0);
  });
}

/** One set of terms, with or without a bias, and its native handle. */
export class Operator {
  readonly terms: Terms;
  readonly bias: Term | undefined;
  #handle: LayerHandle | undefined;

  constructor(terms: Terms, bias: Term | undefined) {
    this.terms = terms;
    this.bias = bias;
  }

  /** Use it at once. Throws DISPOSED if a term has been disposed. */
  handle(op: string): LayerHandle {
    const { transposed, base, u, vt, diagonal, offset, origin, rectified, core } = this.terms;
    const memories = {
      base: base === undefined ? null : lastingMemoryOf(op, 'weight', base),
      u: lastingMemoryOf(op, 'factors.u', u),
      vt: lastingMemoryOf(op, 'factors.vt', vt),
      diagonal: termMemory(op, 'sigma', diagonal),
      offset: termMemory(op, 'factors.s', offset),
      origin: termMemory(op, 'factors.s', origin),
      values: termMemory(op, 'm', core?.values),
      gate: termMemory(op, 'gate', core?.gate),
      bias: termMemory(op, 'bias', this.bias),
    };
    if (this.#handle === undefined) {
      const pattern = core?.pattern?.handle ?? null;
      this.#handle = native.layer(op, { ...sizesOf(this.terms), ...memories, transposed, rectified, pattern });
    }
    return this.#handle;
  }

  /** Keeps the numbers of the trainable terms, so that a later write does not reach a pull-back. */
  snapshot(op: string): TermSnapshot {
    const { diagonal, core } = this.terms;
    return new TermSnapshot(op, [diagonal, core?.values, core?.gate]);
  }
}

/** The numbers of the diagonal, the values and the gate, as they were. */
export class TermSnapshot implements Scoped {
  /** null: the layer's own. */
  readonly #terms: readonly (TermCopy | null)[];

  constructor(op: string, terms: readonly (Term | undefined)[]) {
    this.#terms = terms.map((term) => (term instanceof LayerParameter ? new TermCopy(op, term) : null));
  }

  get arguments(): SnapshotArguments {
    const [diagonal, values, gate] = this.#terms;
    return [diagonal?.memory ?? null, values?.memory ?? null, gate?.memory ?? null];
  }

  dispose(): void {
    for (const term of this.#terms) term?.dispose();
  }
}

/** A parameter's numbers. On the CPU anyone may write them, so this is a copy. On a device, the next write makes it. */
class TermCopy implements Reader {
  /** null: the parameter is unchanged. */
  memory: Operand | null = null;
  readonly #value: Tensor<Real>;
  readonly #self = new WeakRef<Reader>(this);

  constructor(op: string, { name, value }: LayerParameter) {
    this.#value = value;
    const memory = memoryOf(op, name, value);
    if (isHost(memory)) this.memory = memory.slice();
    else value.addReader(this.#self);
  }

  beforeWrite(op: string): void {
    const copy = output(op, this.#value, [this.#value.size]).memory;
    copyInto(op, copy, memoryOf(op, 'parameter', this.#value));
    this.memory = copy;
  }

  dispose(): void {
    this.#value.removeReader(this.#self);
    if (this.memory !== null && !isHost(this.memory)) native.deviceRelease('dispose', this.memory);
    this.memory = null;
  }
}

/** The parameters among the core's terms. */
export function coreParameters({ diagonal, core }: Terms): LayerParameter[] {
  return [diagonal, core?.values, core?.gate].filter((term) => term instanceof LayerParameter);
}

/** Where a pull-back adds the gradient of a parameter. */
export type Sink = (op: string, parameter: LayerParameter) => Accumulator;

/** Into the parameter's `grad`. */
export const intoGrad: Sink = (op, parameter) => parameter.accumulator(op);

/** Into new tensors, which are in `gradients` after the pull-back has succeeded. */
export function intoMap(gradients: Map<LayerParameter, Tensor<Real>>): Sink {
  return (op, parameter) => {
    const { memory, tensor } = zeroOutput(op, parameter.value, parameter.value.shape);
    return { memory, commit: () => gradients.set(parameter, tensor()) };
  };
}

/** The accumulator of a term, if the term is a parameter in `wanted`. */
export function accumulatorOf(
  op: string,
  term: Term | undefined,
  wanted: readonly LayerParameter[],
  sink: Sink,
): Accumulator | null {
  return term instanceof LayerParameter && wanted.includes(term) ? sink(op, term) : null;
}

/** The memory to which a pull-back adds the gradients of the parameters in `wanted`. */
export function gradientTargets(
  op: string,
  { diagonal, core }: Terms,
  bias: Term | undefined,
  wanted: readonly LayerParameter[],
  sink: Sink,
): { arguments: GradientArguments; commit(): void } {
  const accumulators: Accumulator[] = [];
  const target = (term: Term | undefined): Operand | null => {
    const accumulator = accumulatorOf(op, term, wanted, sink);
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
