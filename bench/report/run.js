// @ts-check
// The report of a kept run.
import { failuresFirst, runColumns, runRow } from '../record/exports.js';
import { byDate } from '../record/files.js';
import { aloneLines, matched } from '../record/pairs.js';
import { rerunCommand } from '../record/rerun.js';
import { isOfMachine, wrongOnes } from '../record/schema.js';
import { comparisonPlot } from './comparison.js';
import { historyPlot, isQuiet } from './history.js';
import { roofline } from './roofline.js';
import { sizePlots } from './sizes.js';

/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {import('./page.js').Section} Section */

/** @param {Run} run @returns {Section} */
const rooflineSection = (run) => ({
  title: 'What the machine allows',
  words:
    'Each kernel by the flops it does for a byte that has to move, and its rate. The line is what this machine did in the ' +
    "same run: a GEMM's rate, and copies on all threads.",
  plots: [roofline(run)],
});

/** @param {Run} run @returns {Section} */
const sizeSection = ({ cases }) => ({
  title: 'Time against size',
  words: "The median of the processes' best samples.",
  plots: sizePlots(cases),
});

/** @param {string} created */
const minute = (created) => `${created.slice(0, 16).replace('T', ' ')} UTC`;

/** @param {Run} run @param {Run | undefined} baseline @returns {Section} */
function comparisonSection(run, baseline) {
  const title = 'Compared with the baseline';
  if (!baseline) return { title, words: '', plots: [] };
  const found = matched(baseline, run);
  const words =
    `The baseline was taken ${minute(baseline.created)}. The machine may have changed since: a hint, where bench gate ` +
    'is a proof.';
  return {
    title,
    words: [words, ...aloneLines(found)].join(' '),
    plots: [comparisonPlot(found.pairs, 'the baseline')],
  };
}

/** More runs than these stand too close to be told apart. */
const mostRuns = 60;

/** @param {Run} run @param {readonly Run[]} kept @returns {Section} */
function historySection(run, kept) {
  const same = kept.filter((each) => isOfMachine(each, run));
  const all = same.some(({ created }) => created === run.created) ? same : byDate([...same, run]);
  const drawn = all.slice(-mostRuns);
  const [others, loaded] = [kept.length - same.length, drawn.filter((each) => !isQuiet(each)).length];
  const words = [
    "The geometric mean of each suite's times over what the ceilings of the same run allow, in per cent of the first run.",
    ...(loaded > 0
      ? [
          `${loaded} of the runs began at a load of half of the processors or more: hollow, and no line leads to them, ` +
            'because load slows kernels and ceilings by different factors.',
        ]
      : []),
    ...(all.length > drawn.length ? [`The latest ${drawn.length} of ${all.length} runs.`] : []),
    ...(others > 0 ? [`${others} kept runs are of other machines or settings and not shown.`] : []),
  ];
  return { title: 'History', words: words.join(' '), plots: drawn.length > 1 ? [historyPlot(drawn)] : [] };
}

/** @param {Run} run @returns {string} */
function about({ environment: e, ceilings, created }) {
  const memory = ceilings.copy[ceilings.copy.length - 1].bytesPerSecond;
  const gpu = e.gpu.available ? 'available' : (e.gpu.code ?? 'none');
  const commit = e.commit ? `, commit ${e.commit.slice(0, 10)}${e.commit.endsWith('+') ? ' with changes' : ''}` : '';
  return [
    `${minute(created)}${commit}. ${e.cpu}, ${e.processors} processors, ${e.threads} threads, ${e.simd}, ${(e.memoryBytes / 2 ** 30).toFixed(0)} GB, load ${e.load.toFixed(2)}.`,
    `${e.blas}; Node ${e.node}; GPU ${gpu}.`,
    `Measured ceilings: GEMM ${(ceilings.gemm.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s, copy from memory ${(memory / 1e9).toFixed(0)} GB/s.`,
  ].join(' ');
}

/** @param {Run} run @param {{ baseline?: Run | undefined, kept?: readonly Run[] }} [others] */
export function runPage(run, { baseline, kept = [] } = {}) {
  const wrong = wrongOnes(run.cases);
  return {
    heading: `sigmatune ${run.environment.sigmatune} benchmarks`,
    about: [about(run)],
    failures:
      wrong.length === 0
        ? undefined
        : {
            lines: wrong.map(({ name, error, bound }) => `${name}: error ${error} beyond ${bound}`),
            command: rerunCommand(
              'run',
              wrong.map(({ name }) => name),
            ),
          },
    sections: [rooflineSection(run), sizeSection(run), comparisonSection(run, baseline), historySection(run, kept)],
    table: {
      title: 'All cases',
      columns: runColumns,
      rows: failuresFirst(run).map(({ each, failed }) => ({ cells: runRow(each), failed })),
    },
  };
}
