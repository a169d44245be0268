import { checkBoolean, reject } from '../runtime/check.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { DType, Real } from './dtype.js';
import { checkReal, copyInto, memoryOf, zeroOutput } from './operand.js';
import { keep } from './scope.js';
import type { Tensor } from './tensor.js';

/** A trainable tensor: what a layer exposes and an optimiser steps. Any object of this form will do. */
export interface Parameter<D extends DType = DType> {
  /** 'm', 'gate' [1], 'sigma', 'bias', 's'; after a layer's name and a dot where it has one. */
  readonly name: string;
  /** May be written through assign(), on the CPU through dataSync() too, at any time; what is derived from it notices. */
  readonly value: Tensor<D>;
  /**
   * Summed over every backward since zeroGrad(); a framework may assign its own. Whoever replaces a gradient disposes the
   * one before; zeroGrad() disposes any. Read it anew after a backward: a tensor held from before may not have its part.
   */
  grad: Tensor | null;
  /** false: no gradient is computed, the optimiser skips it wholly. */
  trainable: boolean;
}

/** Where one pull-back may add, and how to make what it added count. */
export interface Accumulator {
  readonly memory: Operand;
  commit(): void;
}

const described = { name: 'Parameter', instead: 'its name and await parameter.value.data()' };
const cloning = uncloneable(described);

/** A layer's own parameter: it knows whether its gradient may be added to in place. */
export class LayerParameter implements Parameter<Real> {
  static {
    publish(LayerParameter, {
      ...described,
      isOwn: (value) => #settle in value,
      // The gradient is not shown: to ask for it may take a product.
      print: ({ name, value, trainable }) => `Parameter ${name}${trainable ? '' : ' (frozen)'}: ${value}`,
    });
  }

  readonly cloning = cloning;
  readonly name: string;
  readonly #value: Tensor<Real>;
  #trainable = true;
  #grad: Tensor | null = null;
  /** A gradient that a framework assigned is borrowed, so it is never written. */
  #owned = false;
  #settle: () => void = () => undefined;

  constructor(name: string, value: Tensor<Real>) {
    this.name = name;
    this.#value = keep(value);
  }

  get value(): Tensor<Real> {
    return this.#value;
  }

  set value(value: unknown) {
    reject('Parameter', `${this.name}.value`, 'to be written through value.assign(numbers), not to be replaced', value);
  }

  get trainable(): boolean {
    return this.#trainable;
  }

  set trainable(trainable: boolean) {
    this.#trainable = checkBoolean('Parameter', `${this.name}.trainable`, trainable);
  }

  get grad(): Tensor | null {
    this.#settle();
    return this.#grad;
  }

  set grad(grad: Tensor | null) {
    if (grad !== null && grad === this.#grad) return;
    if (grad !== null) checkReal('Parameter', `${this.name}.grad`, grad, this.value);
    // Pending contributions belong to the old gradient: they are settled apart from it, whatever has become of its memory,
    // and discarded with it. If settling fails, all stays as it was.
    const before = [this.#grad, this.#owned] as const;
    this.#grad = null;
    this.#owned = false;
    try {
      this.#settle();
    } catch (error) {
      [this.#grad, this.#owned] = before;
      throw error;
    }
    this.#disposeOwned();
    this.#grad = grad && keep(grad);
    this.#owned = false;
  }

  /** Makes sure that what is added later will have somewhere to go: a framework may do as it likes with its own tensor. */
  claim(op: string): void {
    if (this.#grad !== null) this.accumulator(op).commit();
  }

  /** What still has to add to the gradient, to be called before anyone sees or replaces it. */
  settleWith(settle: () => void): void {
    this.#settle = settle;
  }

  /** The gradient so far, to be added to. Until `commit` a failed pull-back leaves `grad` as it was. */
  accumulator(op: string): Accumulator {
    const current = this.#grad?.disposed ? null : this.#grad;
    if (current !== null && this.#owned) {
      return { memory: memoryOf(op, `${this.name}.grad`, current), commit: () => current.written() };
    }
    const { memory, tensor } = zeroOutput(op, this.#value, this.#value.shape);
    if (current !== null) copyInto(op, memory, memoryOf(op, `${this.name}.grad`, current));
    const commit = () => {
      this.#grad = keep(tensor());
      this.#owned = true;
    };
    return { memory, commit };
  }

  dispose(): void {
    this.#settle = () => undefined;
    this.#value.dispose();
    this.#disposeOwned();
    this.#grad = null;
  }

  #disposeOwned(): void {
    if (this.#owned) this.#grad?.dispose();
  }
}
