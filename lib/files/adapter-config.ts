// adapter_config.json: what was trained, on which weights, and how the layers were made.
import * as families from '../families/registry.js';
import type { Family } from '../layers/construct.js';
import type { AdapterOptions } from '../layers/types.js';
import { describe, fail, isArray, isRecord } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { version } from '../runtime/version.js';
import { type MatrixDType, vectorType } from '../tensor/dtype.js';
import { corrupt, newerFormat, quoted } from './complaints.js';
import { pathIn } from './folder.js';
import { scalesName, storedTypes } from './header.js';
import { readJson } from './json-file.js';
import type { Place } from './places.js';
import { openNamed, type SafetensorsFile } from './safetensors.js';

export const configName = 'adapter_config.json';
export const modelName = 'adapter_model.safetensors';

/** In the place where PEFT has the name of its method. */
const peftType = 'SIGMATUNE';
/** Raised when a reader of today would misunderstand a file. */
const formatVersion = 1;

/** One layer of a saved adapter. */
export interface SavedModule {
  readonly name: string;
  /** The name of its family's function in lower case. */
  readonly family: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly rank: number;
  /** Of the base weight. */
  readonly dtype: MatrixDType;
  /** The trained parameters, without the layer's name. */
  readonly parameters: readonly string[];
  /** SHA-256 of the base weight; null if the weight had been disposed when the layer was saved. */
  readonly weight: string | null;
  readonly bias: string | null;
  readonly options: Readonly<Record<string, unknown>>;
  /** Options that stand in their place; null for one to leave out. */
  readonly settled: Readonly<Record<string, unknown>>;
  /** Whether the file has the coordinates of the sparsity pattern. */
  readonly coordinates: boolean;
  /** Whether the file has the singular vectors. */
  readonly vectors: boolean;
  /** Of a layer of a model: where its weight is in the checkpoint. null for another, and in folders of older versions. */
  readonly place: Place | null;
}

export interface AdapterConfig {
  /** The same in both files of one save. */
  readonly id: string;
  /** The version of this library that wrote the folder. */
  readonly version: string;
  /** The seed of the sketches' random vectors. */
  readonly seed: number;
  readonly modules: readonly SavedModule[];
}

/** The text of adapter_config.json. The first fields are those that PEFT's own files have. */
export function configText({ id, seed, modules }: Omit<AdapterConfig, 'version'>): string {
  const config = {
    peft_type: peftType,
    task_type: null,
    base_model_name_or_path: null,
    inference_mode: true,
    target_modules: modules.map(({ name }) => name),
    format_version: formatVersion,
    library_name: 'sigmatune',
    library_version: version,
    save_id: id,
    sketch_seed: seed,
    modules: modules.map(({ outFeatures, inFeatures, ...module }) => ({
      ...module,
      out_features: outFeatures,
      in_features: inFeatures,
    })),
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** The name of a tensor in adapter_model.safetensors. The prefix is PEFT's. */
export function keyOf(module: string, ...parts: readonly string[]): string {
  return ['base_model.model', module, ...parts].join('.');
}

/** Attempts to see both files of one save while another process replaces them. */
const attempts = 5;

/** Reads the config and opens the tensors of a folder, and checks that they belong together. */
export async function readSaved(op: string, folder: string): Promise<{ config: AdapterConfig; file: SafetensorsFile }> {
  for (let attempt = 1; ; attempt++) {
    try {
      const config = await readConfig(op, await pathIn(folder, configName));
      const path = await pathIn(folder, modelName);
      const file = await openNamed(op, path);
      try {
        const { save_id: id } = file.metadata;
        if (id !== config.id)
          corrupt(op, path, undefined, `save_id ${quoted(config.id)}, as ${configName} has`, quoted(`${id}`));
        checkTensors(op, path, config, file);
        return { config, file };
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      // Another process may have replaced one of the files in between.
      const passing = error instanceof SigmaError && ['CORRUPT_FILE', 'INVALID_ARGUMENT'].includes(error.code);
      if (!passing || attempt === attempts) throw error;
    }
  }
}

/** The file has the tensors that the config promises, in the right types, and no other. */
function checkTensors(op: string, path: string, { modules }: AdapterConfig, file: SafetensorsFile): void {
  const expected = new Map<string, string>();
  for (const { name, family, dtype, parameters, bias, coordinates, vectors } of modules) {
    const numbers = storedTypes[vectorType(dtype)];
    for (const role of parameters) expected.set(keyOf(name, family, role), numbers);
    const extra = (type: string, ...keys: string[]) => {
      for (const key of keys) expected.set(keyOf(name, 'sigmatune', key), type);
    };
    extra(numbers, 'sigma', 'left', 'right');
    if (bias !== null) extra(numbers, 'bias');
    if (coordinates) extra('I32', 'rows', 'columns');
    if (vectors) {
      for (const key of ['u', 'vt'].map((side) => keyOf(name, 'sigmatune', side))) {
        const isCoded = file.has(scalesName(key));
        expected.set(key, storedTypes[isCoded ? 'int8' : dtype]);
        if (isCoded) expected.set(scalesName(key), storedTypes.float32);
      }
      extra(numbers, 's');
    }
  }
  for (const [key, type] of expected) {
    if (!file.has(key)) corrupt(op, path, key, `it, as ${configName} says`, 'a file without it');
    const { dtype, shape } = file.info(key);
    if (dtype !== type) corrupt(op, path, key, type, dtype);
    if (shape.includes(0)) corrupt(op, path, key, 'a shape without a dimension of 0', describe([...shape]));
  }
  for (const key of file.names) if (!expected.has(key)) corrupt(op, path, key, `only what ${configName} names`, 'this');
}

type AnyFamily = Family<AdapterOptions>;

/** The function of a family, by its name in lower case. */
export function familyNamed(name: string): AnyFamily | undefined {
  const found = Object.entries(families).find(([each]) => each.toLowerCase() === name);
  return found?.[1] as AnyFamily | undefined;
}

/** Reads adapter_config.json: UNSUPPORTED for what another program or a newer version wrote, CORRUPT_FILE for nonsense. */
export async function readConfig(op: string, path: string): Promise<AdapterConfig> {
  const fields = new Fields(op, path, '', await readJson(op, path, (json) => json.value()));
  checkFormat(op, path, fields);
  const modules = fields.list('modules').map((each, i) => readModule(new Fields(op, path, `modules[${i}]`, each)));
  const seen = new Set<string>();
  for (const { name, family } of modules) {
    if (seen.has(name)) corrupt(op, path, undefined, 'each module once', `${quoted(name)} a second time`);
    seen.add(name);
    if (familyNamed(family) === undefined) {
      const got = `${quoted(family)}, which sigmatune ${fields.text('library_version')} wrote: update this package`;
      const known = Object.keys(families).map((each) => each.toLowerCase());
      fail('UNSUPPORTED', op, `${quoted(path)}, module ${quoted(name)}`, `a family of ${known.join(', ')}`, got);
    }
  }
  return {
    id: fields.text('save_id'),
    version: fields.text('library_version'),
    seed: fields.natural('sketch_seed'),
    modules,
  };
}

function checkFormat(op: string, path: string, fields: Fields): void {
  const type = fields.text('peft_type');
  if (type !== peftType) fail('UNSUPPORTED', op, `${quoted(path)}, peft_type`, `'${peftType}'`, quoted(type));
  const version = fields.natural('format_version');
  if (version > formatVersion) newerFormat(op, path, version, formatVersion, fields.text('library_version'));
}

function readModule(fields: Fields): SavedModule {
  const outFeatures = fields.natural('out_features');
  const inFeatures = fields.natural('in_features');
  return {
    name: fields.text('name'),
    family: fields.text('family'),
    outFeatures,
    inFeatures,
    // Patterns take memory by it.
    rank: fields.natural('rank', Math.min(outFeatures, inFeatures)),
    dtype: fields.choice('dtype', ['float32', 'float64', 'bfloat16', 'float16']),
    parameters: fields.texts('parameters'),
    weight: fields.optionalText('weight'),
    bias: fields.optionalText('bias'),
    options: fields.record('options'),
    settled: fields.record('settled'),
    coordinates: fields.flag('coordinates'),
    vectors: fields.flag('vectors'),
    place: readPlace(fields, outFeatures, inFeatures),
  };
}

/** The place of a layer, whose matrix must be inside of the weight. */
function readPlace(fields: Fields, out: number, inFeatures: number): Place | null {
  const place = fields.optionalPart('place');
  if (place === null) return null;
  const inOut = fields.record('options')['layout'] === 'in-out';
  const [rows, columns] = inOut ? [inFeatures, out] : [out, inFeatures];
  const shape = place.list('shape').map((each) => (Number.isSafeInteger(each) ? (each as number) : Number.NaN));
  const size = shape.reduce((product, each) => product * each, 1);
  const stride = place.natural('stride');
  const first = place.natural('first');
  const feature = place.natural('feature');
  const fits = rows > 0 && columns > 0 && stride >= columns && first + (rows - 1) * stride + columns <= size;
  const inBias = (feature + out) * inFeatures <= size;
  if (!(shape.length >= 2 && shape.every((each) => each > 0) && fits && inBias)) {
    place.refuse(`a matrix [${rows}, ${columns}] inside of its weight`);
  }
  return { tensor: place.text('tensor'), shape, first, stride, feature };
}

/** The fields of an object in a file, each checked when it is read. */
class Fields {
  readonly #op: string;
  readonly #path: string;
  readonly #at: string;
  readonly #values: Record<string, unknown>;

  constructor(op: string, path: string, at: string, value: unknown) {
    if (!isRecord(value)) corrupt(op, path, undefined, `${at || 'the file'} to be an object`, describe(value));
    this.#op = op;
    this.#path = path;
    this.#at = at === '' ? '' : `${at}.`;
    this.#values = value;
  }

  text(key: string): string {
    return this.#checked(key, 'a string', (value) => typeof value === 'string');
  }

  optionalText(key: string): string | null {
    return this.#checked(key, 'a string or null', (value) => value === null || typeof value === 'string');
  }

  natural(key: string, most = Number.MAX_SAFE_INTEGER): number {
    const isNatural = (value: unknown): value is number =>
      Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
    const limit = most < Number.MAX_SAFE_INTEGER ? ` and at most ${most}` : '';
    return this.#checked(key, `an integer of at least 0${limit}`, isNatural);
  }

  flag(key: string): boolean {
    return this.#checked(key, 'a boolean', (value) => typeof value === 'boolean');
  }

  choice<T extends string>(key: string, choices: readonly T[]): T {
    const isChoice = (value: unknown): value is T => choices.includes(value as T);
    return this.#checked(key, `one of ${choices.join(', ')}`, isChoice);
  }

  list(key: string): unknown[] {
    return this.#checked(key, 'an array', isArray);
  }

  texts(key: string): string[] {
    const areTexts = (value: unknown): value is string[] =>
      isArray(value) && value.every((each) => typeof each === 'string');
    return this.#checked(key, 'an array of strings', areTexts);
  }

  record(key: string): Record<string, unknown> {
    return this.#checked(key, 'an object', isRecord);
  }

  /** The fields of an object; null if there is none. */
  optionalPart(key: string): Fields | null {
    const value = Object.hasOwn(this.#values, key) ? this.#values[key] : null;
    return value === null ? null : new Fields(this.#op, this.#path, `${this.#at}${key}`, value);
  }

  refuse(expected: string): never {
    corrupt(this.#op, this.#path, undefined, `${this.#at.slice(0, -1)} to be ${expected}`, describe(this.#values));
  }

  #checked<T>(key: string, expected: string, isRight: (value: unknown) => value is T): T {
    const value = Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
    if (!isRight(value))
      corrupt(this.#op, this.#path, undefined, `${this.#at}${key} to be ${expected}`, describe(value));
    return value;
  }
}
