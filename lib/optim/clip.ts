import { reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { type DeviceMemory, native } from '../runtime/native.js';
import { normOf } from '../tensor/norm.js';
import { memoryOf } from '../tensor/operand.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { isHost } from '../tensor/storage.js';
import { checkGrad, readParameters, sharedMemory } from './groups.js';

/**
 * Clips gradients to a global L2 norm, as PyTorch does: multiplies them by maximum / (norm + 1e-6) if that is below 1.
 * It skips frozen parameters and parameters without a gradient. `maximum: Infinity` measures the norm and changes
 * nothing. If the norm is NaN or Infinity, no gradient changes either: check the result and skip the step.
 *
 * @param maximum the largest norm, at least 0
 * @returns the norm before clipping
 * @throws SigmaError INVALID_ARGUMENT (also for gradients that share memory, because they would be scaled twice),
 * SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED
 * @example
 * const norm = clipGradNorm(layer.parameters, 1);
 * if (Number.isFinite(norm)) optimizer.step();
 */
export function clipGradNorm(parameters: readonly ParameterLike[], maximum: number): number {
  const op = 'clipGradNorm';
  if (typeof maximum !== 'number' || !(maximum >= 0)) {
    reject(op, 'maximum', 'a number of at least 0 (Infinity only measures)', maximum);
  }
  const found = readParameters(op, 'parameters', parameters).flatMap(({ parameter, name, value, trainable }) => {
    const grad = trainable ? parameter.grad : null;
    return grad === null || grad === undefined ? [] : [{ name, grad: checkGrad(op, name, grad, value) }];
  });
  // Parameters may have getters, so read all gradients before the first memory.
  const gradients = found.map(({ name, grad }) => ({ grad, memory: memoryOf(op, `${name}.grad`, grad) }));
  const shared = sharedMemory(gradients.map(({ memory }) => memory));
  if (shared !== undefined) {
    const names = shared.map((i) => `'${found[i]?.name}'`).join(' and ');
    throw new SigmaError(
      'INVALID_ARGUMENT',
      op,
      `parameters: expected gradients that share no memory, got ${names} on the same memory`,
    );
  }
  const memories = gradients.map(({ memory }) => memory);
  const host = memories.filter((memory) => isHost(memory));
  const device = memories.filter((memory): memory is DeviceMemory => !isHost(memory));
  const parts = [normOf(host)];
  if (device.length > 0) parts.push(native.deviceNorm(op, device));
  const norm = normOf([parts]);
  const scale = maximum / (norm + 1e-6);
  // NaN compares as false.
  if (!(scale < 1 && norm < Infinity)) return norm;
  for (const numbers of host) {
    for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] as number) * scale;
  }
  if (device.length > 0) native.deviceScale(op, device, scale);
  for (const { grad } of gradients) grad.written();
  return norm;
}
