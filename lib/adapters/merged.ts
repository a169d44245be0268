import { type LayerArguments, native } from '../native.js';
import type { Real } from '../tensor/dtype.js';
import { output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Snapshot, Tensor } from '../tensor/tensor.js';
import { coreParameters, frozenArguments, layerArguments, type Terms } from './operator.js';

/** A new W' (out, in) from these terms. */
export function mergeTerms(op: string, terms: Terms): Tensor<Real> {
  const args = layerArguments(op, terms, undefined);
  const merged = output(op, terms.u, [terms.u.shape[0] as number, terms.vt.shape[1] as number]);
  native.adapterMerge(op, ...args, merged.memory);
  return merged.tensor();
}

/** W', and what its gradient is projected with: the terms as they were when it was built. */
export interface Built {
  readonly weight: Tensor<Real>;
  readonly terms: Terms;
  readonly args: LayerArguments;
}

/** W', rebuilt only when a parameter has changed: parameters may be written at any time, so their bits are compared. */
export class MergedWeight {
  #built: Built | null = null;
  #snapshot: readonly Snapshot[] = [];

  /** Whether W' of today's values stands. */
  stands(op: string): boolean {
    return this.#built !== null && this.#isFresh(op, this.#built.terms);
  }

  /** W' for the parameters' values of now. The tensor stays this object's; share it to keep it. */
  current(op: string, terms: () => Terms): Built {
    if (this.#built !== null && this.#isFresh(op, this.#built.terms)) return this.#built;
    const now = terms();
    const weight = keep(mergeTerms(op, now));
    this.dispose();
    // The projection needs no base; nothing that is held here holds it either.
    const core = { ...now, base: undefined };
    // Passes and what they gathered may outlive this W', so its copies are left to the collector.
    const { args } = frozenArguments(op, layerArguments(op, core, undefined), core);
    this.#snapshot = coreParameters(now).map(({ value }) => value.snapshot(op, 'parameter'));
    this.#built = { weight, terms: core, args };
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
