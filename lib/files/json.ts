import { quoted } from './complaints.js';

/** What was expected at some byte of a text, and what came. */
export class Malformed extends Error {
  readonly expected: string;
  readonly got: string;

  constructor(expected: string, got: string) {
    super(`expected ${expected}, got ${got}`);
    this.expected = expected;
    this.got = got;
  }
}

/** Limits of a value whose form is not known. */
const deepest = 64;
const mostValues = 1_000_000;

const [quote, backslash, zero, nine] = [0x22, 0x5c, 0x30, 0x39];
const blanks = [0x20, 0x09, 0x0a, 0x0d];

/**
 * Reads the JSON that a caller expects, from bytes that are valid UTF-8, and throws Malformed at the first byte that differs.
 * It is strict where JSON.parse is not: a key that occurs twice is an error. Nothing is built that the caller did not ask
 * for, so a hostile text of 100 MB cannot fill the heap.
 */
export class JsonReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** An object: `value` reads the value of each key. `has` says whether a key was read before, for callers who know. */
  object(expected: string, value: (key: string) => void, has?: (key: string) => boolean): void {
    this.#take('{', expected);
    if (this.#took('}')) return;
    const keys = has === undefined ? new Set<string>() : undefined;
    do {
      const key = this.string('a key in quotes');
      if (keys?.has(key) || has?.(key)) throw new Malformed('each key once', `the key ${quoted(key)} a second time`);
      keys?.add(key);
      this.#take(':', "':' after a key");
      value(key);
    } while (this.#took(','));
    this.#take('}', "',' or '}'");
  }

  /** An array: `element` reads each element. */
  array(expected: string, element: (index: number) => void): void {
    this.#take('[', expected);
    if (this.#took(']')) return;
    let index = 0;
    do element(index++);
    while (this.#took(','));
    this.#take(']', "',' or ']'");
  }

  string(expected: string): string {
    this.#take('"', expected);
    const begin = this.#at;
    let escaped = false;
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined || byte < 0x20) throw this.#malformed('the end of a string');
      if (byte === quote) break;
      if (byte === backslash) escaped = true;
      this.#at += byte === backslash ? 2 : 1;
    }
    const text = this.#bytes.toString('utf8', begin, this.#at);
    this.#at += 1;
    return escaped ? unescaped(text) : text;
  }

  /** An integer from 0 to 2^53 - 1, in digits alone. */
  natural(expected: string): number {
    this.#skipBlanks();
    const begin = this.#at;
    let end = begin;
    while (isDigit(this.#bytes[end])) end += 1;
    const digits = this.#bytes.toString('latin1', begin, Math.min(end, begin + 20));
    const after = String.fromCharCode(this.#bytes[end] ?? 0);
    const leading = digits.length > 1 && digits.startsWith('0');
    if (digits === '' || leading || '.eE+-'.includes(after) || !Number.isSafeInteger(Number(digits))) {
      throw this.#malformed(expected);
    }
    this.#at = end;
    return Number(digits);
  }

  /** Any value, as JSON.parse gives it, of at most `mostValues` values in all. */
  value(): unknown {
    return this.#value({ left: mostValues }, 0);
  }

  #value(room: { left: number }, depth: number): unknown {
    if (depth > deepest) throw new Malformed(`at most ${deepest} levels of nesting`, 'more');
    if (room.left-- === 0) throw new Malformed(`at most ${mostValues} values`, 'more');
    const expected = 'a value';
    switch (this.#peek()) {
      case '{': {
        const entries: [string, unknown][] = [];
        this.object(expected, (key) => entries.push([key, this.#value(room, depth + 1)]));
        return Object.fromEntries(entries);
      }
      case '[': {
        const elements: unknown[] = [];
        this.array(expected, () => elements.push(this.#value(room, depth + 1)));
        return elements;
      }
      case '"':
        return this.string(expected);
      default:
        return this.#word(expected);
    }
  }

  /** true, false, null or a number. */
  #word(expected: string): unknown {
    const rest = this.#bytes.toString('latin1', this.#at, this.#at + 400);
    const word = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/.exec(rest)?.[0];
    if (word === undefined) throw this.#malformed(expected);
    this.#at += word.length;
    return JSON.parse(word);
  }

  /** Only blanks may follow. */
  end(): void {
    this.#skipBlanks();
    if (this.#at < this.#bytes.length) throw this.#malformed('the end of the text');
  }

  #skipBlanks(): void {
    while (blanks.includes(this.#bytes[this.#at] as number)) this.#at += 1;
  }

  #peek(): string {
    this.#skipBlanks();
    return String.fromCharCode(this.#bytes[this.#at] ?? 0);
  }

  #took(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }

  #take(character: string, expected: string): void {
    if (!this.#took(character)) throw this.#malformed(expected);
  }

  #malformed(expected: string): Malformed {
    if (this.#at >= this.#bytes.length) return new Malformed(expected, 'the end of the text');
    const text = this.#bytes.toString('utf8', this.#at, Math.min(this.#bytes.length, this.#at + 24));
    return new Malformed(expected, `${quoted(text)} at byte ${this.#at}`);
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= zero && byte <= nine;
}

/** A string's text with its escapes replaced. Half of a surrogate pair is no character. */
function unescaped(text: string): string {
  let value: string;
  try {
    value = JSON.parse(`"${text}"`);
  } catch {
    throw new Malformed('only escapes that JSON has', quoted(text, 40));
  }
  if (!isWellFormed(value)) throw new Malformed('whole characters', `half of a pair in ${quoted(value, 40)}`);
  return value;
}

/** Whether a string can be written as UTF-8: each surrogate has its other half. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
