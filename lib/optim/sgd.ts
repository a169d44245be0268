import { checkNumber, checkOptions } from '../check.js';
import { native, type Operand } from '../native.js';
import type { Parameter } from '../parameter.js';
import type { ParameterGroup, Ready } from './groups.js';
import { BaseOptimizer, type Memory } from './optimizer.js';

export interface SgdOptions {
  /** Default 1e-3. */
  lr?: number;
  /** Default 0. */
  momentum?: number;
  /** Default 0. */
  weightDecay?: number;
}

/**
 * PyTorch's SGD: coupled weight decay, momentum without dampening.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * const optimizer = new Sgd(layer.parameters, { lr: 0.1, momentum: 0.9 });
 */
export class Sgd extends BaseOptimizer {
  readonly #momentum: number;

  constructor(parameters: readonly Parameter[] | readonly ParameterGroup[], options?: SgdOptions) {
    const op = 'Sgd';
    const given = checkOptions(op, 'options', options, ['lr', 'momentum', 'weightDecay']);
    const momentum = checkNumber(op, 'options.momentum', given.momentum ?? 0, 0);
    super(op, parameters, {
      lr: given.lr ?? 1e-3,
      weightDecay: given.weightDecay ?? 0,
      arrayNames: momentum > 0 ? ['momentum'] : [],
    });
    this.#momentum = momentum;
  }

  protected override update({ value, grad }: Ready, lr: number, weightDecay: number, { step, arrays }: Memory): void {
    native.sgd(
      'Sgd.step',
      value,
      grad,
      this.#momentum > 0 ? (arrays['momentum'] as Operand) : null,
      lr,
      this.#momentum,
      weightDecay,
      step === 0,
    );
  }
}
