import { native } from '../runtime/native.js';
import { output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Matrix, Snapshot } from '../tensor/tensor.js';
import { coreParameters, Operator, placeOf, type TermSnapshot, type Terms } from './terms.js';

/** A new W' (out, in) from these terms. */
export function mergeTerms(op: string, terms: Terms): Matrix {
  return mergedBy(op, new Operator(terms, undefined));
}

function mergedBy(op: string, operator: Operator): Matrix {
  const { u, vt } = operator.terms;
  const merged = output(op, placeOf(operator.terms), [u.shape[0] as number, vt.shape[1] as number]);
  native.adapterMerge(op, operator.handle(op), merged.memory);
  return merged.tensor();
}

/** W', and the terms with which it was built: its gradient is projected with them. */
export interface Built {
  readonly weight: Matrix;
  readonly operator: Operator;
  readonly snapshot: TermSnapshot;
}

/** The operators that build W' and project its gradient. `core` has no base, which may be disposed by then. */
class MergedTerms {
  readonly terms: Terms;
  readonly #whole: Operator;
  readonly core: Operator;

  constructor(terms: Terms) {
    this.terms = terms;
    this.#whole = new Operator(terms, undefined);
    this.core = terms.base === undefined ? this.#whole : new Operator({ ...terms, base: undefined }, undefined);
  }

  merge(op: string): Matrix {
    return mergedBy(op, this.#whole);
  }
}

/** Caches W'. A parameter may be written at any time, so the cache compares the parameters' bits. */
export class MergedWeight {
  #of: MergedTerms | undefined;
  #built: Built | null = null;
  #snapshot: readonly Snapshot[] = [];

  /** Whether the cached W' is up to date. */
  stands(op: string): boolean {
    return this.#built !== null && this.#isFresh(op, this.#built.operator.terms);
  }

  /** W' for the current values. This object owns the tensor; share it to keep it. */
  current(op: string, terms: () => Terms): Built {
    if (this.#built !== null && this.#isFresh(op, this.#built.operator.terms)) return this.#built;
    const now = terms();
    if (this.#of?.terms !== now) this.#of = new MergedTerms(now);
    const { core } = this.#of;
    const weight = keep(this.#of.merge(op));
    this.dispose();
    // Passes and gathered gradients may outlive this W', so the garbage collector frees the old snapshot.
    const snapshot = core.snapshot(op);
    this.#snapshot = coreParameters(now).map(({ value }) => value.snapshot(op, 'parameter'));
    this.#built = { weight, operator: core, snapshot };
    return this.#built;
  }

  dispose(): void {
    this.#built?.weight.dispose();
    this.#built = null;
  }

  #isFresh(op: string, terms: Terms): boolean {
    return coreParameters(terms).every(({ value }, i) => {
      const before = this.#snapshot[i];
      return before !== undefined && value.unchangedSince(op, 'parameter', before);
    });
  }
}
