import * as tf from '@tensorflow/tfjs-core';
import { type ShapedData, SigmaError, Tensor } from '../../index.js';
import { called, fail } from './errors.js';

/** Throws INVALID_ARGUMENT, DISPOSED or DTYPE_MISMATCH unless the value is a live tf.Tensor of one of these types. */
function checkTf(op: string, argument: string, value: unknown, dtypes: readonly string[]): tf.Tensor {
  if (!(value instanceof tf.Tensor)) {
    fail('INVALID_ARGUMENT', op, argument, 'a tf.Tensor of the same copy of @tensorflow/tfjs-core', called(value));
  }
  if (value.isDisposed) {
    throw new SigmaError('DISPOSED', op, `${argument}: expected a live tf.Tensor, got one that was disposed`);
  }
  if (!dtypes.includes(value.dtype)) fail('DTYPE_MISMATCH', op, argument, dtypes.join(' or '), value.dtype);
  return value;
}

/** The numbers of a float32 tensor, in its own memory on the cpu backend. To be read at once. */
export function viewOf(op: string, argument: string, value: unknown): ShapedData {
  const given = checkTf(op, argument, value, ['float32']);
  return { data: given.dataSync(), shape: given.shape };
}

/**
 * A tf.Tensor as a tensor of this package, which you dispose. On the cpu backend both have the same memory, so do not write
 * it: tfjs treats its tensors as immutable. From other backends it is a copy.
 *
 * @param t float32 or int32, of any rank
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * const weight = fromTf(dense.getWeights()[0]); // [in, out]
 * const layer = await svft(weight, { layout: 'in-out' });
 */
export function fromTf<D extends 'float32' | 'int32' = 'float32'>(t: tf.Tensor): Tensor<D> {
  const given = checkTf('fromTf', 't', t, ['float32', 'int32']);
  return Tensor.wrap(given.dataSync() as Float32Array | Int32Array, given.shape) as Tensor as Tensor<D>;
}

/**
 * A tensor of this package as a tf.Tensor, which you or tf.tidy dispose. On the cpu backend both have the same memory: a
 * later write to the tensor changes the tf.Tensor. Other backends copy.
 *
 * @param tensor float32 or int32
 * @throws SigmaError INVALID_ARGUMENT, DTYPE_MISMATCH, DISPOSED
 * @example
 * const kernel = toTf(layer.mergedWeight()).transpose();
 */
export function toTf(tensor: Tensor): tf.Tensor {
  const op = 'toTf';
  if (!(tensor instanceof Tensor)) fail('INVALID_ARGUMENT', op, 'tensor', 'a Tensor', called(tensor));
  const { dtype, shape } = tensor;
  if (dtype !== 'float32' && dtype !== 'int32') {
    fail('DTYPE_MISMATCH', op, 'tensor', "float32 or int32, which tfjs has (tensor.cast('float32') makes it)", dtype);
  }
  return tf.tensor(tensor.dataSync() as Float32Array | Int32Array, [...shape], dtype);
}

/** `toTf` of a tensor that only the caller has. */
export function handed(tensor: Tensor): tf.Tensor {
  const given = toTf(tensor);
  tensor.dispose();
  return given;
}
