import { checkBoolean, reject } from '../runtime/check.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { DType, Real } from './dtype.js';
import { checkReal, copyInto, memoryOf, zeroOutput } from './operand.js';
import { keep } from './scope.js';
import type { Tensor } from './tensor.js';
import type { TensorLike } from './view.js';

/**
 * A trainable tensor. A layer exposes its parameters, and an optimiser updates them. Optimisers also take a framework's own
 * parameters: see `ParameterLike`.
 *
 * @example
 * const [sigma] = layer.parameters;
 * sigma.trainable = false; // frozen
 */
export interface Parameter<D extends DType = DType> {
  /**
   * The parameter's role: 'm', 'gate', 'sigma', 'delta', 's', 'r' or 'bias'. A layer's name precedes it:
   * 'blocks.0.q.sigma'.
   */
  readonly name: string;
  /**
   * You may write it at any time, with `assign()` or, on the CPU, through `dataSync()`. The layer notices the change.
   */
  readonly value: Tensor<D>;
  /**
   * The sum of the gradients of every backward since `zeroGrad()`, in the value's shape and type; null before the
   * first. A framework may assign its own tensor. If you replace a gradient, dispose the old tensor; `zeroGrad()` does
   * that for you. Re-read `grad` after each backward: an older reference may be stale.
   */
  get grad(): Tensor | null;
  set grad(grad: TensorLike | null);
  /** If false, no gradient is computed and optimisers skip the parameter. */
  trainable: boolean;
}

/**
 * What an optimiser takes: a parameter of a layer, or one of a framework. Its value may be a view on the framework's own
 * memory, which the optimiser then updates in place.
 *
 * @example
 * const parameter = { name: 'w', value: { data: weights, shape: [8] }, grad: null, trainable: true };
 * const optimizer = new AdamW([...layer.parameters, parameter]);
 */
export interface ParameterLike {
  readonly name: string;
  readonly value: TensorLike;
  get grad(): TensorLike | null;
  set grad(grad: TensorLike | null);
  trainable: boolean;
}

/** Memory to which one pull-back adds; `commit` publishes the sum. */
export interface Accumulator {
  readonly memory: Operand;
  commit(): void;
}

const described = { name: 'Parameter', instead: 'its name and await parameter.value.data()' };
const cloning = uncloneable(described);

/** A layer's parameter. It knows whether it owns its gradient, and so may add to it in place. */
export class LayerParameter implements Parameter<Real> {
  static {
    publish(LayerParameter, {
      ...described,
      isOwn: (value) => #settle in value,
      // Not the gradient: reading it may run a matrix product.
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
    reject('Parameter', `${this.name}.value`, 'no new tensor (write the numbers with value.assign(numbers))', value);
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

  set grad(given: TensorLike | null) {
    if (given !== null && given === this.#grad) return;
    const grad = given === null ? null : checkReal('Parameter', `${this.name}.grad`, given, this.value);
    // Pending contributions belong to the old gradient. Settle them into fresh memory, because the old may be disposed,
    // and discard both. If settling fails, restore the old gradient.
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

  /**
   * Copies a borrowed gradient, because its framework may write or dispose it before pending contributions are added.
   */
  claim(op: string): void {
    if (this.#grad !== null) this.accumulator(op).commit();
  }

  /** Registers the function that adds pending contributions. It runs before the gradient is read or replaced. */
  settleWith(settle: () => void): void {
    this.#settle = settle;
  }

  /** Memory that holds the gradient so far. A pull-back that fails before `commit` leaves `grad` unchanged. */
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
