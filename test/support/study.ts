/** The parts of examples/study that the tests use, with their types (see reference.ts). */
import type * as tf from '@tensorflow/tfjs-core';
import type { Parameter, Tensor } from 'sigmatune';
// @ts-expect-error: no declarations
import * as attentionModule from '../../examples/study/attention.js';
// @ts-expect-error: no declarations
import * as batchModule from '../../examples/study/batch.js';
// @ts-expect-error: no declarations
import * as costSidesModule from '../../examples/study/cost-sides.js';
// @ts-expect-error: no declarations
import * as dataModule from '../../examples/study/data.js';
// @ts-expect-error: no declarations
import * as duplicatesModule from '../../examples/study/duplicates.js';
// @ts-expect-error: no declarations
import * as elementwiseModule from '../../examples/study/elementwise.js';
// @ts-expect-error: no declarations
import * as encoderModule from '../../examples/study/encoder.js';
// @ts-expect-error: no declarations
import * as layersModule from '../../examples/study/layers.js';
// @ts-expect-error: no declarations
import * as mailModule from '../../examples/study/mail.js';
// @ts-expect-error: no declarations
import * as metricsModule from '../../examples/study/metrics.js';
// @ts-expect-error: no declarations
import * as pretrainedModule from '../../examples/study/pretrained.js';
// @ts-expect-error: no declarations
import * as tfjsPartsModule from '../../examples/study/tfjs-parts.js';
// @ts-expect-error: no declarations
import * as tokenizerModule from '../../examples/study/tokenizer.js';

interface Numbers {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}
export interface Linear {
  readonly weight: Numbers;
  readonly bias: Numbers;
}
interface NormNumbers {
  readonly scale: Numbers;
  readonly shift: Numbers;
}
export interface Pretrained {
  readonly linears: ReadonlyMap<string, Linear>;
  readonly norms: ReadonlyMap<string, NormNumbers>;
}
export interface Batch {
  readonly lengths: readonly number[];
  readonly input: tf.Tensor2D;
}
export interface Parts {
  linear(name: string, x: tf.Tensor2D): tf.Tensor2D;
  norm(name: string, x: tf.Tensor2D): tf.Tensor2D;
  attention(qkv: tf.Tensor2D, batch: Batch): tf.Tensor2D;
  add(a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D;
  relu(x: tf.Tensor2D): tf.Tensor2D;
  mean(x: tf.Tensor2D, batch: Batch): tf.Tensor2D;
}
interface View {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}
export interface StudyLayer {
  readonly parameters: readonly Parameter[];
  apply(x: View): Tensor;
  forward(x: View): { readonly y: Tensor; backward(dy: View): Tensor };
  dispose(): void;
}
export interface DenseLayer extends StudyLayer {
  mergedWeight(): Tensor<'float32'>;
}
export interface Metrics {
  readonly balanced: number;
  readonly accuracy: number;
  readonly f1: number;
  readonly auroc: number;
}

export const readPretrained: () => Pretrained = pretrainedModule.readPretrained;
export const readTokenizer: () => (text: string) => number[] = tokenizerModule.readTokenizer;
export const batcher: (pretrained: Pretrained) => (sentences: readonly (readonly number[])[]) => Batch =
  batchModule.batcher;
export const encode: (parts: Parts, batch: Batch) => tf.Tensor2D = encoderModule.encode;
export const tfjsParts: (pretrained: Pretrained) => Parts & { readonly variables: ReadonlyMap<string, tf.Variable> } =
  tfjsPartsModule.tfjsParts;
export const plainOperations: Pick<Parts, 'attention' | 'add' | 'relu' | 'mean'> = {
  attention: attentionModule.attention,
  add: elementwiseModule.add,
  relu: elementwiseModule.relu,
  mean: elementwiseModule.mean,
};
export const Dense: new (name: string, start: Linear) => DenseLayer = layersModule.Dense;
export const Lora: new (
  name: string,
  base: Linear,
  options: { r: number; alpha: number; uniform(length: number, bound: number): Float32Array },
) => DenseLayer = layersModule.Lora;
export const Norm: new (name: string, numbers: NormNumbers, trainable: boolean) => StudyLayer = layersModule.Norm;
export const metricsOf: (scores: readonly number[], labels: readonly number[]) => Metrics = metricsModule.metricsOf;
export const withoutNearDuplicates: (texts: readonly string[], textOf: (text: string) => string) => string[] =
  duplicatesModule.withoutNearDuplicates;
export const textOf: (mail: string) => string = mailModule.textOf;
export const sources: { reviews(): { readonly text: string; readonly label: number }[] } = dataModule.sources;
export const sides: Readonly<Record<string, { readonly backend: string }>> = costSidesModule.sides;
export const makeSide: (
  name: string,
  pretrained: Pretrained,
  makeBatch: () => Batch,
  target: Float32Array,
  lr: number,
) => Promise<() => number> = costSidesModule.makeSide;
