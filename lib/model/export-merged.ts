import { readLayers } from '../files/adapters.js';
import { writeAtomically } from '../files/atomic.js';
import { quoted } from '../files/complaints.js';
import { inFileOrder, type Part, type StoredDType, storedTypes } from '../files/header.js';
import { biasMoved } from '../files/lora.js';
import { moduleName } from '../files/module-name.js';
import { chunkBytes } from '../files/readable.js';
import { checkHost, checkPath, openNamed, type SafetensorsFile } from '../files/safetensors.js';
import { makeHeader, readMetadata } from '../files/write-safetensors.js';
import type { AdaptedLinear } from '../layers/types.js';
import { type ByName, checkOptions, checkSignal, describe, fail } from '../runtime/check.js';
import { renamed, SigmaError } from '../runtime/errors.js';
import { allocate, bytesPerElement, type DType } from '../tensor/dtype.js';
import { narrowSingles } from '../tensor/float16.js';
import { fromNumbers, numbersOf } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import { sizeOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AdaptedModel, type MergedSource } from './adapted.js';

export interface ExportMergedOptions {
  /**
   * The checkpoint of the base model: a safetensors file, an index, or a folder. Its other tensors are copied unchanged, and
   * its types and metadata are kept.
   */
  base?: string;
  /** Goes into the file as `__metadata__`, next to the base's; the same keys are replaced. Without a base: { format: 'pt' }. */
  metadata?: Record<string, string>;
  signal?: AbortSignal;
}

/** The types of the format in which a merged weight can be written. */
const writable: Partial<Record<StoredDType, DType>> = {
  F64: 'float64',
  F32: 'float32',
  BF16: 'bfloat16',
  F16: 'float32',
};

/** A tensor of the file. */
interface Output extends Part {
  readonly dtype: StoredDType;
  /** Makes the numbers; undefined for a tensor that is copied from the base. */
  readonly make: (() => Tensor | Promise<Tensor>) | undefined;
  readonly argument: string;
}

/**
 * Writes merged weights W' as one safetensors file, under the base's names, in its layout and types, one at a time. With
 * `base` the file is a whole checkpoint: all other tensors are copied bit for bit. A bias that VectorFit has trained is
 * written too, as '….bias'. The file is replaced atomically.
 *
 * @param source a model, or layers by the names of their weights
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, also for a weight that the base does not have or a path that cannot
 * be opened, SHAPE_MISMATCH for another shape in the base, UNSUPPORTED for a type of the base in which no weight can be
 * written, NON_FINITE for a number beyond the range of F16, DISPOSED, CORRUPT_FILE, NATIVE for a full disk, ABORTED
 * @example
 * await exportMerged('merged/model.safetensors', model, { base: 'base/model.safetensors' });
 */
export async function exportMerged(
  path: string,
  source: AdaptedModel | ByName<AdaptedLinear>,
  options?: ExportMergedOptions,
): Promise<void> {
  const op = 'exportMerged';
  checkHost(op);
  checkPath(op, 'path', path);
  const { base, metadata, signal } = checkOptions(op, 'options', options, ['base', 'metadata', 'signal']);
  if (base !== undefined) checkPath(op, 'options.base', base);
  const own = readMetadata(op, metadata);
  checkSignal(op, signal);
  const sources = AdaptedModel.is(source) ? source.sources() : sourcesOf(op, source);
  if (sources.length === 0) fail('INVALID_ARGUMENT', op, 'source', 'at least one layer', 'none');
  const file = base === undefined ? undefined : await openNamed(op, base);
  try {
    const outputs = inFileOrder(outputsOf(op, sources, file));
    const notes = new Map([...Object.entries(file?.metadata ?? { format: 'pt' }), ...own]);
    const header = makeHeader(op, outputs, notes);
    await writeAtomically(op, path, signal, async (sink) => {
      await sink.write(header);
      const write = (part: Uint8Array) => sink.write(part);
      for (const output of outputs) {
        if (output.make === undefined) await file?.copy(op, output.name, write, signal);
        else await writeMade(op, output, output.make, write);
      }
    });
  } catch (error) {
    throw renamed(error, op);
  } finally {
    await file?.close();
  }
}

function sourcesOf(op: string, layers: unknown): readonly MergedSource[] {
  return readLayers(op, 'source', layers).map(([name, layer]) => {
    const argument = `source[${quoted(name)}]`;
    const { transposed, dtype } = layer.anatomy(op, argument).terms;
    const { outFeatures, inFeatures } = layer;
    return {
      name,
      argument,
      shape: transposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures],
      dtype,
      merged: (caller: string) => layer.mergedAsStored(caller),
      features: outFeatures,
      biases: [{ layer, first: 0 }],
    };
  });
}

/** What the file has: the merged weights and trained biases, and everything else that the base has. */
function outputsOf(op: string, sources: readonly MergedSource[], base: SafetensorsFile | undefined): Output[] {
  const outputs = new Map<string, Output>();
  const add = (output: Output) => {
    if (outputs.has(output.name)) {
      fail('INVALID_ARGUMENT', op, output.argument, 'each weight once', `${quoted(output.name)} a second time`);
    }
    outputs.set(output.name, output);
  };
  for (const source of sources) {
    const { argument, merged } = source;
    const name = base === undefined ? source.name : nameIn(op, source, base);
    add({ ...placeOf(op, argument, name, source, base), make: () => merged(op), argument });
    const bias = biasOutput(op, { ...source, name }, base);
    if (bias !== undefined) add(bias);
  }
  for (const name of base?.names ?? []) {
    if (outputs.has(name)) continue;
    const { dtype, shape, bytes } = (base as SafetensorsFile).info(name);
    outputs.set(name, { name, dtype: dtype as StoredDType, shape, bytes, make: undefined, argument: quoted(name) });
  }
  return [...outputs.values()];
}

/** The name of a weight in the base: with or without '.weight'. */
function nameIn(op: string, { name, argument }: MergedSource, base: SafetensorsFile): string {
  const found = [name, `${name}.weight`].find((each) => base.has(each));
  if (found === undefined) {
    fail('INVALID_ARGUMENT', op, argument, 'the name of a tensor in options.base', 'a name that it does not have');
  }
  return found;
}

/** Type and shape of a tensor: the base's if it is there. */
function placeOf(
  op: string,
  argument: string,
  name: string,
  { shape, dtype }: Pick<MergedSource, 'shape' | 'dtype'>,
  base: SafetensorsFile | undefined,
): Omit<Part, 'dtype'> & { readonly dtype: StoredDType } {
  if (base?.has(name) !== true) {
    const stored = storedTypes[dtype];
    return { name, shape, dtype: stored, bytes: sizeOf(shape) * bytesPerElement(dtype) };
  }
  const found = base.info(name);
  const stored = found.dtype as StoredDType;
  if (String(found.shape) !== String(shape)) {
    const expected = `shape ${describe([...found.shape])}, as ${quoted(name)} has in options.base`;
    fail('SHAPE_MISMATCH', op, argument, expected, describe([...shape]));
  }
  if (writable[stored] === undefined) {
    const got = `${stored} in options.base: convert the base to one of them first`;
    fail('UNSUPPORTED', op, argument, Object.keys(writable).join(', '), got);
  }
  return { name, shape, dtype: stored, bytes: found.bytes };
}

/** The bias of a weight, if one of its layers has trained its part of it. */
function biasOutput(op: string, source: MergedSource, base: SafetensorsFile | undefined): Output | undefined {
  const { argument, biases, features } = source;
  const trained = biases.filter(({ layer }) => layer.enabled && biasMoved(op, argument, layer));
  const [any] = trained;
  if (any === undefined) return undefined;
  const name = `${moduleName(source.name)}.bias`;
  const isThere = base?.has(name) === true;
  const covered = trained.reduce((sum, { layer }) => sum + layer.outFeatures, 0);
  if (!isThere && covered < features) {
    const got = 'only a part of it, which was trained (give options.base, which has the rest)';
    throw new SigmaError('UNSUPPORTED', op, `${argument}, bias: expected all of '${name}', got ${got}`);
  }
  const shape = isThere ? (base as SafetensorsFile).info(name).shape : [features];
  if (sizeOf(shape) !== features) {
    fail('SHAPE_MISMATCH', op, `${argument}, bias`, `${features} numbers in ${quoted(name)}`, describe([...shape]));
  }
  const dtype = any.layer.parameters[0]?.value.dtype ?? 'float32';
  const make = async () => {
    const numbers = allocate(op, dtype, features);
    if (isThere && covered < features) {
      const before = await (base as SafetensorsFile).readAs(op, name, undefined);
      numbers.set(numbersOf(op, argument, before));
      before.dispose();
    }
    for (const { layer, first } of trained) {
      const part = layer.mergedBias() as Tensor;
      numbers.set(numbersOf(op, argument, part), first);
      part.dispose();
    }
    return fromNumbers(op, 'cpu', dtype, shape, numbers);
  };
  return { ...placeOf(op, `${argument}, bias`, name, { shape, dtype }, base), make, argument: `${argument}, bias` };
}

/** Makes a tensor and writes it in the file's type. */
async function writeMade(
  op: string,
  { dtype, argument }: Output,
  make: () => Tensor | Promise<Tensor>,
  write: (part: Uint8Array) => Promise<void>,
): Promise<void> {
  const made = keep(await make());
  try {
    const wanted = writable[dtype] as DType;
    const cast = keep(made.dtype === wanted ? made.share() : made.cast(wanted));
    try {
      const numbers = await cast.data();
      const bytes = dtype === 'F16' ? halvesOf(op, argument, numbers as Float32Array) : numbers;
      for (let done = 0; done < bytes.byteLength; done += chunkBytes) {
        await write(
          new Uint8Array(bytes.buffer, bytes.byteOffset + done, Math.min(chunkBytes, bytes.byteLength - done)),
        );
      }
    } finally {
      cast.dispose();
    }
  } finally {
    made.dispose();
  }
}

function halvesOf(op: string, argument: string, numbers: Float32Array): Uint16Array {
  const halves = new Uint16Array(numbers.length);
  narrowSingles(new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length), halves);
  const at = halves.findIndex((half, i) => (half & 0x7fff) === 0x7c00 && Number.isFinite(numbers[i]));
  if (at >= 0) {
    fail('NON_FINITE', op, argument, 'numbers of at most 65504, the largest of F16', describe(numbers[at]));
  }
  return halves;
}
