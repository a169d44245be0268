/** Parameters without a layer, as a framework may define them. */
import type { Parameter, Real, Tensor } from 'sigmatune';
import { disposeAll, real } from './helpers.js';

export interface OwnParameter extends Parameter {
  readonly value: Tensor<Real>;
}

export function makeParameter(name: string, data: ArrayLike<number>, dtype: Real): OwnParameter {
  return { name, value: real(data, [data.length], dtype), grad: null, trainable: true };
}

export function assign(parameter: Parameter, gradient: ArrayLike<number>): void {
  parameter.grad?.dispose();
  parameter.grad = real(gradient, [gradient.length], parameter.value.dtype as Real);
}

export function disposeParameters(parameters: readonly Parameter[]): void {
  for (const { value, grad } of parameters) disposeAll(value, grad);
}
