import { reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { native } from '../runtime/native.js';
import { normOf } from '../tensor/norm.js';
import { memoryOf, numbersOf } from '../tensor/operand.js';
import type { Parameter } from '../tensor/parameter.js';
import { isHost } from '../tensor/storage.js';
import { checkGrad, readParameters, sharedMemory } from './groups.js';

/**
 * Scales gradients down to a global L2 norm, as PyTorch does: by maximum / (norm + 1e-6) if that is below 1. Null
 * gradients and frozen parameters are skipped. `maximum` Infinity only measures. If the norm is NaN or Infinity, because
 * a gradient is or because the norm is beyond float64, no gradient is changed: the caller sees it in the result, and may
 * skip the step.
 *
 * @returns the norm before
 * @throws SigmaError INVALID_ARGUMENT (also for gradients that share memory, which would be scaled twice),
 * SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED
 * @example
 * const norm = clipGradNorm(layer.parameters, 1);
 * if (Number.isFinite(norm)) optimizer.step();
 */
export function clipGradNorm(parameters: readonly Parameter[], maximum: number): number {
  const op = 'clipGradNorm';
  if (typeof maximum !== 'number' || !(maximum >= 0)) {
    reject(op, 'maximum', 'a number of at least 0 (Infinity only measures)', maximum);
  }
  const found = readParameters(op, 'parameters', parameters).flatMap(({ parameter, name, value, trainable }) => {
    const grad = trainable ? parameter.grad : null;
    return grad === null || grad === undefined ? [] : [{ name, grad: checkGrad(op, name, grad, value) }];
  });
  // Parameters may have getters: none runs after the first memory was read.
  const gradients = found.map(({ name, grad }) => ({
    grad,
    memory: memoryOf(op, `${name}.grad`, grad),
    numbers: numbersOf(op, `${name}.grad`, grad),
  }));
  const shared = sharedMemory(gradients.map(({ memory }) => memory));
  if (shared !== undefined) {
    const names = shared.map((i) => `'${found[i]?.name}'`).join(' and ');
    throw new SigmaError(
      'INVALID_ARGUMENT',
      op,
      `parameters: expected gradients apart from each other, got ${names} on the same memory`,
    );
  }
  const norm = normOf(gradients.map(({ numbers }) => numbers));
  const scale = maximum / (norm + 1e-6);
  // Not for a NaN, which compares as false, nor for an infinite norm.
  if (!(scale < 1 && norm < Infinity)) return norm;
  for (const { grad, memory, numbers } of gradients) {
    // On the CPU these are the gradient's own.
    for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] as number) * scale;
    if (!isHost(memory)) native.deviceUpload(op, memory, numbers);
    grad.written();
  }
  return norm;
}
