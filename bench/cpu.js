#!/usr/bin/env node
// @ts-check
// The figures of docs/performance.md: node bench/cpu.js [words], each word part of a section's name. Prints Markdown.
import os from 'node:os';
import { systemInfo, threads } from 'sigmatune';
import * as adapters from './cpu/adapters.js';
import * as memory from './cpu/memory.js';
import * as sparse from './cpu/sparse.js';
import * as svd from './cpu/svd.js';
import * as workers from './cpu/workers.js';
import * as javascript from './rivals/javascript.js';
import * as torch from './rivals/torch.js';

const sections = { adapters, sparse, svd, workers, memory, torch, javascript };
const words = process.argv.slice(2);
const chosen = Object.entries(sections).filter(
  ([name]) => words.length === 0 || words.some((word) => name.includes(word)),
);
if (chosen.length === 0) {
  console.error(`none of ${Object.keys(sections).join(', ')} has ${words.join(' or ')} in its name`);
  process.exit(3);
}

const { simd, blas } = /** @type {Record<string, string>} */ (systemInfo());
const load = os.loadavg()[0].toFixed(2);
console.log(
  `${os.cpus()[0].model.trim()}, ${threads()} threads, ${simd}, ${blas}, Node ${process.version}, load ${load}`,
);
for (const [, { title, columns, run }] of chosen) {
  console.log(`\n## ${title}\n`);
  const row = (/** @type {readonly unknown[]} */ cells) => console.log(`| ${cells.join(' | ')} |`);
  row(columns);
  row(columns.map(() => '---'));
  for await (const cells of run()) row(cells);
}
