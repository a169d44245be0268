import { checkNumber, checkOptions, readList, reject } from '../check.js';
import { native, type Operand } from '../native.js';
import type { Parameter } from '../parameter.js';
import type { ParameterGroup, Ready } from './groups.js';
import { BaseOptimizer, type Memory } from './optimizer.js';

export interface AdamWOptions {
  /** Default 1e-3. */
  lr?: number;
  /** Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
  /** Default 0.01. */
  weightDecay?: number;
}

/**
 * AdamW: decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected, with PyTorch's defaults and order of
 * operations. A parameter that is not trainable, or has no gradient, keeps its moments and its step count.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * const optimizer = new AdamW(layer.parameters, { lr: 5e-2, weightDecay: 0 });
 * optimizer.lrScale = schedule(step);
 * optimizer.step();
 * optimizer.zeroGrad();
 */
export class AdamW extends BaseOptimizer {
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #eps: number;

  constructor(parameters: readonly Parameter[] | readonly ParameterGroup[], options?: AdamWOptions) {
    const op = 'AdamW';
    const given = checkOptions(op, 'options', options, ['lr', 'betas', 'eps', 'weightDecay']);
    const betas = readList(op, 'options.betas', given.betas ?? [0.9, 0.999], 'two numbers');
    if (betas.length !== 2) reject(op, 'options.betas', 'two numbers', betas);
    super(op, parameters, {
      lr: given.lr ?? 1e-3,
      weightDecay: given.weightDecay ?? 0.01,
      arrayNames: ['m', 'v'],
    });
    this.#beta1 = checkNumber(op, 'options.betas[0]', betas[0], 0, 1);
    this.#beta2 = checkNumber(op, 'options.betas[1]', betas[1], 0, 1);
    this.#eps = checkNumber(op, 'options.eps', given.eps ?? 1e-8, 0);
  }

  protected override update({ value, grad }: Ready, lr: number, weightDecay: number, { step, arrays }: Memory): void {
    const { m, v } = arrays as { m: Operand; v: Operand };
    native.adamw('AdamW.step', value, grad, m, v, lr, this.#beta1, this.#beta2, this.#eps, weightDecay, step + 1);
  }
}
