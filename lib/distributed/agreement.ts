// Before data moves, the ranks compare what they are about to do. All ranks see the same answers, so all of them go on or all
// of them refuse.
import { createHash } from 'node:crypto';
import { SigmaError } from '../runtime/errors.js';
import type { Transport } from './transport.js';

/** What a rank brings to a call, and has to be the same on all ranks: a line for each parameter or module. */
export type Agenda = readonly string[];

/** How `agree` compares agendas. */
interface AgreeOptions {
  /** A byte that may differ. */
  readonly note?: number;
  /** What the lines of the agenda stand for, in messages. */
  readonly items?: 'parameters' | 'modules';
}

const digestBytes = 20;
/** Of a card without its note. */
const comparedBytes = 8 + digestBytes;
const noteBytes = 480;

/**
 * Returns when all ranks make the same call with the same agenda. Otherwise throws RANK_MISMATCH on every rank, with the first
 * rank that differs from rank 0, and where. One exchange of 29 bytes if the ranks agree.
 *
 * @returns the notes of all ranks
 */
export async function agree(
  op: string,
  transport: Transport,
  agenda: Agenda,
  seconds: number,
  { note = 0, items = 'parameters' }: AgreeOptions = {},
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
  const difference = differenceOf(items, JSON.parse(shown), agenda);
  const texts = await gatherTexts(op, transport, `${op}\n${difference}`, seconds);
  const calls = texts.map((text) => text.split('\n', 1)[0] as string);
  const other = calls.findIndex((call) => call !== calls[0]);
  if (other > 0) {
    throw new SigmaError(
      'RANK_MISMATCH',
      op,
      `ranks: expected the same call on all of them, got ${calls[0]} on rank 0 and ${calls[other]} on rank ${other}`,
    );
  }
  const rank = texts.findIndex((text) => text.length > (calls[0] as string).length + 1);
  throw new SigmaError(
    'RANK_MISMATCH',
    op,
    `rank ${rank} differs from rank 0: ${texts[rank]?.slice((calls[0] as string).length + 1)}`,
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
function differenceOf(items: string, expected: Agenda, got: Agenda): string {
  const longer = expected.length > got.length ? expected : got;
  const at = longer.findIndex((_, i) => expected[i] !== got[i]);
  if (at < 0) return '';
  if (expected.length === got.length) return `${items}[${at}]: expected ${expected[at]}, got ${got[at]}`;
  const first = `${items}[${at}], ${expected[at] ?? 'none'} on rank 0 and ${got[at] ?? 'none'} here`;
  return `expected ${expected.length} ${items}, got ${got.length}; the first difference is ${first}`;
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
