import { describe, fail, readRecord, reject, rejectInstance } from '../runtime/check.js';
import { anything, checkMatrix, checkReal } from '../tensor/operand.js';
import { type Matrix, Tensor, type Vector } from '../tensor/tensor.js';
import { identityOf } from './parts.js';
import { biasName, type Chosen } from './plan.js';
import { moduleName } from './targets.js';

/** A module to adapt, with its tensors. */
export interface Job {
  readonly chosen: Chosen;
  readonly weight: Matrix;
  readonly bias: Vector | undefined;
  /** What a tied module has alike. */
  readonly key: readonly unknown[];
}

export function readTensors(op: string, weights: unknown): ReadonlyMap<string, Tensor> {
  const read = new Map<string, Tensor>();
  for (const [name, value] of Object.entries(readRecord(op, 'weights', weights))) {
    if (!Tensor.is(value)) rejectInstance(op, `weights['${name}']`, 'Tensor', value);
    value.read(op, `weights['${name}']`);
    read.set(name, value);
  }
  return read;
}

/** Biases by the module's name: those among the weights, and those given, which come first. */
export function readBiases(
  op: string,
  weights: ReadonlyMap<string, Tensor>,
  given: unknown,
): ReadonlyMap<string, Tensor> {
  const biases = new Map<string, Tensor>();
  const owners = new Set([...weights].filter(([, { shape }]) => shape.length > 1).map(([name]) => moduleName(name)));
  for (const [name, tensor] of weights) {
    if (name.endsWith('.bias') && owners.has(biasName(name))) biases.set(biasName(name), tensor);
  }
  if (given === undefined) return biases;
  for (const [name, value] of Object.entries(readRecord(op, 'options.biases', given))) {
    const argument = `options.biases['${name}']`;
    if (!Tensor.is(value)) rejectInstance(op, argument, 'Tensor', value);
    const owner = biasName(name);
    const isPart = [...owners].some((each) => owner.startsWith(`${each}.`));
    if (!owners.has(owner) && !isPart) reject(op, argument, 'the name of a module whose weight is given', name);
    biases.set(owner, value);
  }
  return biases;
}

export function prepared(
  op: string,
  chosen: Chosen,
  weights: ReadonlyMap<string, Matrix>,
  biases: ReadonlyMap<string, Tensor>,
): Job {
  const { module, family, options } = chosen;
  const { name } = module;
  const weight = checkMatrix(op, `weights['${module.weight}']`, weights.get(module.weight), anything);
  const own = biases.get(module.layerName);
  const shared = biases.get(moduleName(module.weight));
  const bias = own ?? shared;
  if (bias !== undefined) {
    const features = own === undefined || module.whole ? weight.size / module.in : module.out;
    checkReal(op, `the bias of '${name}'`, bias);
    if (bias.size !== features) {
      fail('SHAPE_MISMATCH', op, `the bias of '${name}'`, `${features} numbers`, describe([...bias.shape]));
    }
  }
  const { layout, block } = module;
  const key = [
    ...identityOf(op, weight),
    layout,
    block.first,
    block.rows,
    block.columns,
    family,
    bias,
    ...Object.entries(options).flat(),
  ];
  return { chosen, weight, bias: bias as Vector | undefined, key };
}
