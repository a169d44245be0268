import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear, AdapterOptions } from '../layers/types.js';
import { lanes } from '../linalg/svd.js';
import { checkOptions, checkSignal, reject } from '../runtime/check.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';
import { AdaptedModel, type Part } from './adapted.js';
import { firstOfTied, type Job, prepared, readBiases, readTensors } from './jobs.js';
import { biasOf, matrixOf } from './parts.js';
import { chosenModules, familyOf, type ModelOptions, modelOptions, naming } from './plan.js';

/**
 * Adapts the matrices of a model: chooses modules by name, cuts fused projections, decomposes two weights at a time and makes
 * a layer of each. Each module draws random numbers of its own: from `options.seed` and its name. Tied weights (two names of
 * one memory) are adapted once.
 *
 * @param weights tensors by name, as a checkpoint has them; borrowed for the life of the model. [out, in] is a matrix, a stack
 * [E, out, in] is E of them, a convolution [out, in, …kernel] is the matrix [out, in · kernel]. '….bias' [out] is the bias of
 * the weight with the same name
 * @throws SigmaError (as a rejection) that names the module; nothing is left behind
 * @example
 * const model = await adaptModel(weights, { targets: ['q_proj', 'v_proj'], family: 'svft', options: { pattern: 'banded' } });
 * console.table(model.describe());
 * const optimizer = new AdamW(model.parameters);
 */
export async function adaptModel(
  weights: Readonly<Record<string, Tensor>>,
  options: ModelOptions,
): Promise<AdaptedModel> {
  const op = 'adaptModel';
  const given = checkOptions(op, 'options', options, modelOptions);
  const { signal, onProgress } = given;
  checkSignal(op, signal);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  const tensors = readTensors(op, weights);
  const matrices = new Map([...tensors].filter((pair): pair is [string, Matrix] => pair[1].dtype !== 'int32'));
  const stored = [...tensors].map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
  const choices = chosenModules(op, stored, given);
  const { chosen } = choices;
  const biases = readBiases(op, tensors, given.biases, choices);
  const made: Scoped[] = [];
  try {
    const jobs = chosen.map((each) => prepared(op, each, matrices, biases));
    const firsts = firstOfTied(jobs);
    const layers = await builtLayers(op, [...new Set(firsts)], given, made);
    const parts = jobs.map(({ chosen: own }, i): Part => {
      const first = firsts[i] as Job;
      const tied = first.chosen === own ? undefined : first.chosen.module.name;
      return { chosen: own, layer: layers.get(first) as Adapter, tied };
    });
    const used = new Set(chosen.map(({ module }) => module.weight));
    return AdaptedModel.of(parts, new Map([...matrices].filter(([name]) => used.has(name))), made);
  } catch (error) {
    for (const each of made) each.dispose();
    throw error;
  }
}

/** The layers of these jobs, `lanes.most` at a time. `made` gets what has to be disposed with them. */
async function builtLayers(
  op: string,
  jobs: readonly Job[],
  { signal, onProgress }: ModelOptions,
  made: Scoped[],
): Promise<ReadonlyMap<Job, Adapter>> {
  const layers = new Map<Job, Adapter>();
  const waiting = jobs.values();
  let failed = false;
  const work = async () => {
    for (const job of waiting) {
      if (failed) return;
      const { name } = job.chosen.module;
      try {
        checkSignal(op, signal);
        const layer = await built(op, job, signal, made).catch((error) => {
          throw naming(op, name, error);
        });
        layers.set(job, layer);
        made.push(layer);
        if (!failed) onProgress?.({ modules: layers.size, of: jobs.length, name, bytes: layer.bytes(op) });
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: lanes.most }, work));
  const first = settled.find((outcome) => outcome.status === 'rejected');
  if (first !== undefined) throw first.reason;
  return layers;
}

async function built(
  op: string,
  { chosen, weight, bias }: Job,
  signal: AbortSignal | undefined,
  made: Scoped[],
): Promise<Adapter> {
  const { module, family, options } = chosen;
  const features = bias && keep(biasOf(op, bias, module));
  const own: AdapterOptions = { ...options, name: module.layerName, layout: module.layout };
  if (features !== undefined) own.bias = features;
  if (signal !== undefined) own.signal = signal;
  try {
    const matrix = matrixOf(op, weight, module);
    // W0 merges to the bit while its tensor lives.
    if (matrix !== weight) made.push(keep(matrix));
    return (await familyOf(family)(matrix, own)) as AdaptedLinear as Adapter;
  } finally {
    features?.dispose();
  }
}
