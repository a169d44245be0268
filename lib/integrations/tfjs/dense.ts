import * as tf from '@tensorflow/tfjs-core';
import type { AdaptedLinear } from '../../index.js';
import { called, fail } from './errors.js';
import { applied, checkLayer, type Sink } from './operation.js';
import { handed, viewOf } from './tensors.js';

export interface AdaptedDenseOptions {
  /** Keep nothing for a gradient; asking for one is UNSUPPORTED. Default false. */
  inference?: boolean;
}

const op = 'adaptedDense';

/** A variable without a meaning, which puts every operation on the path that tfjs differentiates. */
let anchor: tf.Variable | undefined;

function anchored(): tf.Variable {
  if (anchor === undefined || anchor.isDisposed) anchor = tf.tidy(() => tf.variable(tf.scalar(0)));
  return anchor;
}

/** Adds the gradients into each parameter's `grad`. */
export const intoParameters: Sink = {
  variables: () => [anchored()],
  pull: (pass, dy) => [handed(pass.backward(viewOf(op, 'dy', dy))), tf.scalar(0)],
};

/**
 * An adapted layer as a function of tfjs: x [..., in] → y [..., out], differentiable in x. The gradients of a pull-back add
 * into `layer.parameters`, for the optimisers of this package; `AdaptedDense` is for those of tfjs. Works with every backend
 * that reads synchronously. The layer is borrowed.
 *
 * tfjs only runs the pull-backs that lead to what it differentiates by. So use `tf.variableGrads(f)` without a list of
 * variables, `optimizer.minimize(f)`, or differentiate by x.
 *
 * @param layer a float32 layer on the CPU
 * @throws SigmaError (also from the function that it returns) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DISPOSED;
 * DEVICE_MISMATCH if the backend changes before the pull-back; UNSUPPORTED for second-order gradients
 * @example
 * const dense = adaptedDense(await svft(weight));
 * const optimizer = new AdamW(layer.parameters);
 * const { value, grads } = tf.variableGrads(() => tf.losses.meanSquaredError(target, dense(x)));
 * optimizer.step();
 */
export function adaptedDense(layer: AdaptedLinear, options: AdaptedDenseOptions = {}): (x: tf.Tensor) => tf.Tensor {
  checkLayer(op, layer);
  const { inference = false, ...others } = options;
  if (typeof inference !== 'boolean') {
    fail('INVALID_ARGUMENT', op, 'options.inference', 'a boolean', called(inference));
  }
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined) fail('INVALID_ARGUMENT', op, 'options', 'only the option inference', `'${unknown}'`);
  if (!inference) anchored();
  return (x) => applied(op, layer, x, inference ? undefined : intoParameters);
}
