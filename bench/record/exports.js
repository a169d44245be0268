// @ts-check
// A run in the forms that others read.
import { wrongOnes } from './schema.js';
import { markdownTable, percent, time } from './table.js';
import { escapeMarkdown } from './text.js';

/** @typedef {import('./schema.js').Run} Run */
/** @typedef {import('./schema.js').CaseRecord} CaseRecord */

/** github-action-benchmark's customSmallerIsBetter. @param {Run} run */
export const githubActionBenchmark = ({ cases }) =>
  cases.map(({ name, minima, processes, error, share }) => ({
    name,
    unit: 'ms',
    value: minima.p50,
    range: `${minima.p10.toPrecision(4)} to ${minima.p90.toPrecision(4)}`,
    extra: `${processes.length} processes, error ${error.toExponential(1)}, ${percent(share)} of the ceiling`,
  }));

/** Bencher's metric format; its latency is in nanoseconds. @param {Run} run */
export function bencher({ cases }) {
  const metric = (/** @type {CaseRecord} */ { minima, error }) => ({
    latency: { value: 1e6 * minima.p50, lower_value: 1e6 * minima.p10, upper_value: 1e6 * minima.p90 },
    // JSON has no infinity; a result that cannot be compared is as far off as a number can be.
    error: { value: Number.isFinite(error) ? error : Number.MAX_VALUE },
  });
  return Object.fromEntries(cases.map((each) => [each.name, metric(each)]));
}

export const runColumns = ['case', 'time', '10 to 90 % of processes', 'GFLOP/s', 'of ceiling', 'error', 'bound'];

/** @param {CaseRecord} record */
export function runRow({ name, minima, flops, share, error, bound }) {
  const rate = flops / minima.p50 / 1e6;
  return [
    name,
    time(minima.p50),
    `${time(minima.p10)} to ${time(minima.p90)}`,
    rate.toPrecision(3),
    percent(share),
    error.toExponential(1),
    error <= bound ? bound.toExponential(0) : `${bound.toExponential(0)} EXCEEDED`,
  ];
}

/** The cases of a run, wrong ones first. @param {Run} run */
export function failuresFirst({ cases }) {
  const wrong = wrongOnes(cases);
  const of = new Set(wrong);
  return [...wrong, ...cases.filter((each) => !of.has(each))].map((each) => ({ each, failed: of.has(each) }));
}

/** The table of a run. @param {Run} run */
export const runTable = (run) =>
  markdownTable(
    runColumns,
    failuresFirst(run).map(({ each }) => runRow(each)),
  );

/** For a job's summary. @param {Run} run */
export function markdown(run) {
  const { environment, ceilings, created } = run;
  const { cpu, threads, simd, blas, node, sigmatune, commit, load, gpu } = environment;
  const memory = ceilings.copy[ceilings.copy.length - 1].bytesPerSecond;
  const at = commit ? ` at ${commit.slice(0, 10)}${commit.endsWith('+') ? ' with changes' : ''}` : '';
  const device = gpu.available ? 'available' : (gpu.code ?? 'none');
  const machine = `${cpu}, ${threads} threads, ${simd}, ${blas}, Node ${node}, GPU ${device}`;
  return `### sigmatune ${escapeMarkdown(`${sigmatune}${at}`)}

${escapeMarkdown(machine)}, load ${load.toFixed(2)}, ${created}.
Ceilings: GEMM ${(ceilings.gemm.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s, copy from memory ${(memory / 1e9).toFixed(0)} GB/s.

${runTable(run)}
`;
}

/** @type {Readonly<Record<string, (run: Run) => string>>} */
export const formats = {
  github: (run) => `${JSON.stringify(githubActionBenchmark(run), null, 2)}\n`,
  bencher: (run) => `${JSON.stringify(bencher(run), null, 2)}\n`,
  markdown,
};
