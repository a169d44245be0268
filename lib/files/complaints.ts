// What goes wrong with files: how messages quote names and paths, and which code a failure of the system has.
import { fail } from '../runtime/check.js';
import { type ErrorCode, SigmaError } from '../runtime/errors.js';

/** The most characters of a tensor's name or a path that a message repeats. */
const longest = 300;

/** Text of a file in quotes. Characters that a terminal would obey, or not show, are escaped. */
export function quoted(text: string, most = longest): string {
  const plain = text.slice(0, most).replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, escapeOf);
  return text.length > most ? `'${plain}…'` : `'${plain}'`;
}

function escapeOf(character: string): string {
  return `\\u{${(character.codePointAt(0) as number).toString(16)}}`;
}

/** CORRUPT_FILE: which file and which tensor, what was expected, what came. */
export function corrupt(op: string, path: string, tensor: string | undefined, expected: string, got: string): never {
  const where = tensor === undefined ? quoted(path) : `${quoted(path)}, tensor ${quoted(tensor)}`;
  fail('CORRUPT_FILE', op, where, expected, got);
}

/** UNSUPPORTED: the file has a format that only a later version of this library knows. */
export function newerFormat(op: string, path: string, version: number, most: number, library: string): never {
  const got = `version ${version}, which sigmatune ${library} wrote: update this package`;
  fail('UNSUPPORTED', op, `${quoted(path)}, format_version`, `at most ${most}`, got);
}

/** What the system says of the path itself, and not of the disk's state: the caller has to give another path. */
const aboutPath = [
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'EACCES',
  'EEXIST',
  'ENOTEMPTY',
  'EPERM',
  'ELOOP',
  'ENAMETOOLONG',
  'EROFS',
  'ENXIO',
  'EBUSY',
];

/** The system's code of an error, such as 'ENOENT'; undefined if it has none. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

function codeOf(error: unknown): ErrorCode {
  const code = systemCode(error);
  if (code === 'ENOMEM') return 'OUT_OF_MEMORY';
  return aboutPath.includes(code ?? '') ? 'INVALID_ARGUMENT' : 'NATIVE';
}

/**
 * Awaits a call of the file system. Its failure becomes a SigmaError with the system's error as detail: INVALID_ARGUMENT
 * if another path is needed, NATIVE if the disk is full or broken.
 */
export async function system<T>(op: string, argument: string, expected: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SigmaError(codeOf(error), op, `${argument}: expected ${expected}, got ${reason}`, error);
  }
}
