#!/usr/bin/env node
// Writes the generated parts of docs/: the API reference, parameter counts, figures, the study, and the examples in the
// pages. Names of files, such as study.md, restrict it to them.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { apiPage } from './docs/api.mjs';
import { withOutputs } from './docs/console.mjs';
import { countsPage } from './docs/counts.mjs';
import { withExamples } from './docs/examples.mjs';
import { sivaSpectrum, svftPatterns, vectorFitFreezing } from './docs/figures.mjs';
import { studyPage } from './docs/study.mjs';
import { studyAccuracy, studyRank } from './docs/study-figures.mjs';
import { root } from './setup/run.mjs';

const docs = join(root, 'docs');
const texts = await Promise.all(
  (await readdir(docs))
    .filter((name) => name.endsWith('.md'))
    .map(async (name) => [name, await readFile(join(docs, name), 'utf8')]),
);
const withExample = texts.filter(([, text]) => text.includes('<!-- examples/'));
const withConsole = texts.filter(([, text]) => text.includes('```console\n'));

const parts = {
  ...Object.fromEntries(withExample.map(([name, text]) => [name, () => withExamples(text)])),
  ...Object.fromEntries(withConsole.map(([name, text]) => [name, () => withOutputs(text)])),
  'api.md': apiPage,
  'parameter-counts.md': countsPage,
  'svft-patterns.svg': svftPatterns,
  'siva-spectrum.svg': sivaSpectrum,
  'study.md': studyPage,
  'study-accuracy.svg': studyAccuracy,
  'study-rank.svg': studyRank,
  'vectorfit-freezing.svg': vectorFitFreezing,
};

const only = process.argv.slice(2);
for (const [name, make] of Object.entries(parts)) {
  if (only.length > 0 && !only.includes(name)) continue;
  await writeFile(join(docs, name), await make());
  console.log(`docs/${name}`);
}
