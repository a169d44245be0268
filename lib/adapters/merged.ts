import { type LayerArguments, native, type RealArray } from '../native.js';
import type { Real } from '../tensor/dtype.js';
import { output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { coreParameters, frozenArguments, layerArguments, slopeOf, type Terms } from './operator.js';

/** A new W' (out, in) from these terms. */
export function mergeTerms(op: string, terms: Terms): Tensor<Real> {
  const args = layerArguments(op, terms, undefined);
  const merged = output(op, terms.u.dtype, [terms.u.shape[0] as number, terms.vt.shape[1] as number]);
  native.adapterMerge(...args, merged.array);
  return merged.tensor();
}

function sameBits(a: RealArray, b: RealArray): boolean {
  const bytes = (array: RealArray) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(a).equals(bytes(b));
}

/** W', and what its gradient is projected with: the terms as they were when it was built. */
export interface Built {
  readonly weight: Tensor<Real>;
  readonly terms: Terms;
  readonly args: LayerArguments;
  readonly slope: RealArray | null;
}

/** W', rebuilt only when a parameter has changed: parameters may be written at any time, so their bits are compared. */
export class MergedWeight {
  #built: Built | null = null;
  #snapshot: RealArray[] = [];

  /** Whether W' of today's values stands. */
  stands(op: string): boolean {
    return this.#built !== null && this.#fresh(this.#values(op, this.#built.terms));
  }

  /** W' for the parameters' values of now. The tensor stays this object's; share it to keep it. */
  current(op: string, terms: () => Terms): Built {
    if (this.#built !== null && this.#fresh(this.#values(op, this.#built.terms))) return this.#built;
    const now = terms();
    const weight = keep(mergeTerms(op, now));
    this.dispose();
    // The projection needs no base; nothing that is held here holds it either.
    const { base: _, ...core } = now;
    const args = frozenArguments(layerArguments(op, core, undefined), core);
    this.#snapshot = this.#values(op, now).map((array) => array.slice());
    this.#built = { weight, terms: core, args, slope: slopeOf(op, now) };
    return this.#built;
  }

  dispose(): void {
    this.#built?.weight.dispose();
    this.#built = null;
  }

  #values(op: string, terms: Terms): RealArray[] {
    return coreParameters(terms).map(({ value }) => value.read(op, 'parameter') as RealArray);
  }

  #fresh(values: readonly RealArray[]): boolean {
    return values.every((array, i) => {
      const before = this.#snapshot[i];
      return before !== undefined && sameBits(array, before);
    });
  }
}
