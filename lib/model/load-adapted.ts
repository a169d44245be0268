import { readSaved, type SavedModule } from '../files/adapter-config.js';
import { quoted } from '../files/complaints.js';
import type { FactorCache } from '../files/factor-cache.js';
import { loadAdapters } from '../files/load-adapters.js';
import { moduleName } from '../files/module-name.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear } from '../layers/types.js';
import type { Factors } from '../linalg/decompose.js';
import { fail } from '../runtime/check.js';
import { type MatrixDType, vectorType } from '../tensor/dtype.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { sizeOf } from '../tensor/shape.js';
import type { Matrix, Tensor, Vector } from '../tensor/tensor.js';
import { AdaptedModel, type Whole } from './adapted.js';
import { type Layout, type Module, modulesOf, readStructure, type Structure } from './modules.js';
import { biasOf, matrixOf } from './parts.js';
import type { FamilyName, ModelOptions } from './plan.js';
import { cacheOf, factorsFor } from './work.js';

export interface LoadAdaptedOptions {
  /** As it was when the adapter was trained, if it has parts of fused weights. */
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
 * The adapter in a folder on its base checkpoint, as a model that can be merged. Weights are read in the type that they were
 * trained in. A bias of the base is compared with the one that the adapter was trained on.
 *
 * @throws SigmaError (as a rejection) as `loadAdapters` does; BASE_MISMATCH for a layer whose weight the base does not have
 */
export async function loadAdaptedModel(
  op: string,
  folder: string,
  base: SafetensorsFile,
  options: LoadAdaptedOptions,
): Promise<LoadedModel> {
  const { split, cache, signal, onProgress } = options;
  const shapes = base.names.map((name) => ({ name, shape: base.info(name).shape, dtype: undefined }));
  const structure = readStructure(op, { split }, shapes);
  const { config, file } = await readSaved(op, folder);
  await file.close();
  const found = config.modules.map((saved) => ({ saved, module: moduleIn(op, base, saved, structure) }));
  const reading = new Reading(op, base, await cacheOf(op, cache), signal);
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

/** What `loadAdapters` takes, by the names of the saved layers. */
class Reading {
  readonly matrices: Record<string, Matrix> = {};
  readonly biases: Record<string, Vector> = {};
  readonly factors: Record<string, Factors> = {};
  /** By their own names, in the types that they were trained in. */
  readonly weights = new Map<string, Whole & { readonly tensor: Matrix }>();
  /** What lives as long as the model. */
  readonly owned: Scoped[] = [];
  /** What is not used any more when the layers exist. */
  readonly passing: Scoped[] = [];
  /** By name, in the types of the file. */
  readonly #stored = new Map<string, Matrix>();
  readonly #op: string;
  readonly #base: SafetensorsFile;
  readonly #cache: FactorCache | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(op: string, base: SafetensorsFile, cache: FactorCache | undefined, signal: AbortSignal | undefined) {
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
    this.matrices[name] = matrix === tensor ? matrix : kept(this.owned, matrix);
    if (this.#cache !== undefined && !vectors) {
      // As adaptModel keeps them: the factors of the weight as it is stored.
      const own = matrixOf(op, stored, module);
      if (own !== stored) kept(this.passing, own);
      const { factors } = await factorsFor(op, own, { device: 'cpu', dtype }, this.#cache, signal);
      this.passing.push(factors);
      this.factors[name] = factors;
    }
    const ofBase = bias === null ? undefined : biasName(this.#base, module);
    if (ofBase === undefined) return;
    const whole = kept(this.passing, await this.#base.readAs(op, ofBase, signal));
    const vector = kept(this.passing, whole.cast(vectorType(dtype)));
    this.biases[name] = kept(this.owned, biasOf(op, vector, module));
  }

  /** The weight as it is stored. It is read once. */
  async #weight(name: string, dtype: MatrixDType): Promise<Matrix> {
    const before = this.#stored.get(name);
    if (before !== undefined) return before;
    const stored = (await this.#base.readAs(this.#op, name, this.#signal)) as Matrix;
    const isCast = stored.dtype !== dtype;
    kept(isCast ? this.passing : this.owned, stored);
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

/** The module of the base that a saved layer belongs to: a weight of its name, or a part of one whose name it begins with. */
function moduleIn(op: string, base: SafetensorsFile, saved: SavedModule, { split }: Structure): Module {
  const { name, options } = saved;
  const layout: Layout = options['layout'] === 'in-out' ? 'in-out' : 'out-in';
  const wanted = moduleName(name);
  for (let owner = wanted; ; owner = owner.slice(0, owner.lastIndexOf('.'))) {
    for (const weight of [owner, `${owner}.weight`].filter((each) => base.has(each))) {
      const { shape } = base.info(weight);
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
function biasName(base: SafetensorsFile, module: Module): string | undefined {
  const name = `${moduleName(module.weight)}.bias`;
  if (!base.has(name)) return undefined;
  const features = sizeOf(base.info(module.weight).shape) / module.in;
  return sizeOf(base.info(name).shape) === features ? name : undefined;
}
