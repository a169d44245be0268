import { checkNumber } from '../check.js';
import type { Parameter } from '../parameter.js';
import { numbersOf } from '../tensor/operand.js';
import { checkGrad, checkParameters } from './groups.js';

/**
 * Scales gradients down to a global L2 norm, as PyTorch does: by maximum / (norm + 1e-6) where that is below 1. Null
 * gradients and frozen parameters are skipped.
 *
 * @returns the norm before
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DISPOSED
 * @example
 * clipGradNorm(layer.parameters, 1);
 */
export function clipGradNorm(parameters: readonly Parameter[], maximum: number): number {
  const op = 'clipGradNorm';
  checkNumber(op, 'maximum', maximum, 0);
  const gradients = checkParameters(op, 'parameters', parameters)
    .filter(({ trainable, grad }) => trainable && grad)
    .map((parameter) => ({ name: parameter.name, grad: checkGrad(op, parameter) }))
    .map(({ name, grad }) => ({ grad, numbers: numbersOf(op, `${name}.grad`, grad) }));
  let squares = 0;
  // By index: iterators make these loops an order of magnitude slower.
  for (const { numbers } of gradients) {
    for (let i = 0; i < numbers.length; i++) squares += (numbers[i] as number) ** 2;
  }
  const norm = Math.sqrt(squares);
  const scale = maximum / (norm + 1e-6);
  if (scale < 1) {
    for (const { grad, numbers } of gradients) {
      for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] as number) * scale;
      // On the CPU these are the gradient's own.
      if (grad.device !== 'cpu') grad.assign(numbers);
    }
  }
  return norm;
}
