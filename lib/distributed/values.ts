// The values of parameters: from one rank to all, and a comparison of all ranks.
import { createHash } from 'node:crypto';
import type { Seen } from '../optim/groups.js';
import { SigmaError } from '../runtime/errors.js';
import type { RealArray } from '../runtime/native.js';
import { bytesPerElement } from '../tensor/dtype.js';
import { memoryOf } from '../tensor/operand.js';
import { isHost } from '../tensor/storage.js';
import { agree } from './agreement.js';
import type { Transport } from './transport.js';

/** One line: what has to be the same on all ranks. */
export function describeParameter({ name, value }: Seen): string {
  return `'${name}' ${value.dtype} [${value.shape.join(', ')}]`;
}

export async function broadcastValues(
  op: string,
  transport: Transport,
  seen: readonly Seen[],
  root: number,
  seconds: number,
): Promise<void> {
  const agenda = seen.map((each) => `${describeParameter(each)}, from rank ${root}`);
  await agree(op, transport, agenda, seconds);
  if (transport.size === 1 || seen.length === 0) return;
  const { places, length } = placesOf(seen);
  const mine = new Uint8Array(length);
  if (transport.rank === root) {
    await Promise.all(seen.map((each, i) => withBytes(op, each, (bytes) => mine.set(bytes, places[i]))));
  }
  const all = await transport.broadcast(op, mine, root, seconds);
  if (transport.rank === root) return;
  for (const [i, { value }] of seen.entries()) {
    const Numbers = value.dtype === 'float64' ? Float64Array : Float32Array;
    value.assign(new Numbers(all.buffer as ArrayBuffer, all.byteOffset + (places[i] as number), value.size));
  }
}

/** Where the bytes of each value begin in one buffer of `length` bytes: at places that an array of any type may begin at. */
function placesOf(seen: readonly Seen[]): { readonly places: readonly number[]; readonly length: number } {
  let length = 0;
  const places = seen.map(({ value }) => {
    const place = length;
    length += 8 * Math.ceil((value.size * bytesPerElement(value.dtype)) / 8);
    return place;
  });
  return { places, length };
}

const digestBytes = 16;

export async function compareValues(
  op: string,
  transport: Transport,
  seen: readonly Seen[],
  seconds: number,
): Promise<void> {
  await agree(op, transport, seen.map(describeParameter), seconds);
  if (transport.size === 1 || seen.length === 0) return;
  const digests = await Promise.all(seen.map((each) => withBytes(op, each, digestOf)));
  const all = (await transport.gather(op, new Uint8Array(Buffer.concat(digests)), seconds)).map((each) =>
    Buffer.from(each),
  );
  const partOf = (rank: Buffer, i: number) => rank.subarray(i * digestBytes, (i + 1) * digestBytes);
  const [first] = all as [Buffer];
  for (const [i, { name }] of seen.entries()) {
    const rank = all.findIndex((each) => !partOf(each, i).equals(partOf(first, i)));
    if (rank < 0) continue;
    throw new SigmaError(
      'RANK_MISMATCH',
      op,
      `parameters[${i}], '${name}': expected the same bits on all ranks, got others on rank ${rank} than on rank 0`,
    );
  }
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, digestBytes);
}

/** Hands a value's bytes to `use`. They are valid only until it returns. */
async function withBytes<T>(op: string, { name, value }: Seen, use: (bytes: Uint8Array) => T): Promise<T> {
  const memory = memoryOf(op, `${name}.value`, value);
  const numbers = (isHost(memory) ? memory : await value.data()) as RealArray;
  return use(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
}
