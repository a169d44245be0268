import type { Adapter, Anatomy } from '../layers/adapter.js';
import { aligned, clusterAround, frameOf, lossOf, realigned, sketchOf } from '../layers/frame.js';
import type { AdaptedLinear, AdapterOptions } from '../layers/types.js';
import type { SvdLike } from '../linalg/svd.js';
import { type ByName, checkOptions, checkSignal, describe, fail, readNamed, reject } from '../runtime/check.js';
import { type Device, resolveDevice } from '../runtime/device.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { type FactorDType, type MatrixDType, type Real, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix, checkReal, numbersOf, placed } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { FactorMatrix, Matrix, Tensor } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { familyNamed, keyOf, modelName, readSaved, type SavedModule } from './adapter-config.js';
import { roleOf } from './adapters.js';
import { corrupt, quoted } from './complaints.js';
import { fingerprintOf } from './fingerprint.js';
import { remember } from './places.js';
import { checkHost, checkPath, type SafetensorsFile } from './safetensors.js';
import { checkStored, readNumbers, readSketch } from './stored.js';
import { gaps, tolerances } from './tolerances.js';

export interface LoadAdaptersOptions {
  /** Decompositions of the weights by their names: then no SVD is taken. */
  factors?: ByName<SvdLike<FactorDType>>;
  /** The biases that the layers were made with. Those that are not given are taken from the file. */
  biases?: ByName<TensorLike>;
  /** Where the layers are to be. Default: where the weights are. */
  device?: Device;
  /** Stops between layers and inside of their decompositions. */
  signal?: AbortSignal;
  /** Called when a layer is made. */
  onProgress?: (done: { readonly layers: number; readonly of: number; readonly name: string }) => void;
}

/**
 * Makes the layers again that `saveAdapters` saved, from the base weights. Each weight is decomposed, unless `factors` or
 * the file has its singular vectors. If this decomposition has other signs than the one that the layer was trained with, the
 * trained numbers are turned accordingly. If the vectors of equal singular values are rotated, nothing can repair that: the
 * adapter is refused, and never loaded wrong.
 *
 * These are layers on their own. `loadModel` takes a whole checkpoint, also with fused or stacked weights, and gives the model.
 *
 * @param weights by the names that the layers were saved under, [out, in], or [in, out] for layers of that `layout`; others are ignored. Borrowed for the life of the
 * layers
 * @throws SigmaError (as a rejection) BASE_MISMATCH if a weight, a bias or its singular vectors are not those that the
 * adapter was trained on, CORRUPT_FILE, UNSUPPORTED for what another program or a newer version wrote, INVALID_ARGUMENT for
 * a folder that cannot be read or a missing weight, ABORTED, and what the families throw
 * @example
 * const layers = await loadAdapters('my-adapter', { 'layers.0.q_proj.weight': weight });
 */
export async function loadAdapters(
  folder: string,
  weights: ByName<TensorLike>,
  options?: LoadAdaptersOptions,
): Promise<Record<string, AdaptedLinear>> {
  const op = 'loadAdapters';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const given = checkOptions(op, 'options', options, ['factors', 'biases', 'device', 'signal', 'onProgress']);
  const { signal, onProgress } = given;
  const named = {
    weights: readNamed(op, 'weights', weights),
    biases: readNamed(op, 'options.biases', given.biases ?? {}),
    factors: readNamed(op, 'options.factors', given.factors ?? {}),
  };
  if (given.device !== undefined) resolveDevice(op, given.device);
  checkSignal(op, signal);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    reject(op, 'options.onProgress', 'a function', onProgress);
  }
  const { config, file } = await readSaved(op, folder);
  const layers: [string, AdaptedLinear][] = [];
  try {
    const loading = config.modules.map((module) => new Loading(op, file, module, config.seed, named, given));
    // Refused before the first decomposition.
    for (const each of loading) await each.checkBase();
    for (const each of loading) {
      const { name } = each.module;
      layers.push([name, await each.make()]);
      onProgress?.({ layers: layers.length, of: loading.length, name });
    }
    return Object.fromEntries(layers);
  } catch (error) {
    for (const [, layer] of layers) layer.dispose();
    throw error;
  } finally {
    await file.close();
  }
}

type Named = ReadonlyMap<string, unknown>;

interface Givens {
  readonly weights: Named;
  readonly biases: Named;
  readonly factors: Named;
}

/** One layer that is made again. */
class Loading {
  readonly module: SavedModule;
  readonly #op: string;
  readonly #file: SafetensorsFile;
  readonly #seed: number;
  readonly #options: LoadAdaptersOptions;
  readonly #weight: Matrix;
  readonly #bias: Tensor<Real> | undefined;
  readonly #factors: unknown;

  constructor(
    op: string,
    file: SafetensorsFile,
    module: SavedModule,
    seed: number,
    named: Givens,
    options: LoadAdaptersOptions,
  ) {
    const { name, outFeatures, inFeatures, options: made } = module;
    const expected = made['layout'] === 'in-out' ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
    this.module = module;
    this.#op = op;
    this.#file = file;
    this.#seed = seed;
    this.#options = options;
    this.#weight = checkMatrix(op, at('weights', name), named.weights.get(name), anything);
    const { shape } = this.#weight;
    if (String(shape) !== String(expected)) {
      fail(
        'BASE_MISMATCH',
        op,
        at('weights', name),
        `shape [${expected.join(', ')}], as the adapter was trained on`,
        describe([...shape]),
      );
    }
    const bias = named.biases.get(name);
    this.#bias = bias === undefined ? undefined : checkReal(op, at('options.biases', name), bias);
    this.#factors = named.factors.get(name);
  }

  /** BASE_MISMATCH if the weight or the bias has other numbers. */
  async checkBase(): Promise<void> {
    const { name, weight, bias, dtype } = this.module;
    const trainedOn = 'the one that the adapter was trained on';
    const signal = this.#options.signal;
    // In another type the numbers are rounded: then σ and the singular vectors have to do.
    if (weight !== null && this.#weight.dtype === dtype) {
      const found = await fingerprintOf(this.#op, this.#weight, signal);
      if (found !== weight)
        fail(
          'BASE_MISMATCH',
          this.#op,
          at('weights', name),
          `${trainedOn} (SHA-256 ${short(weight)})`,
          `another (SHA-256 ${short(found)})`,
        );
    }
    if (this.#bias === undefined) return;
    if (bias === null)
      fail('BASE_MISMATCH', this.#op, at('options.biases', name), 'none, as the layer had none', describe(this.#bias));
    const found = await fingerprintOf(this.#op, this.#bias, signal);
    if (found !== bias) fail('BASE_MISMATCH', this.#op, at('options.biases', name), trainedOn, 'another');
  }

  async make(): Promise<AdaptedLinear> {
    const op = this.#op;
    const { signal } = this.#options;
    checkSignal(op, signal);
    const layer = (await this.#build()) as AdaptedLinear as Adapter;
    try {
      await this.#restore(layer);
      if (this.module.place !== null) remember(layer, this.module.name, this.module.place);
      return layer;
    } catch (error) {
      layer.dispose();
      throw error;
    }
  }

  /** The layer as its family makes it, with its parameters at their start. */
  async #build(): Promise<AdaptedLinear> {
    const { name, family, options, settled, rank, bias, coordinates, vectors } = this.module;
    const { device, signal } = this.#options;
    const made: Tensor[] = [];
    const own = <T extends Tensor>(tensor: T): T => {
      made.push(keep(tensor));
      return tensor;
    };
    const where = device === undefined ? this.#weight.device : resolveDevice(this.#op, device);
    const { dtype } = this.#weight;
    const here = async <D extends MatrixDType>(key: string, type: D) =>
      own(placed(this.#op, own(await this.#read(key)) as Matrix, { device: where, dtype: type }));
    const vectorsAs = async (key: string): Promise<FactorMatrix> => {
      const saved = own(await this.#read(key));
      return own(
        saved.dtype === 'int8'
          ? saved.on(this.#op, where)
          : placed(this.#op, saved as Matrix, { device: where, dtype }),
      ) as FactorMatrix;
    };
    try {
      const pattern = coordinates ? await this.#pattern(rank) : undefined;
      const remade = Object.fromEntries(
        Object.entries({ ...options, ...settled }).map(([key, value]) => [key, value ?? undefined]),
      );
      const given: Record<string, unknown> = { ...remade, device, signal, factors: this.#factors, bias: this.#bias };
      if (pattern !== undefined) given['pattern'] = pattern;
      if (bias !== null) given['bias'] ??= await here('bias', vectorType(dtype));
      if (vectors) {
        given['factors'] ??= {
          u: await vectorsAs('u'),
          s: await here('s', vectorType(dtype)),
          vt: await vectorsAs('vt'),
        };
      }
      const make = familyNamed(family) as NonNullable<ReturnType<typeof familyNamed>>;
      // The saved triples may be only some of the weight's.
      const sigma = vectors && this.#factors === undefined ? await here('sigma', vectorType(dtype)) : undefined;
      const thin = Math.min(...this.#weight.shape);
      if (sigma !== undefined && sigma.size > thin) this.#differs('at most', `${thin} singular values`, sigma.size);
      const layer = await make.remake(this.#weight, given as AdapterOptions, sigma);
      const { recipe } = (layer as AdaptedLinear as Adapter).anatomy(this.#op);
      // Saved again, it says what it was made with at first.
      const named = options['pattern'] !== undefined;
      recipe.options = { ...options, ...(pattern && !named ? { pattern } : {}) };
      recipe.settled = { ...settled, ...(pattern && named ? { pattern } : {}) };
      return layer;
    } catch (error) {
      throw this.#explained(error, name);
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  }

  /** What a family refuses, under this function's name. Wrong options can only come from the file. */
  #explained(error: unknown, name: string): unknown {
    if (!(error instanceof SigmaError) || error.op === this.#op) return error;
    const { code, detail, message } = error;
    const text = `module ${quoted(name)}: ${reasonOf(error)}`;
    const aboutOptions = code === 'INVALID_ARGUMENT' || code === 'SHAPE_MISMATCH';
    const aboutFactors = this.#factors !== undefined && message.includes('options.factors');
    return new SigmaError(aboutOptions && !aboutFactors ? 'CORRUPT_FILE' : code, this.#op, text, detail);
  }

  async #pattern(rank: number): Promise<SparsityPattern> {
    const [rows, columns] = [await this.#read('rows'), await this.#read('columns')];
    try {
      return SparsityPattern.fromCoordinates(rows.dataSync(), columns.dataSync(), rank);
    } finally {
      for (const tensor of [rows, columns]) tensor.dispose();
    }
  }

  /** The trained numbers, turned to the singular vectors that the layer has. */
  async #restore(layer: Adapter): Promise<void> {
    const op = this.#op;
    const { name, family, parameters } = this.module;
    const roles = layer.parameters.map((parameter) => roleOf(layer, op, parameter.name));
    if (String(roles) !== String(parameters)) this.#differs('parameters', parameters, roles);
    if (layer.rank !== this.module.rank) this.#differs('rank', this.module.rank, layer.rank);
    const anatomy = layer.anatomy(op);
    await this.#checkSigma(anatomy);
    const frame = frameOf(op, anatomy);
    const { signal } = this.#options;
    const sketchKey = (side: string) => keyOf(name, 'sigmatune', side);
    const wanted = await readSketch(op, modelName, this.#file, frame, sketchKey, signal);
    const found = await sketchOf(op, anatomy, frame, this.#seed, signal);
    const alignment = aligned(op, anatomy, frame, found, wanted);
    for (const [i, parameter] of layer.parameters.entries()) {
      const key = keyOf(name, family, roles[i] as string);
      checkStored(op, modelName, this.#file, key, parameter.value.shape);
      const numbers = await readNumbers(op, this.#file, key, signal);
      parameter.value.assign(realigned(anatomy.terms, parameter, numbers, alignment));
    }
    this.#checkLoss(anatomy, lossOf(op, anatomy, alignment));
  }

  #differs(what: string, expected: unknown, got: unknown): never {
    corrupt(
      this.#op,
      modelName,
      undefined,
      `${what} ${describe(expected)} of module ${quoted(this.module.name)}`,
      describe(got),
    );
  }

  /** The coarser of the types that the weight had and has. */
  get #type(): MatrixDType {
    const types = [this.module.dtype, this.#weight.dtype];
    return (['bfloat16', 'float16', 'float32', 'float64'] as const).find((type) => types.includes(type)) as MatrixDType;
  }

  async #checkSigma({ spectrum }: Anatomy): Promise<void> {
    const { name } = this.module;
    const saved = await readNumbers(this.#op, this.#file, keyOf(name, 'sigmatune', 'sigma'), this.#options.signal);
    const found = numbersOf(this.#op, 'factors.s', spectrum.initial);
    const count = Math.min(saved.length, found.length);
    const allowed = gaps[this.#type] * (saved[0] as number);
    for (let i = 0; i < count; i++) {
      if (Math.abs((saved[i] as number) - (found[i] as number)) <= allowed) continue;
      const expected = `the weight that the adapter was trained on, whose singular value ${i} is ${saved[i]}`;
      fail('BASE_MISMATCH', this.#op, at('weights', name), expected, `${found[i]}`);
    }
  }

  #checkLoss(anatomy: Anatomy, { part, worst }: { part: number; worst: number }): void {
    if (part <= tolerances[this.#type]) return;
    const { name } = this.module;
    const [from, to] = clusterAround(this.#op, anatomy, worst, gaps[this.#type]);
    const lost = `others: ${(100 * Math.min(1, part)).toPrecision(2)} % of what was trained would be lost`;
    const why =
      to > from
        ? `singular values ${from} to ${to} are equal to ${gaps[this.#type]} of the largest, so a decomposition is free to rotate their vectors`
        : `vector ${worst} differs most`;
    const wayOut =
      'give the decomposition that it was trained with as options.factors, or save it with { vectors: true }';
    fail(
      'BASE_MISMATCH',
      this.#op,
      at('weights', name),
      'the singular vectors that the adapter was trained with',
      `${lost} (${why}; ${wayOut})`,
    );
  }

  #read(key: string): Promise<Tensor> {
    return this.#file.readAs(this.#op, keyOf(this.module.name, 'sigmatune', key), this.#options.signal);
  }
}

const at = (argument: string, name: string) => `${argument}[${quoted(name)}]`;
const short = (hash: string) => `${hash.slice(0, 12)}…`;
