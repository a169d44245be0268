import { createHash, type Hash } from 'node:crypto';
import type { NumericArray } from '../runtime/native.js';
import { inSlices, type Work } from '../runtime/slices.js';
import { fromHalf } from '../tensor/convert.js';
import { isHalf } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import { isHost } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';

/** Numbers of one part of the hash. */
const part = 2 ** 16;

/**
 * SHA-256 of a tensor's shape and numbers, as float64: a weight has the same one in each type as long
 * as no number was rounded. Off the event loop's time, in slices.
 */
export async function fingerprintOf(op: string, tensor: Tensor, signal: AbortSignal | undefined): Promise<string> {
  // A handle of our own keeps the memory if the caller disposes the tensor meanwhile.
  const kept = tensor.share();
  try {
    const numbers = await kept.data();
    return await inSlices(op, hashed(numbers, kept), signal);
  } finally {
    kept.dispose();
  }
}

function* hashed(numbers: ArrayLike<number>, { shape, dtype }: Tensor): Work<string> {
  const hash = createHash('sha256').update(JSON.stringify(shape));
  const wide = new Float64Array(Math.min(part, numbers.length));
  for (let begin = 0; begin < numbers.length; begin += part) {
    const count = Math.min(part, numbers.length - begin);
    for (let i = 0; i < count; i++) {
      const number = numbers[begin + i] as number;
      wide[i] = isHalf(dtype) ? fromHalf(dtype, number) : number;
    }
    hash.update(new Uint8Array(wide.buffer, 0, 8 * count));
    yield;
  }
  return hash.digest('hex');
}

/** Bytes of one part of a tensor's bits, well below a millisecond. */
const partBytes = 2 ** 20;

/** SHA-256 of a text, which tells types and shapes, and of the bits of tensors. Off the event loop's time, in slices. */
export async function digestOf(
  op: string,
  text: string,
  tensors: readonly Tensor[],
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash('sha256').update(text);
  for (const tensor of tensors) await addBits(op, hash, tensor, signal);
  return hash.digest('hex');
}

/** Adds the bits of a tensor to a hash, in slices. */
export async function addBits(op: string, hash: Hash, tensor: Tensor, signal: AbortSignal | undefined): Promise<void> {
  // A handle of our own keeps the memory if the caller disposes the tensor meanwhile.
  const kept = keep(tensor.share());
  try {
    const fetched = isHost(kept.read(op, 'weight')) ? undefined : await kept.data();
    // Read again for each part: the caller may detach the buffer in between.
    await inSlices(
      op,
      bitsTo(hash, () => fetched ?? (kept.read(op, 'weight') as NumericArray)),
      signal,
    );
  } finally {
    kept.dispose();
  }
}

function* bitsTo(hash: Hash, read: () => NumericArray): Work<void> {
  const { byteLength } = read();
  for (let done = 0; done < byteLength; done += partBytes) {
    const { buffer, byteOffset } = read();
    hash.update(new Uint8Array(buffer, byteOffset + done, Math.min(partBytes, byteLength - done)));
    yield;
  }
}
