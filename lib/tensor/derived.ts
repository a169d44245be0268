// Adapters of one weight compute with the same numbers: the factors, and copies of some of their vectors. Such a copy is made
// once, for all layers that need it. Only numbers that no one writes may be shared like this.
import type { DType } from './dtype.js';
import type { Shape } from './shape.js';
import type { Tensor } from './tensor.js';

/** What was derived from the memory of a tensor, by its description, while it has an owner. */
const known = new WeakMap<object, Map<string, () => Tensor | undefined>>();

/** Stands for the memory of a tensor, and for all that was derived from it. Does not keep the memory alive. */
export interface Origin {
  readonly id: number;
}

const origins = new WeakMap<object, Origin>();
let count = 0;

export function originOf(op: string, argument: string, tensor: Tensor): Origin {
  const memory = tensor.read(op, argument);
  const origin = origins.get(memory) ?? { id: count++ };
  origins.set(memory, origin);
  return origin;
}

function derivedFrom(op: string, from: Tensor): Map<string, () => Tensor | undefined> {
  const memory = from.read(op, 'factors');
  const found = known.get(memory) ?? new Map<string, () => Tensor | undefined>();
  known.set(memory, found);
  return found;
}

/** Another shape on the same memory is another matrix. */
const keyOf = (from: Tensor, what: string) => `${what} of [${from.shape}]`;

/** A new handle on the tensor that `remember` registered under this description; undefined if it has no owner any more. */
export function derivedBefore<D extends DType, S extends Shape>(
  op: string,
  from: Tensor,
  what: string,
): Tensor<D, S> | undefined {
  return derivedFrom(op, from).get(keyOf(from, what))?.() as Tensor<D, S> | undefined;
}

/** Registers a tensor whose numbers follow from those of `from`, as `what` describes. */
export function remember<T extends Tensor>(op: string, from: Tensor, what: string, made: T): T {
  derivedFrom(op, from).set(keyOf(from, what), made.weakly());
  origins.set(made.read(op, 'factors'), originOf(op, 'factors', from));
  return made;
}

/** The tensor that `make` derives from `from`, or another handle on it if it has an owner. */
export function derived<D extends DType, S extends Shape>(
  op: string,
  from: Tensor,
  what: string,
  make: () => Tensor<D, S>,
): Tensor<D, S> {
  return derivedBefore<D, S>(op, from, what) ?? remember(op, from, what, make());
}
