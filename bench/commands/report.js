// @ts-check
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadRun, loadRuns, writeWhole } from '../record/files.js';
import { checkSameMachine } from '../record/schema.js';
import { comparisonPlot } from '../report/comparison.js';
import { historyPlot } from '../report/history.js';
import { renderPage } from '../report/page.js';
import { painter } from '../report/png.js';
import { roofline } from '../report/roofline.js';
import { sizePlots } from '../report/sizes.js';
import { standalone } from '../report/svg.js';
import { UsageError } from '../usage.js';
import { pairs } from './compare.js';
import { checkCount, readArguments } from './options.js';

/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {import('../report/page.js').Section} Section */

export const help = `sigmatune bench report RUN.json [options]
  one HTML page with plots, which needs no network
  --baseline FILE    sets the run beside another one of the same machine
  --history FOLDER   draws the runs that are kept in a folder (bench/results, where there is one)
  --out FILE         the page (bench-report.html)
  --plots FOLDER     writes each plot as SVG, and as PNG where the package @resvg/resvg-js is installed`;

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
  const run = loadRun(positionals[0]);
  const baseline = values.baseline === undefined ? undefined : loadRun(values.baseline);
  const sections = [
    rooflineSection(run),
    sizeSection(run),
    comparisonSection(run, baseline),
    historySection(run, keptRuns(values.history)),
  ];
  // All of it is made before the first file is written.
  const page = renderPage(run, sections);
  const files = values.plots === undefined ? [] : await plotFiles(values.plots, sections);
  writeWhole(values.out, page);
  for (const [file, content] of files) writeWhole(file, content);
  console.log([values.out, ...files.map(([file]) => file)].join('\n'));
  return 0;
}

/** @param {Run} run @returns {Section} */
const rooflineSection = (run) => ({
  title: 'What the machine allows',
  words:
    'Each kernel by the flops it does for a byte that has to move, and its rate. The line is what this machine did in the ' +
    "same run: a GEMM's rate, and copies on all threads.",
  plots: [roofline(run)],
});

/** @param {Run} run @returns {Section} */
function sizeSection({ cases }) {
  const plots = sizePlots(cases);
  const words =
    plots.length > 0 ? "The median of the processes' best samples." : 'No series of this run has more than one size.';
  return { title: 'Time against size', words, plots };
}

/** @param {Run} run @param {Run | undefined} baseline @returns {Section} */
function comparisonSection(run, baseline) {
  const title = 'Beside the baseline';
  if (!baseline) return { title, words: 'No baseline was given (--baseline).', plots: [] };
  const words =
    `The baseline was taken ${baseline.created.slice(0, 16).replace('T', ' ')} UTC. The machine may have changed since: ` +
    'a hint, where bench gate is a proof.';
  return { title, words, plots: [comparisonPlot(pairs(baseline, run))] };
}

/** @param {string | undefined} folder */
function keptRuns(folder) {
  if (folder === undefined) return existsSync(usualHistory) ? loadRuns(usualHistory) : [];
  if (!existsSync(folder)) throw new UsageError(`--history: no folder ${folder}`);
  return loadRuns(folder);
}

/** @param {Run} run @param {readonly Run[]} kept @returns {Section} */
function historySection(run, kept) {
  const title = 'History';
  const same = kept.filter((each) => isOfMachine(each, run));
  const others = kept.length - same.length;
  const told = others > 0 ? ` ${others} kept runs are of other machines or settings and not shown.` : '';
  const all = same.some(({ created }) => created === run.created) ? same : [...same, run];
  if (all.length < 2) return { title, words: `No other run of this machine is kept.${told}`, plots: [] };
  const words = `Each suite's time over the first kept run, as the geometric mean of its cases.${told}`;
  return { title, words, plots: [historyPlot(all)] };
}

/** @param {Run} one @param {Run} other */
function isOfMachine(one, other) {
  try {
    checkSameMachine(one, other);
    return true;
  } catch (error) {
    if (error instanceof UsageError) return false;
    throw error;
  }
}

/** @param {string} folder @param {readonly Section[]} sections @returns {Promise<[string, string | Uint8Array][]>} */
async function plotFiles(folder, sections) {
  const paint = await painter();
  if (!paint) console.error('no PNG: install @resvg/resvg-js for it');
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
