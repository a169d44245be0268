/** sigmatune in TensorFlow.js: adapted layers as differentiable operations, and as layers of tf.layers. */
export { type AdaptedDenseOptions, adaptedDense } from './dense.js';
export { AdaptedDense, type AdaptedDenseConfig } from './layer.js';
export { fromTf, toTf } from './tensors.js';
