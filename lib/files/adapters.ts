import { randomUUID } from 'node:crypto';
import { Adapter } from '../layers/adapter.js';
import { coordinatesOf } from '../layers/frame.js';
import type { AdaptedLinear } from '../layers/types.js';
import { type ByName, checkBoolean, checkOptions, checkSignal, readNamed, rejectInstance } from '../runtime/check.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { keep } from '../tensor/scope.js';
import { sizeOf } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { configName, configText, keyOf, modelName, readSaved, type SavedModule } from './adapter-config.js';
import { quoted } from './complaints.js';
import { writeFolderAtomically } from './folder.js';
import { directionsOf, hashesOf, sketchSeed } from './identity.js';
import { placeOf } from './places.js';
import { checkHost, checkPath } from './safetensors.js';
import { sketchTensors } from './stored.js';
import { writeTensors } from './write-safetensors.js';

export interface SaveAdaptersOptions {
  /**
   * Saves the columns of U and the rows of Vᵀ that the layer keeps: the adapter then does not depend on a decomposition, and
   * loading takes no SVD. The file has the size of these factors. Default false. SiVA's random basis is not saved: it follows
   * from its seed.
   */
  vectors?: boolean;
  signal?: AbortSignal;
}

/** The layers of a record or a Map, by name. */
export function readLayers(op: string, argument: string, layers: unknown): (readonly [string, Adapter])[] {
  return [...readNamed(op, argument, layers)].map(([name, layer]) => {
    if (!Adapter.is(layer)) rejectInstance(op, `${argument}[${quoted(name)}]`, 'AdaptedLinear', layer);
    return [name, layer] as const;
  });
}

/** A parameter's name without its layer's. */
export function roleOf(layer: Adapter, op: string, name: string): string {
  const { name: prefix } = layer.anatomy(op).recipe.options;
  return typeof prefix === 'string' ? name.slice(prefix.length + 1) : name;
}

/**
 * Saves what layers have learned: `adapter_config.json` and `adapter_model.safetensors` in a folder, in the shape of PEFT's
 * adapters, without the base weights. Both files are replaced together: readers see the old save or the new one. Other files
 * of the folder stay.
 *
 * The folder has all options of the layers, the trained numbers, the biases that the layers were made with, σ, a SHA-256 of
 * each base weight, and a sketch of the singular vectors: `loadAdapters` finds out by it whether another decomposition has
 * other signs, and repairs them. See docs/files.md.
 *
 * Layers of `adaptModel` are saved with their place in the checkpoint, under the names that `model.layers` has: `loadModel`
 * then needs only the checkpoint.
 *
 * @param layers by the names of their weights, as an object or a Map such as `model.layers`
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, also for a folder that cannot be written (the system's error is the
 * detail), DISPOSED, NATIVE for a full disk, ABORTED
 * @example
 * await saveAdapters('my-adapter', { 'layers.0.q_proj.weight': layer });
 */
export async function saveAdapters(
  folder: string,
  layers: ByName<AdaptedLinear>,
  options?: SaveAdaptersOptions,
): Promise<void> {
  const op = 'saveAdapters';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const { vectors, signal } = checkOptions(op, 'options', options, ['vectors', 'signal']);
  const withVectors = checkBoolean(op, 'options.vectors', vectors ?? false);
  const named = readLayers(op, 'layers', layers);
  checkSignal(op, signal);
  const saving = new Saving(op, withVectors, signal);
  try {
    for (const [name, layer] of named) await saving.add(name, layer);
    await saving.write(folder);
  } finally {
    saving.dispose();
  }
}

/** The tensors and the descriptions of the layers that are saved together. */
class Saving {
  readonly #op: string;
  readonly #withVectors: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #id = randomUUID();
  readonly #modules: SavedModule[] = [];
  /** Own handles, so that a caller may dispose a layer meanwhile. */
  readonly #tensors: [string, Tensor][] = [];

  constructor(op: string, withVectors: boolean, signal: AbortSignal | undefined) {
    this.#op = op;
    this.#withVectors = withVectors;
    this.#signal = signal;
  }

  async add(name: string, layer: Adapter): Promise<void> {
    const op = this.#op;
    const anatomy = layer.anatomy(op);
    const { recipe, terms, base, spectrum } = anatomy;
    const parameters = layer.parameters.map((parameter) => {
      const role = roleOf(layer, op, parameter.name);
      this.#share(keyOf(name, layer.family, role), parameter.value);
      return role;
    });
    const extra = (key: string) => keyOf(name, 'sigmatune', key);
    this.#share(extra('sigma'), spectrum.initial);
    if (base.bias !== undefined) this.#share(extra('bias'), base.bias);
    const coordinates = [recipe.options, recipe.settled].some(({ pattern }) => SparsityPattern.is(pattern));
    if (coordinates) {
      const { rows, columns } = coordinatesOf(terms);
      this.#own(extra('rows'), Tensor.make(op, 'int32', rows, [rows.length]));
      this.#own(extra('columns'), Tensor.make(op, 'int32', columns.slice(), [columns.length]));
    }
    const vectors = this.#withVectors ? vectorsOf(op, layer) : undefined;
    for (const [key, tensor] of Object.entries(vectors ?? {})) this.#share(extra(key), tensor);
    const [outFeatures, inFeatures, { dtype }] = [layer.outFeatures, layer.inFeatures, terms];
    const { sketch } = await directionsOf(op, layer, this.#signal);
    for (const [side, tensor] of sketchTensors(op, sketch, dtype)) this.#own(extra(side), tensor);
    this.#modules.push({
      name,
      family: layer.family,
      outFeatures,
      inFeatures,
      rank: layer.rank,
      dtype,
      parameters,
      ...(await hashesOf(op, layer, this.#signal)),
      options: inJson(recipe.options),
      settled: inJson(recipe.settled),
      coordinates,
      vectors: vectors !== undefined,
      place: placeOf(layer, name) ?? null,
    });
  }

  async write(folder: string): Promise<void> {
    const notes = new Map([
      ['format', 'pt'],
      ['save_id', this.#id],
    ]);
    const text = configText({ id: this.#id, seed: sketchSeed, modules: this.#modules });
    await writeFolderAtomically(this.#op, folder, this.#signal, {
      [modelName]: (file) => writeTensors(this.#op, file, this.#tensors, notes),
      [configName]: (file) => file.write(Buffer.from(text)),
    });
  }

  dispose(): void {
    for (const [, tensor] of this.#tensors) tensor.dispose();
  }

  #share(key: string, tensor: Tensor): void {
    this.#own(key, tensor.share());
  }

  #own(key: string, tensor: Tensor): void {
    this.#tensors.push([key, keep(tensor)]);
  }
}

/** Options as JSON has them: null for one to leave out. Patterns are saved by their coordinates. */
function inJson(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(options).filter(([, value]) => !SparsityPattern.is(value));
  return Object.fromEntries(entries.map(([key, value]) => [key, value ?? null]));
}

/**
 * The factors that make the layer again, given as its option `factors`: those that it keeps. undefined for random directions,
 * which follow from the layer's seed.
 */
function vectorsOf(op: string, layer: Adapter): { u: Tensor; s: Tensor; vt: Tensor } | undefined {
  const { terms, spectrum } = layer.anatomy(op);
  if (spectrum.first === undefined) return undefined;
  if (terms.vt.shape[0] === layer.rank) {
    const { u, s, vt } = layer.factors;
    return { u, s, vt };
  }
  return { u: terms.u, s: spectrum.initial, vt: terms.vt };
}

/** What a folder of adapters says of one layer. */
export interface InspectedAdapter {
  readonly name: string;
  readonly family: string;
  readonly out: number;
  readonly in: number;
  readonly rank: number;
  /** Of the base weight. */
  readonly dtype: string;
  /** Trained numbers. */
  readonly parameters: number;
  readonly options: Readonly<Record<string, unknown>>;
  /** SHA-256 of the base weight, if the file has one. */
  readonly weight: string | undefined;
}

/**
 * What is in a folder that `saveAdapters` wrote, without weights: one row for each layer, which `console.table` shows.
 *
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT for a folder that cannot be read, CORRUPT_FILE, UNSUPPORTED for what
 * another program or a newer version wrote
 * @example
 * const { version, layers } = await inspectAdapters('my-adapter');
 * console.table(layers, ['name', 'family', 'rank', 'parameters']);
 */
export async function inspectAdapters(
  folder: string,
): Promise<{ readonly version: string; readonly layers: readonly InspectedAdapter[] }> {
  const op = 'inspectAdapters';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const { config, file } = await readSaved(op, folder);
  try {
    const layers = config.modules.map(
      ({ name, family, outFeatures, inFeatures, rank, dtype, parameters, options, weight }) => {
        const sizes = parameters.map((role) => sizeOf(file.info(keyOf(name, family, role)).shape));
        return {
          name,
          family,
          out: outFeatures,
          in: inFeatures,
          rank,
          dtype,
          parameters: sizes.reduce((sum, size) => sum + size, 0),
          options,
          weight: weight ?? undefined,
        };
      },
    );
    return { version: config.version, layers };
  } finally {
    await file.close();
  }
}
