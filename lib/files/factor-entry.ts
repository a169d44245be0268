// One entry of a cache of factors: its key, which follows from the weight's bits and the settings, and its file.
import { type Decomposition, Factors } from '../linalg/decompose.js';
import type { FactorError } from '../linalg/factor-error.js';
import { describe, isRecord } from '../runtime/check.js';
import { version } from '../runtime/version.js';
import { type FactorDType, vectorType } from '../tensor/dtype.js';
import type { Scoped } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { writeAtomically } from './atomic.js';
import { corrupt } from './complaints.js';
import { digestOf } from './fingerprint.js';
import { storedTypes } from './header.js';
import { parseJson } from './json-file.js';
import { openNamed, type SafetensorsFile } from './safetensors.js';
import { checkStored } from './stored.js';
import { writeTensors } from './write-safetensors.js';

/** Part of every key. Raise it if a file of today, or the factors in it, would be wrong for the new version. */
const formatVersion = 1;
/** The name of the JSON in the metadata. */
export const noteName = 'sigmatune_factors';

function rankOf({ rank, weight }: Decomposition): number {
  return rank ?? Math.min(...weight.shape);
}

/** SHA-256 of the weight's bits, and of all settings that change the factors. */
export function keyOf(op: string, given: Decomposition): Promise<string> {
  const { weight, storage, driver, signal } = given;
  const settings = {
    format: ['sigmatune factors', formatVersion],
    weight: [weight.dtype, ...weight.shape],
    storage,
    rank: rankOf(given),
    driver: driver ?? 'auto',
    // A device has routines of its own, which round differently.
    backend: weight.device === 'cpu' ? 'cpu' : 'cuda',
  };
  return digestOf(op, JSON.stringify(settings), [weight], signal);
}

/** What an entry says of its factors besides their numbers. */
interface Note extends FactorError {
  readonly key: string;
  readonly library: string;
}

/** SHA-256 of everything that an entry says: it shows damage, which the form of the file need not show. */
function sealOf(
  op: string,
  { key, library, residual, orthogonality }: Note,
  tensors: readonly Tensor[],
  signal?: AbortSignal,
) {
  return digestOf(op, JSON.stringify([key, library, residual, orthogonality]), tensors, signal);
}

/** Bytes that an entry takes at most: its header takes less than 1 KB. */
export function entryBytes({ bytes }: Factors): number {
  return bytes + 1024;
}

export async function writeEntry(
  op: string,
  path: string,
  key: string,
  { u, s, vt, error }: Factors,
  signal: AbortSignal | undefined,
): Promise<void> {
  const note = { ...error, key, library: version };
  const sha256 = await sealOf(op, note, [u, s, vt], signal);
  const { library, residual, orthogonality } = note;
  const json = { format_version: formatVersion, library_version: library, key, residual, orthogonality, sha256 };
  const notes = new Map([[noteName, JSON.stringify(json)]]);
  await writeAtomically(op, path, signal, (file) => writeTensors(op, file, Object.entries({ u, s, vt }), notes));
}

/**
 * Reads an entry, onto the weight's device. CORRUPT_FILE if a bit is not what `writeEntry` wrote, or if it is the entry of
 * another key.
 */
export async function readEntry(op: string, path: string, key: string, given: Decomposition): Promise<Factors> {
  const { weight, storage, signal } = given;
  const [rows, columns] = weight.shape as [number, number];
  const rank = rankOf(given);
  const made: Scoped[] = [];
  const own = <T extends Scoped>(tensor: T): T => {
    made.push(tensor);
    return tensor;
  };
  const file = await openNamed(op, path);
  try {
    const { sha256, ...note } = readNote(op, path, file);
    if (note.key !== key) corrupt(op, path, undefined, `the factors of ${key}`, `those of ${note.key}`);
    const read = async <D extends FactorDType>(name: string, dtype: D, shape: readonly number[]) => {
      checkStored(op, path, file, name, shape);
      const stored = file.info(name).dtype;
      if (stored !== storedTypes[dtype]) corrupt(op, path, name, storedTypes[dtype], stored);
      return own(await file.readAs(op, name, signal)) as Tensor<D>;
    };
    const u = await read('u', storage, [rows, rank]);
    const s = await read('s', vectorType(storage), [rank]);
    const vt = await read('vt', storage, [rank, columns]);
    if ((await sealOf(op, note, [u, s, vt], signal)) !== sha256) {
      corrupt(op, path, undefined, `contents with the SHA-256 ${sha256}`, 'others');
    }
    const { residual, orthogonality } = note;
    const here = <D extends FactorDType>(tensor: Tensor<D>) => own(tensor.on(op, weight.device));
    return Factors.of<FactorDType>({ u: here(u), s: here(s), vt: here(vt) }, { residual, orthogonality });
  } finally {
    for (const tensor of made) tensor.dispose();
    await file.close();
  }
}

function readNote(op: string, path: string, file: SafetensorsFile): Note & { readonly sha256: string } {
  const text = file.metadata[noteName];
  if (text === undefined) corrupt(op, path, undefined, `metadata of the name '${noteName}'`, 'none');
  const note = parseJson(op, path, Buffer.from(text), (json) => json.value());
  if (!isRecord(note)) return corrupt(op, path, undefined, 'an object', describe(note));
  const { key, library_version: library, residual, orthogonality, sha256 } = note;
  for (const [name, value] of Object.entries({ residual, orthogonality })) {
    if (typeof value !== 'number') corrupt(op, path, undefined, `${name} to be a number`, describe(value));
  }
  const [ofKey, ofLibrary, ofContents] = [key, library, sha256].map(String) as [string, string, string];
  return {
    key: ofKey,
    library: ofLibrary,
    residual: residual as number,
    orthogonality: orthogonality as number,
    sha256: ofContents,
  };
}
