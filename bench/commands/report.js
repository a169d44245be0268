// @ts-check
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkOutput, loadKept, loadRun, loadRuns, writeAll } from '../record/files.js';
import { gatePage } from '../report/gate.js';
import { renderPage } from '../report/page.js';
import { painter } from '../report/png.js';
import { runPage } from '../report/run.js';
import { standalone } from '../report/svg.js';
import { UsageError } from '../usage.js';
import { checkCount, readArguments } from './options.js';
import { print, warn } from './output.js';

/** @typedef {import('../report/page.js').Section} Section */

export const help = `sigmatune bench report RUN.json|GATE.json [options]
  one HTML page with plots, which needs no network: of a kept run, or of a gate's record
  --baseline FILE    compares the run with another one of the same machine
  --history FOLDER   draws the runs that are kept in a folder (bench/results, if there is one)
  --out FILE         the page (bench-report.html)
  --plots FOLDER     writes each plot as SVG, and as PNG if the package @resvg/resvg-js is installed
  Ends with 0; 3 usage.`;

const usualHistory = join('bench', 'results');

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, {
    baseline: { type: 'string' },
    history: { type: 'string' },
    out: { type: 'string', default: 'bench-report.html' },
    plots: { type: 'string' },
  });
  checkCount('report', positionals, 1, 'one file');
  checkOutput(values.out);
  const page = pageOf(positionals[0], values);
  // All of it is made before the first file is written.
  const plots = values.plots === undefined ? [] : await plotFiles(values.plots, page.sections);
  /** @type {[string, string | Uint8Array][]} */
  const files = [[values.out, renderPage(page)], ...plots];
  writeAll(files);
  print(files.map(([file]) => file).join('\n'));
  return 0;
}

/** @param {string} file @param {{ baseline: string | undefined, history: string | undefined }} others */
function pageOf(file, { baseline, history }) {
  const kept = loadKept(file);
  if ('gate' in kept) {
    if (baseline === undefined && history === undefined) return gatePage(kept.gate);
    throw new UsageError(`${file}: is a gate's record, which has its base in it: leave --baseline and --history out`);
  }
  return runPage(kept.run, {
    baseline: baseline === undefined ? undefined : loadRun(baseline),
    kept: history !== undefined || existsSync(usualHistory) ? loadRuns(history ?? usualHistory) : [],
  });
}

/** @param {string} folder @param {readonly Section[]} sections @returns {Promise<[string, string | Uint8Array][]>} */
async function plotFiles(folder, sections) {
  const paint = await painter();
  if (!paint) warn('no PNG: install @resvg/resvg-js for it');
  return sections
    .flatMap(({ plots }) => plots)
    .flatMap((plot) => {
      const svg = standalone(plot);
      /** @type {[string, string | Uint8Array][]} */
      const files = [[join(folder, `${plot.name}.svg`), svg]];
      if (paint) files.push([join(folder, `${plot.name}.png`), paint(svg)]);
      return files;
    });
}
