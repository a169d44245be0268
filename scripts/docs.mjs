#!/usr/bin/env node
// Writes the generated parts of docs/: the API reference, parameter counts, figures, and the examples in the pages.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { apiPage } from './docs/api.mjs';
import { countsPage } from './docs/counts.mjs';
import { withExamples } from './docs/examples.mjs';
import { sivaSpectrum, svftPatterns, vectorFitFreezing } from './docs/figures.mjs';
import { root } from './setup/run.mjs';

const page = (name) => async () => withExamples(await readFile(join(root, 'docs', name), 'utf8'));

const parts = {
  'svft.md': page('svft.md'),
  'siva.md': page('siva.md'),
  'vectorfit.md': page('vectorfit.md'),
  'api.md': apiPage,
  'parameter-counts.md': countsPage,
  'svft-patterns.svg': svftPatterns,
  'siva-spectrum.svg': sivaSpectrum,
  'vectorfit-freezing.svg': vectorFitFreezing,
};

for (const [name, make] of Object.entries(parts)) {
  await writeFile(join(root, 'docs', name), await make());
  console.log(`docs/${name}`);
}
