/** Malformed files are CORRUPT_FILE, and the message says which file, which tensor and what is wrong. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, SigmaError } from 'sigmatune';
import t from 'tap';
import { rejectsSigma } from '../support/helpers.js';
import { brokenFiles, field, fileOf } from '../support/safetensors.js';

const folder = t.testdir({});
const path = join(folder, 'model.safetensors');

/** A folder for scripts/fixtures/safetensors_corpus.py, which records what the reference implementation makes of the files. */
const corpusFolder = process.env['SIGMATUNE_CORPUS'];

t.test('each rule, broken alone', async (t) => {
  for (const { label, bytes, says } of brokenFiles) {
    if (corpusFolder) writeFileSync(join(corpusFolder, label), bytes);
    writeFileSync(path, bytes);
    await rejectsSigma(
      t,
      () => openSafetensors(path),
      'CORRUPT_FILE',
      label,
      'openSafetensors',
      path,
      'expected',
      ...says,
    );
  }
});

t.test('names in messages cannot write to a terminal', async (t) => {
  writeFileSync(path, fileOf(`{"\\u001b[2Jx\\u009b\\u202e":1}`));
  await rejectsSigma(t, () => openSafetensors(path), 'CORRUPT_FILE', 'controls', '\\u{1b}[2Jx\\u{9b}\\u{202e}');
});

t.test('what is unusual, but right', async (t) => {
  const right: Record<string, Buffer> = {
    'no tensors': fileOf({}),
    'blanks between all': fileOf('{ "a" : { "dtype" : "F32" , "shape" : [ ] , "data_offsets" : [ 0 , 4 ] } } \n\t ', 4),
    'an empty name': fileOf({ '': field('F32', [], 0, 4) }, 4),
    '__proto__ as a name': fileOf(`{"__proto__":${JSON.stringify(field('F32', [], 0, 4))}}`, 4),
    'names like indices, in any order': fileOf({ b: field('F32', [], 4, 8), 1: field('F32', [], 0, 4) }, 8),
    'an empty tensor between two': fileOf(
      { a: field('F32', [1], 0, 4), b: field('F32', [3, 0], 4, 4), c: field('F32', [1], 4, 8) },
      8,
    ),
    'half bytes that make whole ones': fileOf({ a: field('F4', [2], 0, 1) }, 1),
    escapes: fileOf(`{"\\u00e9\\ud83d\\ude00\\n":${JSON.stringify(field('F32', [], 0, 4))}}`, 4),
  };
  for (const [label, bytes] of Object.entries(right)) {
    if (corpusFolder) writeFileSync(join(corpusFolder, label), bytes);
    writeFileSync(path, bytes);
    await using file = await openSafetensors(path);
    t.same(
      file.names.toSorted(),
      Object.keys(JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE())))).sort(),
      label,
    );
  }
});

interface Recorded {
  readonly safetensors: string;
  readonly files: Record<string, { readonly base64: string; readonly refused: string | null }>;
}

/** What we refuse and the reference implementation (which reads what serde_json reads) does not. */
const stricter = [
  'a blank before the header',
  'a field that is not known',
  'a key of metadata twice',
  'a tensor twice',
  'a tensor twice, once in escapes',
  'metadata that is null',
  '65 dimensions',
];

t.test('the corpus: as strict as the reference implementation, and stricter where that is meant', async (t) => {
  const corpus: Recorded = JSON.parse(
    readFileSync(new URL('../fixtures/safetensors-corpus.json', import.meta.url), 'utf8'),
  );
  t.ok(Object.keys(corpus.files).length > 80, 'there are files');
  for (const [label, { base64, refused }] of Object.entries(corpus.files)) {
    writeFileSync(path, Buffer.from(base64, 'base64'));
    const error = await openSafetensors(path).then(
      (file) => file.close(),
      (error) => error,
    );
    if (stricter.includes(label)) {
      t.match(error, { code: 'CORRUPT_FILE' }, `${label}: refused`);
      t.equal(refused, null, `${label}: the reference implementation takes it`);
    } else {
      t.equal(
        error instanceof SigmaError && error.code === 'CORRUPT_FILE',
        refused !== null,
        `${label} (reference: ${refused})`,
      );
    }
  }
});
