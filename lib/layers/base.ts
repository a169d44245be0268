import { mergeTerms } from '../operator/merged.js';
import { costOf, ofOneToken } from '../operator/planner.js';
import { FactoredRoute, FixedRoute, type Route } from '../operator/route.js';
import { absent, Operator, sizesOf, type Terms } from '../operator/terms.js';
import { SigmaError } from '../runtime/errors.js';
import { copyOf } from '../tensor/operand.js';
import type { Matrix, Vector } from '../tensor/tensor.js';

/** The pretrained layer. */
export interface Base {
  /** W0, or undefined if it is no longer available. */
  readonly weight: () => Matrix | undefined;
  /** Whether `weight` was computed from the factors: then its bits are not those of the caller's weight. */
  readonly derived: boolean;
  /** The terms that replace W0 afterwards, if the factors reproduce it. */
  readonly original: Terms | undefined;
  readonly bias: Vector | undefined;
}

/** The caller's W0, if the layer can reach it. */
export function givenWeight({ weight, derived }: Base): Matrix | undefined {
  return derived ? undefined : weight();
}

/** Computes a layer that is switched off. */
export class BaseLayer {
  readonly #base: Base;
  /** Whether W0 is stored as [in, out]. */
  readonly #transposed: boolean;

  constructor(base: Base, transposed: boolean) {
    this.#base = base;
    this.#transposed = transposed;
  }

  route(op: string): Route {
    const { bias, original } = this.#base;
    const weight = this.#reach(op);
    return weight ? new FixedRoute(weight, this.#transposed, bias) : new FactoredRoute(original as Terms, bias);
  }

  /** The same as one operator: W0 alone, which does not use `factors`, or the terms that replace it. */
  operator(op: string, { u, vt }: Pick<Terms, 'u' | 'vt'>): Operator {
    const { bias, original } = this.#base;
    const weight = this.#reach(op);
    const alone = weight && { ...absent, transposed: this.#transposed, dtype: weight.dtype, base: weight, u, vt };
    return new Operator(alone ?? (original as Terms), bias);
  }

  /** Forward and backward in units of 2 · N · in · out flops. */
  gemms(op: string): number {
    const original = this.#reach(op) ? undefined : (this.#base.original as Terms);
    if (original === undefined) return 2;
    const { in: inFeatures, out: outFeatures, rank } = sizesOf(original);
    return costOf('factored', { ...ofOneToken, inFeatures, outFeatures, rank, trainsCore: false });
  }

  /** A new tensor in W0's layout: the bits of W0 while it is available, equal to rounding afterwards. */
  weight(op: string): Matrix {
    const weight = this.#reach(op);
    return weight ? copyOf(op, 'weight', weight) : mergeTerms(op, this.#base.original as Terms);
  }

  /** A new tensor with the pretrained bias. */
  bias(op: string): Vector | undefined {
    return this.#base.bias && copyOf(op, 'bias', this.#base.bias);
  }

  /** W0. undefined only if `original` replaces it. */
  #reach(op: string): Matrix | undefined {
    const weight = this.#base.weight();
    if (weight === undefined && this.#base.original === undefined) {
      const why = 'this layer is switched off, and its factors do not contain the part of the weight beyond `rank`';
      const got = 'none, a disposed tensor, or a tensor on another device';
      throw new SigmaError('DISPOSED', op, `weight: expected a live tensor on the layer's device, got ${got} (${why})`);
    }
    return weight;
  }
}
