import { native, type RealArray } from '../native.js';
import type { Real } from '../tensor/dtype.js';
import { output } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { coreParameters, layerArguments, type Terms } from './operator.js';

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

/** W', rebuilt only when a parameter has changed: parameters may be written at any time, so their bits are compared. */
export class MergedWeight {
  #weight: Tensor<Real> | null = null;
  #snapshot: RealArray[] = [];

  /** W' for the parameters' values of now. The tensor stays this object's; share it to keep it. */
  current(op: string, terms: Terms): Tensor<Real> {
    const values = coreParameters(terms).map(({ value }) => value.read(op, 'parameter') as RealArray);
    const fresh = values.every((array, i) => {
      const before = this.#snapshot[i];
      return before !== undefined && sameBits(array, before);
    });
    if (this.#weight === null || !fresh) {
      const rebuilt = keep(mergeTerms(op, terms));
      this.#weight?.dispose();
      this.#weight = rebuilt;
      this.#snapshot = values.map((array) => array.slice());
    }
    return this.#weight;
  }

  dispose(): void {
    this.#weight?.dispose();
    this.#weight = null;
  }
}
