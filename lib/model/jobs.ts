import { moduleName } from '../files/module-name.js';
import { describe, fail } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { type FactorDType, type MatrixDType, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix, checkReal, checkSupported, matrixTypes } from '../tensor/operand.js';
import { refuseCodes } from '../tensor/tensor.js';
import { about, type Chosen } from './plan.js';
import type { Stored } from './source.js';
import { isOfMatrixType } from './targets.js';

/** A module to adapt, with its tensors. */
export interface Job {
  readonly chosen: Chosen;
  readonly weight: Stored;
  readonly bias: Stored | undefined;
  /** Of the layer. */
  readonly device: Device;
  /** Of the layer's activations and its base. */
  readonly dtype: MatrixDType;
  /** Of its factors. */
  readonly storage: FactorDType;
  /** Where the module's numbers are. Tied modules have the same place, family, bias and options. */
  readonly place: string;
}

export function prepared(
  op: string,
  chosen: Chosen,
  weights: ReadonlyMap<string, Stored>,
  biases: ReadonlyMap<string, Stored>,
  wanted: FactorDType | undefined,
): Job {
  const { module, options } = chosen;
  const { name } = module;
  const weight = weights.get(module.weight) as Stored;
  const { tensor } = weight;
  if (tensor !== undefined) checkMatrix(op, `weights['${module.weight}']`, tensor, anything);
  const own = biases.get(module.layerName);
  const bias = own ?? biases.get(moduleName(module.weight));
  if (bias !== undefined) checkBias(op, name, bias, own === undefined ? weight.size / module.in : module.out);
  const { layout, block } = module;
  // An absent property would be looked up on Object.prototype.
  const asked = Object.hasOwn(options, 'device') ? options.device : undefined;
  const place = [weight.identity(op), layout, block.first, block.rows, block.columns].join();
  const device = about(op, name, () => resolveDevice(op, asked, tensor?.device ?? 'cpu'));
  const dtype = typeOfLayer(op, weight, wanted, device);
  return { chosen, weight, bias, device, dtype, storage: wanted === 'int8' ? wanted : dtype, place };
}

function checkBias(op: string, name: string, bias: Stored, features: number): void {
  const argument = `the bias of '${name}'`;
  if (bias.tensor !== undefined) checkReal(op, argument, bias.tensor);
  else if (!isOfMatrixType(bias)) fail('DTYPE_MISMATCH', op, argument, matrixTypes.join(' or '), bias.dtype);
  if (bias.size !== features) fail('SHAPE_MISMATCH', op, argument, `${features} numbers`, describe([...bias.shape]));
}

/**
 * The type in which a layer keeps its matrices. A file's bfloat16 is widened for the CPU, where activations are mostly float32,
 * unless `storage` asks for it. Next to int8 factors it is that of a layer without the option, or float32 for float64.
 */
function typeOfLayer(
  op: string,
  { dtype, tensor }: Stored,
  storage: FactorDType | undefined,
  device: Device,
): MatrixDType {
  if (storage === 'int8' && device !== 'cpu') return refuseCodes(op, 'options.storage', device);
  if (storage !== undefined && storage !== 'int8') {
    checkSupported(op, 'options.storage', { dtype: storage }, 'gemm', device);
    return storage;
  }
  const own = dtype as MatrixDType;
  const kept = tensor === undefined && device === 'cpu' ? vectorType(own) : own;
  return storage === 'int8' && kept === 'float64' ? 'float32' : kept;
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
  const biasOf = ({ bias }: Job) => bias?.tensor ?? bias;
  return (
    a.chosen.family === b.chosen.family &&
    biasOf(a) === biasOf(b) &&
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && one[key] === other[key])
  );
}
