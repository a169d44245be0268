// @ts-check
// The weights of the Universal Sentence Encoder Lite under short names, as examples/study/encoder.js uses them.
import { readGraphModel, sentenceEncoder } from './graph-model.js';

/** @typedef {{ readonly data: Float32Array, readonly shape: readonly number[] }} Numbers */
/** @typedef {{ readonly weight: Numbers, readonly bias: Numbers }} Linear weight [in, out], bias [out] */
/** @typedef {{ readonly scale: Numbers, readonly shift: Numbers }} Norm */
/**
 * @typedef {object} Pretrained
 * @property {ReadonlyMap<string, Linear>} linears
 * @property {ReadonlyMap<string, Norm>} norms
 * @property {Numbers} embeddings [8002, 256]
 * @property {Numbers} frequencies of the positions' sines [1, 128]
 */

const linears = [
  ['block0.residual', 'KonaTransformer.Layer_0.AdjustResidualInput'],
  ...['block0', 'block1'].flatMap((block, i) => [
    [`${block}.qkv`, `KonaTransformer.Layer_${i}.MultiheadAttention.qkv_transform_single`],
    [`${block}.out`, `KonaTransformer.Layer_${i}.MultiheadAttention.output_transform_single`],
    [`${block}.up`, `KonaTransformer.Layer_${i}.FFN.conv1`],
    [`${block}.down`, `KonaTransformer.Layer_${i}.FFN.conv2`],
  ]),
  ['final', 'hidden_layers'],
];

/** @returns {Pretrained} */
export function readPretrained() {
  const { tensors, layers } = readGraphModel(sentenceEncoder);
  const numbers = (/** @type {string} */ name, /** @type {readonly number[] | undefined} */ shape) => {
    const found = tensors.get(name);
    if (!(found?.data instanceof Float32Array)) throw new Error(`the model has no float32 tensor ${name}`);
    return { data: found.data, shape: shape ?? found.shape };
  };
  const linear = (/** @type {string} */ place) => {
    const found = layers.find(({ name }) => name === place);
    if (found?.bias === undefined) throw new Error(`the model has no linear layer ${place} with a bias`);
    return { weight: numbers(found.weight, [found.in, found.out]), bias: numbers(found.bias, undefined) };
  };
  const norm = (/** @type {string} */ place) => {
    const path = `module_apply_default/Encoder_en/KonaTransformer/Encode/${place}/layer_prepostprocess/layer_norm`;
    const part = (/** @type {string} */ name) =>
      numbers(`${path}/layer_norm_${name}/ConcatPartitions/concat`, undefined);
    return { scale: part('scale'), shift: part('bias') };
  };
  return {
    linears: new Map(linears.map(([name, place]) => [name, linear(place)])),
    norms: new Map(
      ['block0', 'block1'].flatMap((block, i) => [
        [`${block}.attention`, norm(`Layer_${i}/TransformerLayer`)],
        [`${block}.feedForward`, norm(`Layer_${i}/TransformerLayer/FFN`)],
      ]),
    ),
    embeddings: numbers('module/Embeddings_en', undefined),
    frequencies: numbers(
      'module_apply_default/Encoder_en/KonaTransformer/Encode/TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1',
      undefined,
    ),
  };
}
