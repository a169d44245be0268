import { moduleName } from '../files/module-name.js';
import { describe, fail, readRecord, rejectInstance } from '../runtime/check.js';
import { anything, checkMatrix, checkReal } from '../tensor/operand.js';
import { type Matrix, Tensor, type Vector } from '../tensor/tensor.js';
import { identityOf } from './parts.js';
import { type Choices, type Chosen, givenBiases } from './plan.js';

/** A module to adapt, with its tensors. */
export interface Job {
  readonly chosen: Chosen;
  readonly weight: Matrix;
  readonly bias: Vector | undefined;
  /** Where the module's numbers are. Tied modules have the same place, family, bias and options. */
  readonly place: string;
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
  { biases: stored, owners }: Choices,
): ReadonlyMap<string, Tensor> {
  const biases = new Map([...stored].map(([owner, name]) => [owner, weights.get(name) as Tensor]));
  for (const [owner, { argument, value }] of givenBiases(op, given, owners)) {
    if (!Tensor.is(value)) rejectInstance(op, argument, 'Tensor', value);
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
  const { module } = chosen;
  const { name } = module;
  const weight = checkMatrix(op, `weights['${module.weight}']`, weights.get(module.weight), anything);
  const own = biases.get(module.layerName);
  const shared = biases.get(moduleName(module.weight));
  const bias = own ?? shared;
  if (bias !== undefined) {
    const features = own === undefined ? weight.size / module.in : module.out;
    checkReal(op, `the bias of '${name}'`, bias);
    if (bias.size !== features) {
      fail('SHAPE_MISMATCH', op, `the bias of '${name}'`, `${features} numbers`, describe([...bias.shape]));
    }
  }
  const { layout, block } = module;
  const place = [identityOf(op, weight), layout, block.first, block.rows, block.columns].join();
  return { chosen, weight, bias: bias as Vector | undefined, place };
}

/** For each job the first of those that are tied to it: the job itself if there is none. */
export function firstOfTied(jobs: readonly Job[]): readonly Job[] {
  const byPlace = new Map<string, Job[]>();
  return jobs.map((job) => {
    const before = byPlace.get(job.place) ?? [];
    byPlace.set(job.place, before);
    const first = before.find((other) => isTied(other, job));
    if (first === undefined) before.push(job);
    return first ?? job;
  });
}

function isTied(a: Job, b: Job): boolean {
  const optionsOf = ({ chosen }: Job) => chosen.options as Readonly<Record<string, unknown>>;
  const [one, other] = [optionsOf(a), optionsOf(b)];
  const keys = Object.keys(one);
  return (
    a.chosen.family === b.chosen.family &&
    a.bias === b.bias &&
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && one[key] === other[key])
  );
}
