// The values of parameters: from one rank to all, and a comparison of all ranks.
import { createHash } from 'node:crypto';
import type { Seen } from '../optim/groups.js';
import { SigmaError } from '../runtime/errors.js';
import type { RealArray } from '../runtime/native.js';
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
  const parts = await Promise.all(seen.map((each) => bytesOf(op, each)));
  const mine = new Uint8Array(Buffer.concat(parts));
  const all = await transport.broadcast(op, mine, root, seconds);
  // Each value is written by itself, because a part may begin at any byte.
  let at = 0;
  for (const { value } of seen) {
    const numbers = value.dtype === 'float64' ? new Float64Array(value.size) : new Float32Array(value.size);
    new Uint8Array(numbers.buffer).set(all.subarray(at, at + numbers.byteLength));
    at += numbers.byteLength;
    value.assign(numbers);
  }
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
  const digests = await Promise.all(seen.map(async (each) => digestOf(await bytesOf(op, each))));
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

/** A copy of a value's bytes. */
async function bytesOf(op: string, { name, value }: Seen): Promise<Uint8Array> {
  const memory = memoryOf(op, `${name}.value`, value);
  const numbers = (isHost(memory) ? memory : await value.data()) as RealArray;
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength).slice();
}
