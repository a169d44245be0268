import { isUtf8 } from 'node:buffer';
import { corrupt } from './complaints.js';
import { mostHeaderBytes } from './header.js';
import { JsonReader, Malformed } from './json.js';
import { ReadableFile } from './readable.js';

/** Reads a JSON file whole: `read` takes what it expects. CORRUPT_FILE for anything else. */
export async function readJson<T>(op: string, path: string, read: (json: JsonReader) => T): Promise<T> {
  const file = await ReadableFile.open(op, path);
  try {
    if (file.bytes > mostHeaderBytes) {
      corrupt(op, path, undefined, `at most ${mostHeaderBytes} bytes`, `${file.bytes}`);
    }
    const text = Buffer.alloc(file.bytes);
    await file.read(op, text, 0);
    return parseJson(op, path, text, read);
  } finally {
    await file.close();
  }
}

/** Reads the JSON that a file has: `read` takes what it expects. CORRUPT_FILE for anything else. */
export function parseJson<T>(op: string, path: string, text: Buffer, read: (json: JsonReader) => T): T {
  if (!isUtf8(text)) corrupt(op, path, undefined, 'JSON in UTF-8', 'other bytes');
  const json = new JsonReader(text);
  try {
    const found = read(json);
    json.end();
    return found;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return corrupt(op, path, undefined, error.expected, error.got);
  }
}
