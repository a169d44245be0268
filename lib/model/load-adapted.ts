import { readSaved, type SavedModule } from '../files/adapter-config.js';
import { quoted } from '../files/complaints.js';
import { loadAdapters } from '../files/load-adapters.js';
import { moduleName } from '../files/module-name.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear } from '../layers/types.js';
import { fail } from '../runtime/check.js';
import { type DType, type MatrixDType, vectorType } from '../tensor/dtype.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { sizeOf } from '../tensor/shape.js';
import type { Matrix, Tensor, Vector } from '../tensor/tensor.js';
import { AdaptedModel } from './adapted.js';
import { type Layout, type Module, modulesOf, readStructure, type Structure } from './modules.js';
import { biasOf, matrixOf } from './parts.js';
import type { FamilyName, ModelOptions } from './plan.js';

export interface LoadAdaptedOptions {
  /** As it was when the adapter was trained, if it has parts of fused weights. */
  readonly split?: ModelOptions['split'];
  readonly signal?: AbortSignal;
  /** Called when a layer is made. */
  readonly onProgress?: (done: { readonly layers: number; readonly of: number; readonly name: string }) => void;
}

export interface LoadedModel {
  /** Owns its weights. */
  readonly model: AdaptedModel;
  /** The layers by the names that they were saved under. */
  readonly layers: Readonly<Record<string, AdaptedLinear>>;
  /** The names of the layers that are a part of their weight. */
  readonly parts: readonly string[];
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
  const { split, signal, onProgress } = options;
  const stored = base.names.map((name) => ({ name, shape: base.info(name).shape, dtype: undefined }));
  const structure = readStructure(op, { split }, stored);
  const { config, file } = await readSaved(op, folder);
  await file.close();
  const found = config.modules.map((saved) => ({ saved, module: moduleIn(op, base, saved, structure) }));
  const owned: Scoped[] = [];
  const own = <T extends Tensor>(tensor: T): T => {
    owned.push(keep(tensor));
    return tensor;
  };
  try {
    const read = async (name: string, dtype: DType): Promise<Tensor> => {
      const tensor = own(await base.readAs(op, name, signal));
      return tensor.dtype === dtype ? tensor : own(tensor.cast(dtype));
    };
    const weights = new Map<string, Matrix>();
    const matrices: Record<string, Matrix> = {};
    const biases: Record<string, Vector> = {};
    for (const { saved, module } of found) {
      const { name, dtype } = saved;
      const weight = weights.get(module.weight) ?? ((await read(module.weight, dtype)) as Matrix);
      weights.set(module.weight, weight);
      const matrix = matrixOf(op, weight, module);
      matrices[name] = matrix === weight ? matrix : own(matrix);
      const bias = saved.bias === null ? undefined : biasName(base, module);
      if (bias !== undefined) {
        biases[name] = own(biasOf(op, (await read(bias, vectorType(dtype as MatrixDType))) as Vector, module));
      }
    }
    const layers = await loadAdapters(folder, matrices, {
      biases,
      ...(signal !== undefined && { signal }),
      ...(onProgress !== undefined && { onProgress }),
    });
    owned.unshift(...(Object.values(layers) as readonly AdaptedLinear[] as readonly Adapter[]));
    const parts = found.map(({ saved, module }) => ({
      chosen: { module, family: saved.family as FamilyName, options: {} },
      layer: layers[saved.name] as AdaptedLinear as Adapter,
      tied: undefined,
    }));
    return {
      model: AdaptedModel.of(parts, weights, owned),
      layers,
      parts: found.filter(({ module }) => module.name !== module.weight).map(({ saved }) => saved.name),
    };
  } catch (error) {
    for (const each of owned) each.dispose();
    throw error;
  }
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
