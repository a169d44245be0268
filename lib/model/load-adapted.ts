import { readSaved, type SavedModule } from '../files/adapter-config.js';
import { quoted } from '../files/complaints.js';
import type { FactorCache } from '../files/factor-cache.js';
import { loadAdapters } from '../files/load-adapters.js';
import { moduleName } from '../files/module-name.js';
import type { Place } from '../files/places.js';
import { checkHost, checkPath, type SafetensorsFile } from '../files/safetensors.js';
import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear } from '../layers/types.js';
import type { Factors } from '../linalg/decompose.js';
import { type ByName, checkOptions, checkSignal, fail, reject } from '../runtime/check.js';
import { renamed } from '../runtime/errors.js';
import { type MatrixDType, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { Matrix, Tensor, Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { AdaptedModel, type Whole } from './adapted.js';
import { type Layout, type Module, modulesOf, readStructure, type Structure } from './modules.js';
import { biasOf, matrixOf } from './parts.js';
import type { FamilyName, ModelOptions } from './plan.js';
import { readSource, type Stored } from './source.js';
import { cacheOf, factorsFor } from './work.js';

export interface LoadModelOptions {
  /** As it was when the adapter was trained, for parts of fused weights in a folder that does not have their places. */
  readonly split?: ModelOptions['split'];
  /** A folder, or an open cache, with the factors of the weights. What it does not have is computed and kept there. */
  readonly cache?: ModelOptions['cache'];
  readonly signal?: AbortSignal;
  /** Called when a layer is made. */
  readonly onProgress?: (done: { readonly layers: number; readonly of: number; readonly name: string }) => void;
}

export interface LoadedModel {
  /** Owns its weights. */
  readonly model: AdaptedModel;
  /** The layers by the names that they were saved under. */
  readonly layers: Readonly<Record<string, AdaptedLinear>>;
  /** The names of their weights in the base, by the names of the layers. */
  readonly weights: Readonly<Record<string, string>>;
}

/**
 * Loads a saved adapter onto its base checkpoint: the model that `adaptModel` made, with what it had learned. Its layers,
 * `merged()` and the exports are as before saving. Fused weights, stacked experts and convolutions come from the
 * checkpoint's own tensors: `saveAdapters(folder, model.layers)` saves the place of each layer. Each weight is decomposed as
 * `loadAdapters` does it, or taken from `cache`.
 *
 * The model keeps its weights in memory: those of a file as its own, and the caller's tensors borrowed. Weights are computed
 * with in the type that they were trained in. A bias of the base must be the one that the adapter was trained on. Tied weights get
 * a layer each, equal at first.
 *
 * @param weights the base: tensors by name (an object or a Map), or an open file, which may be closed afterwards
 * @throws SigmaError (as a rejection) as `loadAdapters` does; BASE_MISMATCH also for a layer whose weight the base does not have
 * @example
 * const base = await openSafetensors('model.safetensors');
 * const model = await loadModel('my-adapter', base);
 * await base.close();
 * await exportMerged('merged.safetensors', model, { base: 'model.safetensors' });
 */
export async function loadModel(
  folder: string,
  weights: ByName<TensorLike> | SafetensorsFile,
  options?: LoadModelOptions,
): Promise<AdaptedModel> {
  const op = 'loadModel';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const given = checkOptions(op, 'options', options, ['split', 'cache', 'signal', 'onProgress']);
  checkSignal(op, given.signal);
  const { onProgress } = given;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  try {
    return (await loadAdaptedModel(op, folder, weights, given)).model;
  } catch (error) {
    throw renamed(error, op);
  }
}

/**
 * The adapter in a folder on its base checkpoint, as a model that can be merged. Weights are read in the type that they were
 * trained in. A bias of the base is compared with the one that the adapter was trained on.
 *
 * @throws SigmaError (as a rejection) as `loadAdapters` does; BASE_MISMATCH for a layer whose weight the base does not have
 */
export async function loadAdaptedModel(
  op: string,
  folder: string,
  base: ByName<TensorLike> | SafetensorsFile,
  options: LoadModelOptions,
): Promise<LoadedModel> {
  const { split, cache, signal, onProgress } = options;
  const source = readSource(op, base);
  const structure = readStructure(op, { split }, [...source.values()]);
  const { config, file } = await readSaved(op, folder);
  await file.close();
  const found = config.modules.map((saved) => ({ saved, module: moduleIn(op, source, saved, structure) }));
  const reading = new Reading(op, source, await cacheOf(op, cache), signal);
  try {
    for (const { saved, module } of found) await reading.add(saved, module);
    const { matrices, biases, factors, weights, owned } = reading;
    const layers = await loadAdapters(folder, matrices, {
      biases,
      factors,
      ...(signal !== undefined && { signal }),
      ...(onProgress !== undefined && { onProgress }),
    });
    const parts = found.map(({ saved, module }) => ({
      chosen: { module, family: saved.family as FamilyName, options: {} },
      layer: layers[saved.name] as AdaptedLinear as Adapter,
      tied: undefined,
    }));
    return {
      model: AdaptedModel.of(parts, weights, [...parts.map(({ layer }) => layer), ...owned]),
      layers,
      weights: Object.fromEntries(found.map(({ saved, module }) => [saved.name, module.weight])),
    };
  } catch (error) {
    for (const each of reading.owned) each.dispose();
    throw error;
  } finally {
    for (const each of reading.passing) each.dispose();
  }
}

type Source = ReadonlyMap<string, Stored>;

/** What `loadAdapters` takes, by the names of the saved layers. */
class Reading {
  readonly matrices = new Map<string, Matrix>();
  readonly biases = new Map<string, Vector>();
  readonly factors = new Map<string, Factors>();
  /** By their own names, in the types that they were trained in. */
  readonly weights = new Map<string, Whole & { readonly tensor: Matrix }>();
  /** What lives as long as the model. */
  readonly owned: Scoped[] = [];
  /** What is not used any more when the layers exist. */
  readonly passing: Scoped[] = [];
  /** By name, in the types of the file. */
  readonly #stored = new Map<string, Matrix>();
  readonly #op: string;
  readonly #base: Source;
  readonly #cache: FactorCache | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(op: string, base: Source, cache: FactorCache | undefined, signal: AbortSignal | undefined) {
    this.#op = op;
    this.#base = base;
    this.#cache = cache;
    this.#signal = signal;
  }

  async add({ name, dtype, bias, vectors }: SavedModule, module: Module): Promise<void> {
    const [op, signal] = [this.#op, this.#signal];
    const stored = await this.#weight(module.weight, dtype);
    const { tensor } = this.weights.get(module.weight) as { readonly tensor: Matrix };
    const matrix = matrixOf(op, tensor, module);
    this.matrices.set(name, matrix === tensor ? matrix : kept(this.owned, matrix));
    if (this.#cache !== undefined && !vectors) {
      // As adaptModel keeps them: the factors of the weight as it is stored.
      const own = matrixOf(op, stored, module);
      if (own !== stored) kept(this.passing, own);
      const { factors } = await factorsFor(op, own, { device: own.device, storage: dtype }, this.#cache, signal);
      this.passing.push(factors);
      this.factors.set(name, factors);
    }
    const ofBase = bias === null ? undefined : biasName(this.#base, module);
    if (ofBase === undefined) return;
    const whole = await this.#load(this.passing, ofBase);
    const vector = kept(this.passing, whole.cast(vectorType(dtype)));
    this.biases.set(name, kept(this.owned, biasOf(op, vector, module)));
  }

  /** A tensor of the base. One that is read from a file goes on the list of those to dispose. */
  async #load(list: Scoped[], name: string): Promise<Matrix> {
    const from = this.#base.get(name) as Stored;
    const tensor = (await from.load(this.#op, this.#signal)) as Matrix;
    if (from.tensor === undefined) list.push(tensor);
    return tensor;
  }

  /** The weight as it is stored. It is read once. */
  async #weight(name: string, dtype: MatrixDType): Promise<Matrix> {
    const before = this.#stored.get(name);
    if (before !== undefined) return before;
    const { dtype: found } = this.#base.get(name) as Stored;
    const isCast = found !== dtype;
    const stored = checkMatrix(
      this.#op,
      `weights['${name}']`,
      await this.#load(isCast ? this.passing : this.owned, name),
      anything,
    );
    const tensor = isCast ? kept(this.owned, stored.cast(dtype)) : stored;
    this.#stored.set(name, stored);
    this.weights.set(name, { shape: tensor.shape, size: tensor.size, dtype, tensor });
    return stored;
  }
}

/** Puts a tensor on a list of those to dispose. */
function kept<T extends Tensor>(list: Scoped[], tensor: T): T {
  list.push(keep(tensor));
  return tensor;
}

/** The module at the place that was saved with it. */
function moduleAt(op: string, base: Source, saved: SavedModule, place: Place): Module {
  const { name, outFeatures: out, inFeatures, options } = saved;
  const { tensor, shape, first, stride, feature } = place;
  const found = base.get(tensor);
  const expected = `${quoted(tensor)} of shape [${shape.join(', ')}] in the base`;
  if (String(found?.shape) !== String(shape)) {
    const got = found === undefined ? 'none of this name' : `shape [${found.shape.join(', ')}]`;
    fail('BASE_MISMATCH', op, `layer ${quoted(name)}`, expected, got);
  }
  const layout: Layout = options['layout'] === 'in-out' ? 'in-out' : 'out-in';
  const [rows, columns] = layout === 'in-out' ? [inFeatures, out] : [out, inFeatures];
  return {
    name,
    layerName: moduleName(name),
    names: [name],
    weight: tensor,
    out,
    in: inFeatures,
    layout,
    block: { first, stride, rows, columns },
    firstFeature: feature,
  };
}

/** The module of the base that a saved layer belongs to: a weight of its name, or a part of one whose name it begins with. */
function moduleIn(op: string, base: Source, saved: SavedModule, { split }: Structure): Module {
  const { name, options, place } = saved;
  if (place !== null) return moduleAt(op, base, saved, place);
  const layout: Layout = options['layout'] === 'in-out' ? 'in-out' : 'out-in';
  const wanted = moduleName(name);
  for (let owner = wanted; ; owner = owner.slice(0, owner.lastIndexOf('.'))) {
    for (const weight of [owner, `${owner}.weight`].filter((each) => base.has(each))) {
      const { shape } = base.get(weight) as Stored;
      const modules = modulesOf(op, [{ name: weight, shape, dtype: undefined }], { layout: () => layout, split });
      const module = modules.find(({ layerName }) => layerName === wanted);
      if (module !== undefined) return module;
    }
    if (!owner.includes('.')) break;
  }
  const hint = 'if it is a part of a fused weight, say which with split';
  fail('BASE_MISMATCH', op, `layer ${quoted(name)}`, 'a weight of this name in the base', `none (${hint})`);
}

/** The bias of a module's weight in the base, if that has one of the right size. */
function biasName(base: Source, module: Module): string | undefined {
  const name = `${moduleName(module.weight)}.bias`;
  const features = (base.get(module.weight) as Stored).size / module.in;
  return base.get(name)?.size === features ? name : undefined;
}
