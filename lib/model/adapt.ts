import type { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear, AdapterOptions } from '../layers/types.js';
import { type ByName, checkOptions, checkSignal } from '../runtime/check.js';
import { bytesPerElement, vectorType } from '../tensor/dtype.js';
import { placed } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { Matrix, Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { AdaptedModel, type Part, type Whole } from './adapted.js';
import { readBiases } from './biases.js';
import { firstOfTied, type Job, prepared } from './jobs.js';
import { biasOf, matrixOf } from './parts.js';
import { chosenModules, familyOf, type ModelOptions, modelOptions, naming } from './plan.js';
import { Loans, readSource, type Stored } from './source.js';
import { cacheOf, factorsFor, inLanes, Progression, readWork } from './work.js';

/**
 * Adapts the matrices of a model: chooses modules by name, cuts fused projections, decomposes two weights at a time and makes
 * a layer of each. Each module draws random numbers of its own: from `options.seed` and its name. Tied weights (two names of
 * one memory) are adapted once.
 *
 * An open file is read while the model is made: each weight when its turn comes, so that at most two are in memory at a time.
 * A weight is released when its layers exist, unless they compute with it. F16 becomes float32; BF16 does on the
 * CPU, unless `storage` is 'bfloat16'. The file may be closed afterwards.
 *
 * With `options.cache` a run that was stopped, or killed, goes on where it was: factors that are in the folder are read.
 *
 * @param weights tensors by name (an object or a Map), as a checkpoint has them, or an open file. Tensors are borrowed for the life of the model.
 * [out, in] is a matrix, a stack [E, out, in] is E of them, a convolution [out, in, …kernel] is the matrix
 * [out, in · kernel]. '….bias' [out] is the bias of the weight with the same name
 * @throws SigmaError (as a rejection) that names the module; nothing is left behind
 * @example
 * const model = await adaptModel(weights, { targets: ['q_proj', 'v_proj'], family: 'svft', options: { pattern: 'banded' } });
 * console.table(model.describe());
 * const optimizer = new AdamW(model.parameters);
 * @example
 * const file = await openSafetensors('model.safetensors');
 * const model = await adaptModel(file, { targets: ['q_proj', 'v_proj'], family: 'vectorfit', cache: 'factors' });
 * await file.close();
 */
export async function adaptModel(
  weights: ByName<TensorLike> | SafetensorsFile,
  options: ModelOptions,
): Promise<AdaptedModel> {
  const op = 'adaptModel';
  const given = checkOptions(op, 'options', options, modelOptions);
  const { signal, onProgress, storage } = readWork(op, given);
  const source = readSource(op, weights);
  const choices = chosenModules(op, [...source.values()], given);
  const biases = readBiases(op, source, given.biases, choices.biases, choices.owners);
  const jobs = choices.chosen.map((each) => prepared(op, each, source, biases, storage));
  const cache = await cacheOf(op, given.cache);
  const made: Scoped[] = [];
  try {
    const firsts = firstOfTied(jobs);
    const setup = { op, cache, signal, onProgress, casts: storage !== undefined, made };
    const { layers, wholes } = await builtLayers(setup, jobs, [...new Set(firsts)]);
    const parts = jobs.map(({ chosen: own }, i): Part => {
      const first = firsts[i] as Job;
      const tied = first.chosen === own ? undefined : first.chosen.module.name;
      return { chosen: own, layer: layers.get(first) as Adapter, tied };
    });
    return AdaptedModel.of(parts, wholes, made);
  } catch (error) {
    for (const each of made) each.dispose();
    throw error;
  }
}

/** What the layers are made with. */
interface Setup {
  readonly op: string;
  readonly cache: FactorCache | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ModelOptions['onProgress'];
  /** Whether the option `storage` is given, so that weights and biases are cast to it. */
  readonly casts: boolean;
  /** What has to be disposed with the layers. */
  readonly made: Scoped[];
  readonly loans: Loans;
  /** By their identity: weights that merged() needs, because some parts of them are not adapted. Filled while layers are made. */
  readonly needed: Map<string, Matrix | undefined>;
}

/** The layers of these jobs, of which none are tied, and the weights of all jobs. */
async function builtLayers(
  given: Omit<Setup, 'loans' | 'needed'>,
  jobs: readonly Job[],
  firsts: readonly Job[],
): Promise<{ readonly layers: ReadonlyMap<Job, Adapter>; readonly wholes: ReadonlyMap<string, Whole> }> {
  const { op, signal, onProgress, made } = given;
  const setup: Setup = { ...given, loans: new Loans(), needed: new Map(neededOf(given, jobs)) };
  const { loans, needed } = setup;
  for (const { weight, bias } of firsts) {
    loans.announce(weight);
    if (bias !== undefined) loans.announce(bias);
  }
  const progress = new Progression(firsts);
  const layers = new Map<Job, Adapter>();
  try {
    await inLanes(firsts, async (job, hasFailed) => {
      checkSignal(op, signal);
      const { layer, cached } = await built(setup, job).catch((error) => {
        throw naming(op, job.chosen.module.name, error);
      });
      layers.set(job, layer);
      made.push(layer);
      if (!hasFailed()) onProgress?.(progress.after(job, layer.bytes(op), cached));
    });
  } finally {
    await loans.close();
  }
  const wholes = jobs.map(({ weight, dtype }): [string, Whole] => {
    const { name, shape, size, tensor } = weight;
    const isBorrowed = tensor !== undefined && !given.casts;
    return [name, { shape, size, dtype, tensor: isBorrowed ? (tensor as Matrix) : needed.get(weight.identity(op)) }];
  });
  return { layers, wholes: new Map(wholes) };
}

/** The weights of which not all parts are adapted, by their identity, unless the caller keeps them. */
function neededOf({ op, casts }: Pick<Setup, 'op' | 'casts'>, jobs: readonly Job[]): [string, undefined][] {
  const left = new Map<Stored, number>();
  for (const { weight, chosen } of jobs) {
    const { rows, columns } = chosen.module.block;
    left.set(weight, (left.get(weight) ?? weight.size) - rows * columns);
  }
  return [...left]
    .filter(([{ tensor }, size]) => size > 0 && (tensor === undefined || casts))
    .map(([weight]) => [weight.identity(op), undefined]);
}

async function built(setup: Setup, job: Job): Promise<{ readonly layer: Adapter; readonly cached: boolean }> {
  const { op, cache, signal, casts, made, loans, needed } = setup;
  const { chosen, weight, bias, dtype, storage } = job;
  const { module, family, options } = chosen;
  const own: AdapterOptions = { ...options, name: module.layerName, layout: module.layout };
  if (signal !== undefined) own.signal = signal;
  // What is not the caller's is disposed when the layer exists, which keeps handles on what it computes with.
  const passing: Scoped[] = [];
  const passed = <T extends Scoped>(tensor: T): T => {
    passing.push(keep(tensor));
    return tensor;
  };
  try {
    if (bias !== undefined) own.bias = passed(await featuresOf(setup, job, bias));
    const whole = (await loans.borrow(op, weight, signal)) as Matrix;
    const id = weight.identity(op);
    if (needed.has(id) && needed.get(id) === undefined) {
      const rest = keep(placed(op, whole, { device: whole.device, dtype }));
      made.push(rest);
      needed.set(id, rest);
    }
    const matrix = matrixOf(op, whole, module);
    const isBorrowed = weight.tensor !== undefined && !casts;
    // W0 merges to the bit while its tensor lives.
    if (matrix !== whole) (isBorrowed ? made : passing).push(keep(matrix));
    const isNarrower = bytesPerElement(storage) < bytesPerElement(matrix.dtype);
    // The factors of narrower matrices are still those of all bits of W0.
    const found = cache || isNarrower ? await factorsFor(op, matrix, job, cache, signal) : undefined;
    if (found !== undefined) own.factors = passed(found.factors);
    const given = isBorrowed ? matrix : passed(placed(op, matrix, { device: matrix.device, dtype }));
    const layer = (await familyOf(family)(given, own)) as AdaptedLinear as Adapter;
    return { layer, cached: found?.cached ?? false };
  } finally {
    for (const each of passing) each.dispose();
    await loans.giveBack(weight);
    if (bias !== undefined) await loans.giveBack(bias);
  }
}

/** The module's part of its bias. */
async function featuresOf({ op, casts, loans, signal }: Setup, { chosen, dtype }: Job, bias: Stored): Promise<Vector> {
  const whole = (await loans.borrow(op, bias, signal)) as Matrix;
  const isBorrowed = bias.tensor !== undefined && !casts;
  const wide = keep(isBorrowed ? whole.share() : placed(op, whole, { device: whole.device, dtype: vectorType(dtype) }));
  try {
    return keep(biasOf(op, wide as Vector, chosen.module));
  } finally {
    wide.dispose();
  }
}
