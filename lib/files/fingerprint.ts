import { createHash } from 'node:crypto';
import { inSlices, type Work } from '../runtime/slices.js';
import { fromBfloat16 } from '../tensor/bfloat16.js';
import type { Tensor } from '../tensor/tensor.js';

/** Numbers of one part of the hash. */
const part = 2 ** 16;

/**
 * SHA-256 of a tensor's shape and numbers, as float64: a weight has the same one in float32, float64 and bfloat16 as long
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
      wide[i] = dtype === 'bfloat16' ? fromBfloat16(number) : number;
    }
    hash.update(new Uint8Array(wide.buffer, 0, 8 * count));
    yield;
  }
  return hash.digest('hex');
}
