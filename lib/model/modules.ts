import { moduleName } from '../files/module-name.js';
import { fail, isArray, isRecord, readList, readRecord, reject } from '../runtime/check.js';
import { endsOf, type Named, requireOne, type StoredWeight, valueFor } from './targets.js';

/** How weights are stored: [out, in], or [in, out] as TensorFlow, Flax and Hugging Face's Conv1D have them. */
export type Layout = 'out-in' | 'in-out';

/** A part (rows, columns) of a weight: it begins at element `first`, and has a row every `stride` elements. */
export interface Block {
  readonly first: number;
  readonly stride: number;
  readonly rows: number;
  readonly columns: number;
}

/** A matrix of the model: a weight, or a part of one. */
export interface Module extends Named {
  /** The weight's name, or the name that the part has. */
  readonly name: string;
  /** Goes before the names of the layer's parameters. */
  readonly layerName: string;
  /** The weight that the module is in. */
  readonly weight: string;
  readonly out: number;
  readonly in: number;
  readonly layout: Layout;
  /** Where it is in the weight: rows of `in` numbers, or of `out` numbers with the layout 'in-out'. */
  readonly block: Block;
  /** Its features in the weight's bias, which has one for each feature of the weight (and expert): the first of them. */
  readonly firstFeature: number;
}

/** What the options say of weights, read once. */
export interface Structure {
  readonly layout: (weight: Named) => Layout;
  readonly split: ReadonlyMap<string, Parts>;
}

/** Parts by name, with their sizes along `out`, or equal ones. */
type Parts = ReadonlyMap<string, number | undefined>;

const named = (...names: string[]): Named => ({
  names: [...new Set(names.flatMap((name) => [name, moduleName(name)]))],
});

/** Reads `layout` and `split`. Every name in them must be that of a weight; a vector cannot be split. */
export function readStructure(
  op: string,
  options: { readonly layout?: unknown; readonly split?: unknown },
  weights: readonly StoredWeight[],
): Structure {
  const namesOf = (list: readonly StoredWeight[]) => list.map(({ name }) => named(name));
  const matrices = weights.filter(({ shape }) => shape.length > 1);
  return {
    layout: readLayout(op, options.layout, namesOf(weights)),
    split: readSplit(op, options.split, namesOf(matrices)),
  };
}

function readLayout(op: string, layout: unknown, known: readonly Named[]): (weight: Named) => Layout {
  const check = (argument: string, value: unknown): Layout => {
    if (value !== 'out-in' && value !== 'in-out') reject(op, argument, "'out-in' or 'in-out'", value);
    return value;
  };
  if (layout === undefined) return () => 'out-in';
  if (!isRecord(layout)) {
    const all = check('options.layout', layout);
    return () => all;
  }
  const byName = new Map<string, Layout>();
  const ends = endsOf(known);
  for (const [key, value] of Object.entries(readRecord(op, 'options.layout', layout))) {
    requireOne(op, 'options.layout', key, known, ends);
    byName.set(key, check(`options.layout['${key}']`, value));
  }
  return (weight) => valueFor(byName, weight) ?? 'out-in';
}

function readSplit(op: string, split: unknown, known: readonly Named[]): ReadonlyMap<string, Parts> {
  const read = new Map<string, Parts>();
  if (split === undefined) return read;
  const ends = endsOf(known);
  for (const [key, value] of Object.entries(readRecord(op, 'options.split', split))) {
    requireOne(op, 'options.split', key, known, ends);
    read.set(key, readParts(op, `options.split['${key}']`, value));
  }
  return read;
}

function readParts(op: string, argument: string, value: unknown): Parts {
  const parts = new Map<string, number | undefined>();
  const add = (name: unknown, size: unknown): void => {
    if (typeof name !== 'string' || name === '' || parts.has(name)) {
      reject(op, argument, 'names of parts, each another', name);
    }
    if (size !== undefined && !(Number.isInteger(size) && (size as number) > 0)) {
      reject(op, `${argument}.${name}`, 'a size along out, an integer of at least 1', size);
    }
    parts.set(name, size as number | undefined);
  };
  if (isArray(value)) for (const name of readList(op, argument, value, 'names of parts')) add(name, undefined);
  else if (isRecord(value)) for (const [name, size] of Object.entries(readRecord(op, argument, value))) add(name, size);
  else reject(op, argument, 'an array of names, or an object of sizes by name', value);
  if (parts.size === 0) reject(op, argument, 'at least one part', value);
  return parts;
}

/**
 * The matrices of a model. A weight of one axis is none; a stack [E, out, in] is E of them, numbered, as experts are stored;
 * of a convolution [out, in, …kernel] the kernel's positions are inputs. A weight that `split` names is its parts.
 */
export function modulesOf(op: string, weights: readonly StoredWeight[], structure: Structure): Module[] {
  const modules = weights.flatMap((weight) => (weight.shape.length < 2 ? [] : matricesOf(op, weight, structure)));
  requireApart(op, 'options.split', modules, ({ name, weight }) => name !== weight);
  return modules;
}

/** Refuses two modules of one name, if `counts` is true for one of them: their parameters and seeds would be the same. */
export function requireApart(
  op: string,
  argument: string,
  modules: readonly Module[],
  counts: (module: Module) => boolean,
): void {
  const seen = new Map<string, Module>();
  for (const module of modules) {
    const { layerName } = module;
    const other = seen.get(layerName);
    if (other !== undefined && (counts(module) || counts(other))) {
      const got = `it from '${other.weight}' and from '${module.weight}'`;
      fail('INVALID_ARGUMENT', op, argument, `one module with the name '${layerName}'`, got);
    }
    seen.set(layerName, module);
  }
}

function matricesOf(op: string, { name, shape }: StoredWeight, { layout, split }: Structure): Module[] {
  const own = named(name);
  const stored = layout(own);
  const parts = valueFor(split, own);
  const experts = shape.length === 3 ? (shape[0] as number) : 1;
  const [first, ...rest] = (shape.length === 3 ? shape.slice(1) : shape) as [number, ...number[]];
  const second = rest.reduce((product, n) => product * n, 1);
  if (stored === 'in-out' && shape.length > 3) {
    fail('SHAPE_MISMATCH', op, name, "layout 'out-in' for a convolution [out, in, …]", "'in-out'");
  }
  const [out, inFeatures] = stored === 'out-in' ? [first, second] : [second, first];
  const sizes = sizesOf(op, name, parts, out);
  return Array.from({ length: experts }, (_, expert) => {
    let begin = 0;
    return sizes.map(([part, size]): Module => {
      const suffix = [experts > 1 || shape.length === 3 ? `${expert}` : undefined, part].filter(
        (each) => each !== undefined,
      );
      const full = suffix.length === 0 ? name : [moduleName(name), ...suffix].join('.');
      const at = expert * out * inFeatures;
      const block =
        stored === 'out-in'
          ? { first: at + begin * inFeatures, stride: inFeatures, rows: size, columns: inFeatures }
          : { first: at + begin, stride: out, rows: inFeatures, columns: size };
      const firstFeature = expert * out + begin;
      begin += size;
      return {
        name: full,
        layerName: moduleName(full),
        names: [...new Set([full, moduleName(full), ...own.names])],
        weight: name,
        out: size,
        in: inFeatures,
        layout: stored,
        block,
        firstFeature,
      };
    });
  }).flat();
}

/** The parts along `out` and their sizes; one without a name if the weight is not split. */
function sizesOf(
  op: string,
  name: string,
  parts: Parts | undefined,
  out: number,
): [part: string | undefined, size: number][] {
  if (parts === undefined) return [[undefined, out]];
  const equal = out / parts.size;
  const sizes = [...parts].map(([part, size]): [string, number] => [part, size ?? equal]);
  const sum = sizes.reduce((total, [, size]) => total + size, 0);
  const isWhole = sizes.every(([, size]) => Number.isInteger(size));
  if (sum === out && isWhole) return sizes;
  const given = isWhole ? sizes.map(([part, size]) => `${part}: ${size}`).join(', ') : `${parts.size} equal parts`;
  fail('SHAPE_MISMATCH', op, `options.split for '${name}'`, `parts that make up its ${out} outputs`, given);
}
