import * as registry from '../families/registry.js';
import type { FactorCache } from '../files/factor-cache.js';
import { moduleName } from '../files/module-name.js';
import { SafetensorsFile } from '../files/safetensors.js';
import type { Family } from '../layers/construct.js';
import type { AdapterOptions } from '../layers/types.js';
import { readStorage, type Storage } from '../linalg/decompose.js';
import {
  type ByName,
  checkChoice,
  checkOptions,
  fail,
  isRecord,
  readNamed,
  readRecord,
  reject,
} from '../runtime/check.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import { bytesPerElement, type FactorDType, type Real, vectorType } from '../tensor/dtype.js';
import { lengthFor } from '../tensor/int8.js';
import { readShape } from '../tensor/shape.js';
import type { TensorLike } from '../tensor/view.js';
import { biasesAmong, givenBiases } from './biases.js';
import { type Layout, type Module, modulesOf, readStructure, requireApart } from './modules.js';
import { readSource } from './source.js';
import {
  endsOf,
  isOfMatrixType,
  readTargets,
  requireOne,
  type StoredWeight,
  type Targets,
  valueFor,
} from './targets.js';

type Name<T> = T extends string ? Lowercase<T> : never;
/** A family by its name in lower case: 'svft', 'siva', 'vectorfit', … */
export type FamilyName = Name<keyof typeof registry>;
/** The options of a family. */
export type FamilyOptions = {
  [F in keyof typeof registry]: Parameters<(typeof registry)[F]>[1];
}[keyof typeof registry];

/** What some modules get instead of the model's family and options, or false: they stay as they are. */
export type ModuleChoice = { family?: FamilyName; options?: FamilyOptions } | false;

export interface ModelOptions {
  /** The modules to adapt. */
  targets: Targets;
  /** The targets that stay as they are. */
  exclude?: Targets;
  /** The family of every module, unless `modules` says otherwise. */
  family: FamilyName;
  /**
   * Options of the family. `name`, `bias`, `factors`, `layout` and `signal` are set for each module; `bind` is refused. A `rank` or `count` beyond
   * min(out, in) of a module is cut to it.
   */
  options?: FamilyOptions;
  /**
   * Choices for some modules, by exact name or suffix; the most specific counts. `options` are added to the model's; with
   * another `family` they stand alone.
   */
  modules?: Readonly<Record<string, ModuleChoice>>;
  /** How the weights are stored, for all or by name. Default 'out-in'. */
  layout?: Layout | Readonly<Record<string, Layout>>;
  /**
   * Fused projections and their parts along `out`: { c_attn: ['q', 'k', 'v'] } of equal size, or with sizes
   * { qkv_proj: { q: 4096, k: 1024, v: 1024 } }. The modules are then named c_attn.q, c_attn.k and c_attn.v.
   */
  split?: Readonly<Record<string, readonly string[] | Readonly<Record<string, number>>>>;
  /** Biases [out] by the module's name, with or without '.bias'. Next to those that `weights` holds as '….bias'. */
  biases?: ByName<TensorLike>;
  /**
   * The type in which the layers keep all matrices: U, Vᵀ, and W0 if they compute with it. Inputs and outputs have it too, as if
   * the weights had been cast, but the factors are those of the weights before that. Default: the weights' type. On the CPU
   * a file's BF16 becomes float32 unless 'bfloat16' is given. 'int8' is for U and Vᵀ alone. UNSUPPORTED if the layers' device has
   * no kernel for it: 'int8' on a CUDA device.
   */
  storage?: Storage;
  /** A folder, or a cache from `openFactorCache`, that keeps all decompositions: a second run reads them. */
  cache?: string | FactorCache;
  /** Stops between modules. */
  signal?: AbortSignal;
  /** Called when a module is done. */
  onProgress?: (done: Progress) => void;
}

/** How far the work on a model is. */
export interface Progress {
  /** Modules that are done, of all. */
  readonly modules: number;
  readonly of: number;
  /** The module that was done last. */
  readonly name: string;
  /** Of its layer: U, σ, Vᵀ and the parameters; of its factors alone if no layer is made. */
  readonly bytes: number;
  /** Whether its factors were in the cache. */
  readonly cached: boolean;
  /** Bytes of the weights that are done, of all, as they are stored: what the time depends on more than on `modules`. */
  readonly weightBytes: number;
  readonly ofWeightBytes: number;
}

export const modelOptions = [
  'targets',
  'exclude',
  'family',
  'options',
  'modules',
  'layout',
  'split',
  'biases',
  'storage',
  'cache',
  'signal',
  'onProgress',
] as const;

/** A module of the model, as `console.table` shows it. */
export interface ModuleRow {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly family: string;
  /** Numbers that train; NaN in a plan if they depend on the weight (SiVA without `count`). */
  readonly parameters: number;
  /** Of the layer's own: U, σ, Vᵀ and the parameters. The weight and its bias are the caller's. */
  readonly bytes: number;
}

/** A module that is to be adapted. */
export interface Chosen {
  readonly module: Module;
  readonly family: FamilyName;
  readonly options: AdapterOptions;
}

const families = new Map(
  Object.values(registry).map((family) => [family.name.toLowerCase(), family as Family<AdapterOptions>] as const),
);
const familyNames = [...families.keys()] as FamilyName[];
/** Options of a layer that are not a model's. */
const ofOneLayer = ['name', 'bias', 'bind', 'factors', 'layout', 'signal'] as const;

export function familyOf(name: FamilyName): Family<AdapterOptions> {
  return families.get(name) as Family<AdapterOptions>;
}

/** What the options choose. */
export interface Choices {
  /** In the order of the weights. */
  readonly chosen: readonly Chosen[];
  /** The names of modules that a bias can have. */
  readonly owners: ReadonlySet<string>;
  /** The biases among the weights, by the name of their module. */
  readonly biases: ReadonlyMap<string, string>;
}

/** The modules that the options choose, and their biases. */
export function chosenModules(op: string, weights: readonly StoredWeight[], options: ModelOptions): Choices {
  const { layout, split, exclude } = options;
  const biases = biasesAmong(weights);
  const vectors = new Set(biases.values());
  const isMatrix = (weight: StoredWeight) =>
    weight.shape.length > 1 && isOfMatrixType(weight) && !vectors.has(weight.name);
  const matrices = weights.filter(isMatrix);
  const modules = modulesOf(op, matrices, readStructure(op, { layout, split }, weights));
  const others = weights.filter((weight) => !isMatrix(weight));
  const isTarget = readTargets(op, 'options.targets', options.targets, modules, others);
  const isExcluded = exclude === undefined ? () => false : readTargets(op, 'options.exclude', exclude, modules, others);
  const family = checkChoice(op, 'options.family', options.family, familyNames);
  const common = readFamilyOptions(op, 'options.options', options.options);
  const choices = readChoices(op, options.modules, modules);
  const chosen = modules
    .filter((module) => isTarget(module) && !isExcluded(module))
    .flatMap((module): Chosen[] => {
      const choice = valueFor(choices, module);
      if (choice === false) return [];
      if (choice === undefined) return [{ module, family, options: fitted(common, module) }];
      const own = choice.family ?? family;
      const joined = own === family ? { ...common, ...choice.options } : choice.options;
      return [{ module, family: own, options: fitted(joined, module) }];
    });
  if (chosen.length === 0) {
    const argument = exclude === undefined ? 'options.modules' : 'options.exclude';
    fail('INVALID_ARGUMENT', op, argument, 'a target that is left', 'none: all of them are left out');
  }
  requireApart(
    op,
    'weights',
    chosen.map(({ module }) => module),
    () => true,
  );
  const owners = new Set(modules.flatMap(({ layerName, weight }) => [layerName, moduleName(weight)]));
  return { chosen, owners, biases };
}

/** One `rank` or `count` serves modules of all sizes: a smaller module takes all directions that it has. */
function fitted(options: AdapterOptions, module: Module): AdapterOptions {
  const thin = Math.min(module.out, module.in);
  const tooLarge = Object.entries(options).filter(
    ([name, value]) => (name === 'rank' || name === 'count') && Number.isInteger(value) && (value as number) > thin,
  );
  return tooLarge.length === 0
    ? options
    : { ...options, ...Object.fromEntries(tooLarge.map(([name]) => [name, thin])) };
}

function readFamilyOptions(op: string, argument: string, options: unknown): AdapterOptions {
  const read = options === undefined ? {} : readRecord(op, argument, options);
  for (const name of ofOneLayer) {
    if (Object.hasOwn(read, name)) {
      reject(op, `${argument}.${name}`, 'no value: it differs from module to module', read[name]);
    }
  }
  return { ...read };
}

type Choice = { readonly family: FamilyName | undefined; readonly options: AdapterOptions } | false;

function readChoices(op: string, given: unknown, modules: readonly Module[]): ReadonlyMap<string, Choice> {
  const choices = new Map<string, Choice>();
  if (given === undefined) return choices;
  const ends = endsOf(modules);
  for (const [name, value] of Object.entries(readRecord(op, 'options.modules', given))) {
    const argument = `options.modules['${name}']`;
    requireOne(op, 'options.modules', name, modules, ends);
    if (value === false) {
      choices.set(name, false);
      continue;
    }
    if (!isRecord(value)) reject(op, argument, 'an object { family?, options? } or false', value);
    const { family, options } = checkOptions<{ family?: unknown; options?: unknown }>(op, argument, value, [
      'family',
      'options',
    ]);
    choices.set(name, {
      family: family === undefined ? undefined : checkChoice(op, `${argument}.family`, family, familyNames),
      options: readFamilyOptions(op, `${argument}.options`, options),
    });
  }
  return choices;
}

/** What a chosen module will take, as `planModel` and `describe` tell it. */
export function rowOf(
  op: string,
  { module, family, options }: Chosen,
  dtype: FactorDType,
  hasBias: boolean,
): ModuleRow {
  const { name, out, in: inFeatures, layout } = module;
  const size = about(op, name, () => familyOf(family).size(op, [out, inFeatures], hasBias, options));
  const [ofMatrix, ofVector] = [bytesPerElement(dtype), bytesPerElement(vectorType(dtype))];
  // The factors of a weight [in, out] are those of the transpose, and int8 has scales along rows.
  const shapes = size.matrices.map((shape) => (layout === 'in-out' ? shape.toReversed() : shape));
  const matrices = shapes.reduce((sum, shape) => sum + lengthFor(dtype, shape), 0);
  const bytes = ofMatrix * matrices + ofVector * (size.vectors + size.parameters);
  return { name, out, in: inFeatures, family, parameters: size.parameters, bytes };
}

/** Runs `work`, whose errors then name the module and the function that was called. */
export function about<T>(op: string, name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw naming(op, name, error);
  }
}

export function naming(op: string, name: string, error: unknown): unknown {
  if (!(error instanceof SigmaError)) return error;
  return new SigmaError(error.code, op, `'${name}': ${reasonOf(error)}`, error.detail);
}

/**
 * What `adaptModel` would adapt and how many numbers would train, from the shapes of the weights alone: no weights, no
 * work. Of an open file the headers suffice. Bytes are those of layers in `options.storage`; without it in float32, or in
 * float64 for the F64 weights of a file.
 *
 * @param shapes shapes by the weights' names, [out, in] or as `adaptModel` takes them, or an open file
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DISPOSED for a file that
 * was closed
 * @example
 * const rows = planModel({ 'h.0.q': [768, 768], 'h.0.v': [768, 768] }, { targets: ['q', 'v'], family: 'vectorfit' });
 * console.table(rows);
 * rows.reduce((sum, { parameters }) => sum + parameters, 0); // 1536
 */
export function planModel(
  shapes: ByName<readonly number[]> | SafetensorsFile,
  options: ModelOptions,
): readonly ModuleRow[] {
  const op = 'planModel';
  const given = checkOptions(op, 'options', options, modelOptions);
  const storage = readStorage(op, given.storage);
  const weights = SafetensorsFile.is(shapes) ? [...readSource(op, shapes).values()] : readShapes(op, shapes);
  const { chosen, owners, biases } = chosenModules(op, weights, given);
  const biased = new Set([...biases.keys(), ...givenBiases(op, given.biases, owners).keys()]);
  const types = new Map(weights.map(({ name, dtype }) => [name, dtype === 'float64' ? dtype : 'float32'] as const));
  return chosen.map((each) => {
    const { layerName, weight } = each.module;
    const dtype = storage ?? (types.get(weight) as Real);
    return rowOf(op, each, dtype, biased.has(layerName) || biased.has(moduleName(weight)));
  });
}

function readShapes(op: string, shapes: unknown): StoredWeight[] {
  return [...readNamed(op, 'shapes', shapes)].flatMap(([name, shape]) => {
    if (shape === undefined) return [];
    return { name, dtype: undefined, shape: about(op, name, () => readShape(op, shape as readonly number[])) };
  });
}
