import { checkNumber, checkOptions, readList, reject } from '../runtime/check.js';
import { native, type Operand } from '../runtime/native.js';
import { copyOfNumbers, dtypeOf } from '../tensor/dtype.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { checkFactor, type ParameterGroup } from './groups.js';
import { BaseOptimizer, type Rule, type Step } from './optimizer.js';

export interface AdamWOptions {
  /** Learning rate of every group without its own. Default 1e-3. */
  lr?: number;
  /** Decay rates of the two moments, each in [0, 1). Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  eps?: number;
  /** Decoupled weight decay of every group without its own. Default 0.01. */
  weightDecay?: number;
}

/**
 * AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay and bias correction, with PyTorch's defaults. A
 * parameter that is frozen or has no gradient keeps its moments and its step count. Every finite gradient gives a
 * finite step: the second moment is stored as its root, and 0 / 0 (possible with `eps: 0`) counts as 0.
 *
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * const optimizer = new AdamW(layer.parameters, { lr: 5e-2, weightDecay: 0 });
 * optimizer.lrScale = schedule(step);
 * optimizer.step();
 * optimizer.zeroGrad();
 */
export class AdamW extends BaseOptimizer {
  constructor(parameters: readonly ParameterLike[] | readonly ParameterGroup[], options?: AdamWOptions) {
    const op = 'AdamW';
    const given = checkOptions(op, 'options', options, ['lr', 'betas', 'eps', 'weightDecay']);
    const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = given;
    super(op, parameters, { lr, weightDecay, rule: (single) => new AdamWRule(op, 'options', { betas, eps }, single) });
  }
}

class AdamWRule implements Rule {
  readonly arrayNames = ['m', 'rms'];
  readonly #single: boolean;
  #betas: readonly [number, number];
  #eps: number;

  constructor(op: string, path: string, { betas, eps }: Readonly<Record<string, unknown>>, single: boolean) {
    this.#single = single;
    this.#betas = readBetas(op, `${path}.betas`, betas);
    this.#eps = checkFactor(op, `${path}.eps`, eps, single);
  }

  update(steps: readonly Step[]): void {
    const [beta1, beta2] = this.#betas;
    const tensors: Operand[] = [];
    const settings: number[] = [];
    for (const { ready, memory, lr, weightDecay } of steps) {
      const { m, rms } = memory.arrays as { m: Operand; rms: Operand };
      tensors.push(ready.value, ready.grad, m, rms);
      settings.push(lr, beta1, beta2, this.#eps, weightDecay, memory.step + 1);
    }
    native.adamw('AdamW.step', tensors, Float64Array.from(settings));
  }

  largestFactor(lr: number, weightDecay: number, step: number): number {
    const beta = this.#betas[0];
    // No later step has a larger factor than the first. If that one is small, the power can be saved.
    const first = lr / (1 - beta);
    return Math.max(first < 1 ? first : lr / (1 - beta ** step), lr * weightDecay);
  }

  settings(): Readonly<Record<string, unknown>> {
    return { betas: [...this.#betas], eps: this.#eps };
  }

  readSettings(op: string, saved: Readonly<Record<string, unknown>>): () => void {
    const read = new AdamWRule(op, 'state.settings', saved, this.#single);
    return () => {
      this.#betas = read.#betas;
      this.#eps = read.#eps;
    };
  }

  /** Version 0.1 stored v, the mean of squares, instead of its root. */
  upgraded(op: string, { v, ...others }: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
    if (v === undefined) return others;
    const dtype = dtypeOf(v);
    const squares = dtype === 'float32' || dtype === 'float64' ? copyOfNumbers(op, dtype, v) : undefined;
    return { ...others, rms: squares?.map(Math.sqrt) ?? v };
  }
}

function readBetas(op: string, path: string, betas: unknown): readonly [number, number] {
  const list = readList(op, path, betas, 'two numbers');
  if (list.length !== 2) reject(op, path, 'two numbers', betas);
  return [checkNumber(op, `${path}[0]`, list[0], 0, 1), checkNumber(op, `${path}[1]`, list[1], 0, 1)];
}
