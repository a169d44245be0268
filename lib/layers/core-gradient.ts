import { absent, Operator } from '../operator/terms.js';
import { checkOptions, describe, fail, rejectInstance } from '../runtime/check.js';
import { native } from '../runtime/native.js';
import { vectorType } from '../tensor/dtype.js';
import { checkBatch, checkReal, memoryOf, overlap, zeroOutput } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { Adapter } from './adapter.js';
import type { AdaptedLinear } from './types.js';

/**
 * The gradient of the loss with respect to every entry of the core C, for one batch: Uᵀ G V with G = dyᵀ x, the gradient
 * of W'. U and V are those of `layer.factors`. Its magnitudes say where a sparse M would reduce the loss fastest at first: see
 * `SparsityPattern.fromGradient`. It works for each family, and changes neither the layer nor its gradients.
 *
 * @param layer its `rank` is r
 * @param x [..., in], the layer's input
 * @param dy [..., out], the gradient of the loss with respect to the layer's output
 * @param options `into` [r, r]: the gradient is added to this tensor, which is returned; for a sum over several batches
 * @returns [r, r], float32 or float64; row i belongs to output direction i, column j to input direction j
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
 * @example
 * let scores;
 * for (const { x, dy } of batches) scores = coreGradient(layer, x, dy, { into: scores });
 * const pattern = SparsityPattern.fromGradient(scores, { entries: 4096 });
 */
export function coreGradient(
  layer: AdaptedLinear,
  x: TensorLike,
  dy: TensorLike,
  options?: { into?: TensorLike | undefined },
): Tensor {
  const op = 'coreGradient';
  if (!Adapter.is(layer)) rejectInstance(op, 'layer', 'AdaptedLinear', layer);
  const { into } = checkOptions(op, 'options', options, ['into']);
  const { terms } = layer.anatomy(op, 'layer');
  const { u, vt } = layer.factors;
  const { dtype, device } = layer.place;
  const { inFeatures, outFeatures } = layer;
  const input = checkBatch(op, 'x', x, { shape: undefined, dtype, device });
  if (input.shape.at(-1) !== inFeatures) {
    fail('SHAPE_MISMATCH', op, 'x', `shape [..., ${inFeatures}]`, describe([...input.shape]));
  }
  const given = checkBatch(op, 'dy', dy, { shape: [...input.shape.slice(0, -1), outFeatures], dtype, device });
  const r = u.shape[1] as number;
  const shape: MatrixShape = [r, r];
  const place = { dtype: vectorType(dtype), device };
  const target = into === undefined ? undefined : checkReal(op, 'options.into', into, { shape, ...place });
  const sum = target === undefined ? zeroOutput(op, place, shape) : undefined;
  const memory = sum?.memory ?? memoryOf(op, 'options.into', target as Tensor);
  for (const each of [input, given, u, vt]) {
    if (target !== undefined && overlap(op, memoryOf(op, 'x', each), memory)) {
      fail('INVALID_ARGUMENT', op, 'options.into', 'memory that does not overlap x, dy or the factors', describe(into));
    }
  }
  // The operator with a dense core. Its values are never read, because dx is not computed; so the sum stands in for them.
  const values = (target ?? sum?.tensor()) as Tensor<'float32' | 'float64'>;
  if (input.size === 0) return values;
  const core = { pattern: undefined, values, gate: undefined };
  const operator = new Operator({ ...absent, transposed: terms.transposed, dtype, u, vt, core }, undefined);
  const read = [null, memoryOf(op, 'x', input), memoryOf(op, 'dy', given), null] as const;
  native.adapterBackward(
    op,
    operator.handle(op),
    null,
    null,
    null,
    ...read,
    null,
    memory,
    null,
    null,
    input.size / inFeatures,
  );
  values.written();
  return values;
}
