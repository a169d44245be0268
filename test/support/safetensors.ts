/** Safetensors files made by hand, right or wrong. */

/** The bytes of a file. A header that is no text is written as JSON; `length` is what the file says of the header's. */
export function fileOf(header: unknown, data: number | Uint8Array = 0, length?: bigint): Buffer {
  const text = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, typeof data === 'number' ? Buffer.alloc(data) : data]);
}

/** What a header says of one tensor. */
export const field = (dtype: string, shape: readonly number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

/** The bytes of a file with these tensors, one after the other. */
export function fileWith(
  tensors: readonly (readonly [name: string, dtype: string, shape: readonly number[], numbers: ArrayBufferView])[],
): Buffer {
  let begin = 0;
  const fields = tensors.map(([name, dtype, shape, { byteLength }]) => {
    begin += byteLength;
    return [name, field(dtype, shape, begin - byteLength, begin)];
  });
  const parts = tensors.map(([, , , { buffer, byteOffset, byteLength }]) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  return fileOf(Object.fromEntries(fields), Buffer.concat(parts));
}

export interface Broken {
  readonly label: string;
  readonly bytes: Buffer;
  /** Parts of the message. */
  readonly says: readonly (string | RegExp)[];
}

const good = field('F32', [2], 0, 8);
const broken = (label: string, bytes: Buffer, ...says: (string | RegExp)[]): Broken => ({ label, bytes, says });
const oneField = (text: string, data = 8) => fileOf(`{"a":${text}}`, data);

/** Files that break one rule each. */
export const brokenFiles: readonly Broken[] = [
  // ── the length ──
  broken('an empty file', Buffer.alloc(0), 'at least 8 bytes', 'got 0'),
  broken('seven bytes', Buffer.alloc(7), 'at least 8 bytes', 'got 7'),
  broken('no header', Buffer.alloc(8), "begins with '{'"),
  broken('a header longer than the file', fileOf({ a: good }, 8, 1000n), 'at most 62 bytes', '1000'),
  broken('a header longer than the limit', fileOf({ a: good }, 8, 100_000_001n), '100000001'),
  broken('a length of 2^53 + 1', fileOf({}, 0, 2n ** 53n + 1n), '9007199254740993'),
  broken('a length of 2^63', fileOf({}, 0, 2n ** 63n), '9223372036854775808'),
  broken('a length of 2^64 - 1', fileOf({}, 0, 2n ** 64n - 1n), '18446744073709551615'),
  broken('a length that ends within the JSON', fileOf({ a: good }, 8, 20n), 'got the end of the text'),
  // ── the text ──
  broken('no UTF-8', fileOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), 'UTF-8'),
  broken('a surrogate in UTF-8', fileOf(Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x7d])), 'UTF-8'),
  broken('a byte order mark', fileOf(`\ufeff${JSON.stringify({ a: good })}`, 8), "begins with '{'"),
  broken('a blank before the header', fileOf(` ${JSON.stringify({ a: good })}`, 8), "begins with '{'"),
  broken('an array', fileOf('[]'), "begins with '{'"),
  broken('blanks alone', fileOf('        '), "begins with '{'"),
  broken('an object without an end', fileOf('{'), 'a key in quotes'),
  broken('a comma too many', fileOf(`{"a":${JSON.stringify(good)},}`, 8), 'a key in quotes'),
  broken('two objects', fileOf('{}{}'), 'the end of the text', "'{}' at byte 2"),
  broken('NUL after the header', fileOf('{}\0'), 'the end of the text'),
  broken('a comment', fileOf('{/* */}'), 'a key in quotes'),
  broken('single quotes', fileOf("{'a':1}"), 'a key in quotes'),
  broken('a key without a value', fileOf('{"a"}'), "':'"),
  broken('an escape that JSON lacks', fileOf(`{"\\x":${JSON.stringify(good)}}`, 8), 'escapes'),
  broken('half of a surrogate pair', fileOf(`{"\\ud800":${JSON.stringify(good)}}`, 8), 'whole characters'),
  broken('a line break in a string', fileOf(`{"a\n":${JSON.stringify(good)}}`, 8), 'the end of a string'),
  broken('a string without an end', fileOf('{"a'), 'the end of a string', 'got the end of the text'),
  broken('a backslash at the end', fileOf('{"a\\'), 'the end of a string'),
  broken('arrays in arrays', fileOf(`{"a":${'['.repeat(500)}`), "tensor 'a'", 'an object'),
  broken(
    'a tensor twice',
    fileOf(`{"a":${JSON.stringify(good)},"a":${JSON.stringify(good)}}`, 8),
    'each key once',
    "'a'",
  ),
  broken(
    'a tensor twice, once in escapes',
    fileOf(`{"a":${JSON.stringify(good)},"\\u0061":${JSON.stringify(good)}}`, 8),
    'each key once',
  ),
  // ── metadata ──
  broken('metadata that is null', fileOf({ __metadata__: null }), '__metadata__', 'null'),
  broken('metadata that is an array', fileOf({ __metadata__: [] }), '__metadata__'),
  broken('metadata of numbers', fileOf({ __metadata__: { a: 1 } }), 'a string in __metadata__', '1'),
  broken('metadata of objects', fileOf({ __metadata__: { a: {} } }), 'a string in __metadata__'),
  broken('a key of metadata twice', fileOf('{"__metadata__":{"x":"1","x":"2"}}'), 'each key once', "'x'"),
  broken('metadata twice', fileOf('{"__metadata__":{},"__metadata__":{}}'), 'each key once'),
  // ── the fields of a tensor ──
  broken('a tensor that is null', fileOf({ a: null }), "tensor 'a'", 'an object', 'null'),
  broken('a tensor that is a number', fileOf({ a: 1 }), "tensor 'a'"),
  broken(
    'no dtype',
    fileOf({ a: { shape: [2], data_offsets: [0, 8] } }, 8),
    "tensor 'a'",
    'dtype',
    'got shape and data_offsets',
  ),
  broken('no shape', fileOf({ a: { dtype: 'F32', data_offsets: [0, 8] } }, 8), "tensor 'a'", 'shape'),
  broken('no offsets', fileOf({ a: { dtype: 'F32', shape: [2] } }, 8), "tensor 'a'", 'data_offsets'),
  broken('no fields', fileOf({ a: {} }), "tensor 'a'", 'none of them'),
  broken('a field that is not known', fileOf({ a: { ...good, stride: [1] } }, 8), "tensor 'a'", "'stride'"),
  broken(
    'a field twice',
    oneField('{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}'),
    "'dtype'",
    'each key once',
  ),
  broken('an unknown dtype', fileOf({ a: field('Q4', [2], 0, 8) }, 8), "tensor 'a'", 'BF16', "got 'Q4'"),
  broken('a dtype in small letters', fileOf({ a: field('f32', [2], 0, 8) }, 8), "got 'f32'"),
  broken('a dtype that every object has', fileOf({ a: field('toString', [2], 0, 8) }, 8), "got 'toString'"),
  broken('a dtype that is a number', oneField('{"dtype":32,"shape":[2],"data_offsets":[0,8]}'), 'a dtype in quotes'),
  broken(
    'a shape that is a number',
    oneField('{"dtype":"F32","shape":2,"data_offsets":[0,8]}'),
    'shape to be an array',
  ),
  ...['2.0', '2e0', '-2', '-0', '"2"', 'null', '02', 'NaN', '[2]', 'true'].map((text) =>
    broken(
      `a dimension of ${text}`,
      oneField(`{"dtype":"F32","shape":[${text}],"data_offsets":[0,8]}`),
      "tensor 'a'",
      'an integer from 0',
      'in shape',
    ),
  ),
  broken(
    'a dimension of 2^53',
    fileOf(`{"a":{"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,8]}}`, 8),
    '2^53 - 1',
  ),
  broken(
    'a dimension of a hundred digits',
    oneField(`{"dtype":"F32","shape":[${'9'.repeat(100)}],"data_offsets":[0,8]}`),
    '2^53 - 1',
  ),
  broken('65 dimensions', fileOf({ a: field('F32', Array(65).fill(1), 0, 4) }, 4), 'at most 64'),
  broken('one offset', fileOf({ a: { ...good, data_offsets: [0] } }, 8), 'two integers', 'got 1'),
  broken('three offsets', fileOf({ a: { ...good, data_offsets: [0, 8, 8] } }, 8), 'at most 2'),
  broken('a fraction as offset', oneField('{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}'), 'in data_offsets'),
  broken('a negative offset', fileOf({ a: field('F32', [2], -8, 0) }, 8), 'in data_offsets', '-8'),
  // ── sizes ──
  broken('offsets in the wrong order', fileOf({ a: field('F32', [2], 8, 0) }, 8), 'ascending', '[8, 0]'),
  broken(
    'fewer bytes than the shape takes',
    fileOf({ a: field('F32', [3], 0, 8) }, 8),
    '12 bytes',
    'F32 of shape [3]',
    'got 8',
  ),
  broken('more bytes than the shape takes', fileOf({ a: field('F32', [1], 0, 8) }, 8), '4 bytes', 'got 8'),
  broken('bytes of another dtype', fileOf({ a: field('F64', [2], 0, 8) }, 8), '16 bytes', 'F64'),
  broken('a scalar of no bytes', fileOf({ a: field('F32', [], 0, 0) }), '4 bytes'),
  broken('a product of 2^64', fileOf({ a: field('U8', [2 ** 32, 2 ** 32], 0, 0) }), 'fewer than 2^53 bits'),
  broken(
    'a product that wraps around to 8',
    fileOf({ a: field('F32', [2 ** 32 + 1, 2 ** 32, 2], 0, 8) }, 8),
    'fewer than 2^53 bits',
  ),
  broken('a product of 2^53 bits', fileOf({ a: field('F64', [2 ** 47], 0, 0) }), 'fewer than 2^53 bits'),
  broken('half a byte', fileOf({ a: field('F4', [3], 0, 2) }, 2), 'whole bytes', '12 bits'),
  // ── where the data is ──
  broken(
    'data beyond the file',
    fileOf({ a: field('F32', [4], 0, 16) }, 8),
    "tensor 'a'",
    '16 bytes',
    'got 8',
    'cut off',
  ),
  broken('2^50 bytes of data in a small file', fileOf({ a: field('U8', [2 ** 49], 0, 2 ** 49) }, 8), 'cut off'),
  broken(
    'a gap before the first',
    fileOf({ a: field('F32', [2], 4, 12) }, 12),
    'byte 0',
    '4 bytes belong to no tensor',
  ),
  broken(
    'a gap between two',
    fileOf({ a: good, b: field('F32', [2], 12, 20) }, 20),
    "tensor 'b'",
    "'a' ends",
    'no tensor',
  ),
  broken('two that overlap', fileOf({ a: good, b: field('F32', [2], 4, 12) }, 12), "tensor 'b'", 'overlap'),
  broken('two on the same bytes', fileOf({ a: good, b: good }, 8), 'overlap'),
  broken(
    'a gap before an empty one',
    fileOf({ a: good, b: field('F32', [0], 9, 9) }, 8),
    "tensor 'b'",
    '1 bytes belong',
  ),
  broken('bytes after the last', fileOf({ a: good }, 9), '8 bytes of data', 'got 9', 'follow the last tensor'),
  broken('data of no tensor', fileOf({}, 1), '0 bytes of data', 'got 1'),
];
