// A checkpoint has a SHA-256 of its contents, so that numbers that a disk or a copy has damaged are not taken for trained
// ones: the safetensors format has no checksum of its own.
import { createHash, type Hash } from 'node:crypto';
import type { Tensor } from '../tensor/tensor.js';
import { corrupt, quoted } from './complaints.js';
import { addBits } from './fingerprint.js';
import { storedTypes } from './header.js';
import type { SafetensorsFile } from './safetensors.js';

/** The key of the checksum in the metadata. */
const checksumKey = 'sigmatune_sha256';

type Notes = ReadonlyMap<string, string>;

/** The metadata with the checksum of the tensors and of the metadata. */
export async function withChecksum(
  op: string,
  tensors: readonly (readonly [string, Tensor])[],
  notes: Notes,
): Promise<Notes> {
  const hash = hashOf(notes);
  for (const [name, tensor] of inOrder(tensors)) {
    begin(hash, name, storedTypes[tensor.dtype], tensor.shape);
    await addBits(op, hash, tensor, undefined);
  }
  return new Map([...notes, [checksumKey, hash.digest('hex')]]);
}

/** CORRUPT_FILE if the contents are not those that were saved. Files of earlier versions have no checksum. */
export async function checkChecksum(op: string, path: string, file: SafetensorsFile): Promise<void> {
  const { [checksumKey]: wanted, ...notes } = file.metadata;
  if (wanted === undefined) return;
  const hash = hashOf(new Map(Object.entries(notes)));
  for (const [name] of inOrder(file.names.map((each) => [each] as const))) {
    const { dtype, shape } = file.info(name);
    begin(hash, name, dtype, shape);
    await file.copy(op, name, async (part) => void hash.update(part));
  }
  const found = hash.digest('hex');
  if (found !== wanted)
    corrupt(op, path, undefined, `contents with the SHA-256 ${quoted(wanted)}`, `${found}: damaged`);
}

function hashOf(notes: Notes): Hash {
  return createHash('sha256').update(JSON.stringify(inOrder([...notes])));
}

/** Each part is preceded by its description, so that no two different files are hashed alike. */
function begin(hash: Hash, name: string, dtype: string, shape: readonly number[]): void {
  hash.update(JSON.stringify([name, dtype, shape]));
}

/** By name. A file keeps no other order. */
function inOrder<T extends readonly [string, ...unknown[]]>(entries: readonly T[]): readonly T[] {
  return [...entries].sort(([one], [other]) => (one < other ? -1 : 1));
}
