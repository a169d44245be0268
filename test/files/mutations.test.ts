/** Readers of JSON on changed documents, at random and from a kept corpus: each is read, or refused in time. */
import { readFileSync, writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import { jsonReaders, outcomeOf } from '../support/json-readers.js';
import { mutations } from '../support/mutations.js';

/** SIGMATUNE_FUZZ=100000 looks longer. */
const numRuns = Number(process.env['SIGMATUNE_FUZZ'] || 150);

/** The binary file that the documents belong to, in base64, and documents with their outcomes. */
interface Corpus {
  readonly companion: string;
  readonly documents: readonly (readonly [outcome: string, text: string])[];
}

const corpusPath = new URL('../fixtures/json-corpus.json', import.meta.url);
/** SIGMATUNE_CORPUS=new makes the corpus again: the shortest document of each sort of message. */
const makesCorpus = process.env['SIGMATUNE_CORPUS'] === 'new';
const found: Record<string, Corpus> = {};

/** What a message says of what was expected, without what is quoted or counted. */
const sortOf = (message: string) => message.replace(/, got .*/s, '').replace(/'[^']*'|\d[\d.e+-]*|\[.*/g, '');
/** Documents of each kind in a new corpus. */
const most = 30;

for (const [kind, make] of Object.entries(jsonReaders)) {
  t.test(`${kind}: at random`, { timeout: 3_600_000 }, async (t) => {
    const reader = await make(t.testdir({}));
    t.equal((await outcomeOf(reader, JSON.stringify(reader.document))).code, 'read', 'as it was');
    const seen: Record<string, number> = {};
    const sorts = new Map<string, readonly [string, string]>();
    const property = fc.asyncProperty(mutations(reader.document), async (text) => {
      const { code, message } = await outcomeOf(reader, text);
      seen[code] = (seen[code] ?? 0) + 1;
      const shortest = sorts.get(sortOf(message))?.[1];
      if (code !== 'read' && text.length < (shortest?.length ?? Infinity)) sorts.set(sortOf(message), [code, text]);
    });
    await t.resolves(fc.assert(property, { numRuns }), 'each is read or refused');
    t.ok((seen['CORRUPT_FILE'] ?? 0) > numRuns / 10, JSON.stringify(seen));
    found[kind] = { companion: reader.companion.toString('base64'), documents: [...sorts.values()].slice(0, most) };
  });
}

t.test('a new corpus', { skip: !makesCorpus && 'SIGMATUNE_CORPUS=new makes one' }, async () => {
  writeFileSync(corpusPath, `${JSON.stringify(found)}\n`);
});

t.test('the kept corpus', async (t) => {
  const corpus: Record<string, Corpus> = JSON.parse(readFileSync(corpusPath, 'utf8'));
  t.same(Object.keys(corpus), Object.keys(jsonReaders));
  for (const [kind, make] of Object.entries(jsonReaders)) {
    const { companion, documents } = corpus[kind] as Corpus;
    t.ok(documents.length >= 5, `${kind}: ${documents.length} documents`);
    const reader = await make(t.testdir({}), Buffer.from(companion, 'base64'));
    for (const [outcome, text] of documents) {
      const { code, message } = await outcomeOf(reader, text);
      t.equal(code, outcome, `${kind}: ${message}`);
    }
  }
});
