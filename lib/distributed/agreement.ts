// Before data moves, the ranks compare what they are about to do. All ranks see the same answers, so all of them go on or all
// of them refuse.
import { createHash } from 'node:crypto';
import { SigmaError } from '../runtime/errors.js';
import type { Transport } from './transport.js';

/** What a rank brings to a call: one line for each parameter, or whatever else has to be the same on all ranks. */
export type Agenda = readonly string[];

const digestBytes = 20;
/** Of a card without its note. */
const comparedBytes = 8 + digestBytes;
const noteBytes = 480;

/**
 * Returns when all ranks make the same call with the same agenda. Otherwise throws RANK_MISMATCH on every rank, with the first
 * rank that differs from rank 0, and where. One exchange of 29 bytes if the ranks agree.
 *
 * @param note a byte that may differ
 * @returns the notes of all ranks
 */
export async function agree(
  op: string,
  transport: Transport,
  agenda: Agenda,
  seconds: number,
  note = 0,
): Promise<readonly number[]> {
  if (transport.size === 1) return [note];
  const text = Buffer.from(JSON.stringify(agenda));
  const card = cardOf(op, text, note);
  const all = await transport.gather(op, card, seconds);
  const cards = all.map((bytes) => Buffer.from(bytes).subarray(0, comparedBytes));
  const first = cards[0] as Buffer;
  if (cards.every((each) => each.equals(first))) return all.map((bytes) => bytes.at(-1) as number);
  // Every rank goes on with the same exchanges, whatever it has called.
  const ofFirst = Buffer.alloc(first.readUInt32LE(4));
  text.copy(ofFirst);
  const shown = Buffer.from(await transport.broadcast(op, ofFirst, 0, seconds)).toString();
  const notes = await gatherTexts(op, transport, `${op}\n${differenceOf(JSON.parse(shown), agenda)}`, seconds);
  const calls = notes.map((note) => note.split('\n', 1)[0] as string);
  const other = calls.findIndex((call) => call !== calls[0]);
  if (other > 0) {
    throw new SigmaError(
      'RANK_MISMATCH',
      op,
      `ranks: expected the same call on all of them, got ${calls[0]} on rank 0 and ${calls[other]} on rank ${other}`,
    );
  }
  const rank = notes.findIndex((note) => note.length > (calls[0] as string).length + 1);
  throw new SigmaError(
    'RANK_MISMATCH',
    op,
    `rank ${rank} differs from rank 0: ${notes[rank]?.slice((calls[0] as string).length + 1)}`,
  );
}

/**
 * What a rank shows of a call: what has to be the same on all ranks (the call, and a digest of its agenda), and its note. All
 * cards have one length, so that ranks that make different calls can still compare them.
 */
export function cardOf(op: string, text: Buffer = Buffer.alloc(0), note = 0): Buffer {
  return Buffer.concat([hash(op).subarray(0, 4), number(text.length), hash(text), Buffer.of(note)]);
}

/** A text of each rank, cut to a few hundred bytes. */
export async function gatherTexts(
  op: string,
  transport: Transport,
  text: string,
  seconds: number,
): Promise<readonly string[]> {
  const bytes = Buffer.alloc(noteBytes);
  // Buffer.write never cuts a character.
  bytes.write(text, 0, noteBytes, 'utf8');
  const all = await transport.gather(op, bytes, seconds);
  return all.map((each) => Buffer.from(each).toString('utf8').replace(/\0+$/, ''));
}

/** Empty if there is none. */
function differenceOf(expected: readonly string[], got: readonly string[]): string {
  if (expected.length !== got.length)
    return `expected ${expected.length} parameters, got ${got.length}${firstOdd(expected, got)}`;
  const at = got.findIndex((line, i) => line !== expected[i]);
  return at < 0 ? '' : `parameters[${at}]: expected ${expected[at]}, got ${got[at]}`;
}

/** Names the first line that only one of the lists has. */
function firstOdd(expected: readonly string[], got: readonly string[]): string {
  const at = Array.from({ length: Math.max(expected.length, got.length) }).findIndex((_, i) => expected[i] !== got[i]);
  return `; the first difference is parameters[${at}], ${expected[at] ?? 'none'} on rank 0 and ${got[at] ?? 'none'} here`;
}

function hash(content: string | Buffer): Buffer {
  return createHash('sha256').update(content).digest().subarray(0, digestBytes);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A list of each rank, of any length. */
export async function gatherJson<T>(
  op: string,
  transport: Transport,
  list: readonly T[],
  seconds: number,
): Promise<readonly (readonly T[])[]> {
  const text = Buffer.from(JSON.stringify(list));
  const lengths = (await transport.gather(op, number(text.length), seconds)).map((bytes) =>
    Buffer.from(bytes).readUInt32LE(),
  );
  const padded = Buffer.alloc(Math.max(...lengths));
  text.copy(padded);
  const all = await transport.gather(op, padded, seconds);
  return all.map((bytes, i) => JSON.parse(Buffer.from(bytes).subarray(0, lengths[i]).toString()));
}
