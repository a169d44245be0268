import { checkOptions, reject } from '../runtime/check.js';
import { native, type Operand } from '../runtime/native.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { checkFactor, type ParameterGroup } from './groups.js';
import { BaseOptimizer, type Rule, type Step } from './optimizer.js';

export interface SgdOptions {
  /** Learning rate of every group without its own. Default 1e-3. */
  lr?: number;
  /** Factor of the momentum, at least 0. Default 0. */
  momentum?: number;
  /** Factor of the L2 penalty of every group without its own. Default 0. */
  weightDecay?: number;
}

/**
 * Stochastic gradient descent as in PyTorch: momentum without dampening, and coupled weight decay (added to the
 * gradient). A parameter that is frozen or has no gradient keeps its momentum.
 *
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * const optimizer = new Sgd(layer.parameters, { lr: 0.1, momentum: 0.9 });
 */
export class Sgd extends BaseOptimizer {
  constructor(parameters: readonly ParameterLike[] | readonly ParameterGroup[], options?: SgdOptions) {
    const op = 'Sgd';
    const given = checkOptions(op, 'options', options, ['lr', 'momentum', 'weightDecay']);
    const { lr = 1e-3, momentum = 0, weightDecay = 0 } = given;
    super(op, parameters, { lr, weightDecay, rule: (single) => new SgdRule(op, momentum, single) });
  }
}

class SgdRule implements Rule {
  readonly arrayNames: readonly string[];
  readonly #single: boolean;
  #momentum: number;

  constructor(op: string, momentum: number, single: boolean) {
    this.#single = single;
    this.#momentum = checkFactor(op, 'options.momentum', momentum, single);
    this.arrayNames = momentum > 0 ? ['momentum'] : [];
  }

  update(steps: readonly Step[]): void {
    const tensors: (Operand | null)[] = [];
    const settings: number[] = [];
    for (const { ready, memory, lr, weightDecay } of steps) {
      const buffer = this.#momentum > 0 ? (memory.arrays['momentum'] as Operand) : null;
      tensors.push(ready.value, ready.grad, buffer);
      settings.push(lr, this.#momentum, weightDecay, memory.step === 0 ? 1 : 0);
    }
    native.sgd('Sgd.step', tensors, Float64Array.from(settings));
  }

  largestFactor(lr: number): number {
    return lr;
  }

  settings(): Readonly<Record<string, unknown>> {
    return { momentum: this.#momentum };
  }

  readSettings(op: string, saved: Readonly<Record<string, unknown>>): () => void {
    const path = 'state.settings.momentum';
    const momentum = checkFactor(op, path, saved['momentum'], this.#single);
    if (momentum > 0 !== this.#momentum > 0) {
      const wanted =
        this.#momentum > 0 ? 'a number above 0, because this optimiser has' : '0, because this optimiser has no';
      reject(op, path, `${wanted} momentum arrays`, momentum);
    }
    return () => {
      this.#momentum = momentum;
    };
  }

  upgraded(_op: string, arrays: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
    return arrays;
  }
}
