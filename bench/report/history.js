// @ts-check
import { axes, linearScale, spread } from './axes.js';
import { html } from './markup.js';
import { element, kinds, label, line, mark, path } from './svg.js';

/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {{ run: number, value: number }} Point */

const frame = { left: 74, top: 12, right: 640, bottom: 300 };

/** Other programs had less than half of the processors when a quiet run began. @param {Run} run */
export const isQuiet = ({ environment: { load, processors } }) => load < processors / 2;

/**
 * Each suite's time over what the ceilings of the same run allow, as a share of the first quiet run's. Other load slows
 * the kernels and the ceilings by different factors: loaded runs are hollow, and no line leads to them.
 * @param {readonly Run[]} runs of one machine, the oldest first @returns {import('./svg.js').Plot}
 */
export function historyPlot(runs) {
  const suites = [...new Set(runs.flatMap(({ cases }) => cases.map(({ suite }) => suite)))].slice(0, kinds);
  const drawn = suites
    .map((suite) => ({ suite, points: relativeTimes(runs, suite) }))
    .filter(({ points }) => points.length > 0);
  const values = drawn.flatMap(({ points }) => points.map(({ value }) => 100 * value));
  const y = linearScale([...values, 95, 105], frame.bottom, frame.top, (value) => `${value} %`);
  const to = (/** @type {number} */ run) =>
    frame.left + 20 + ((frame.right - frame.left - 40) * run) / Math.max(1, runs.length - 1);
  const every = Math.ceil(runs.length / 6);
  const ticks = runs.flatMap((run, i) => (i % every === 0 ? [{ at: to(i), text: nameOf(run) }] : []));
  const at = (/** @type {Point} */ { run, value }) => /** @type {const} */ ([to(run), y.to(100 * value)]);
  const ends = drawn.map(({ points }) => at(points[points.length - 1]));
  const names = spread(
    ends.map(([, end]) => end),
    17,
    frame.top,
    frame.bottom,
  );
  const body = drawn.flatMap(({ suite, points }, i) => {
    const quiet = points.filter(({ run }) => isQuiet(runs[run]));
    return [
      ...(quiet.length > 1 ? [path(quiet.map(at), `curve k${i}`)] : []),
      ...points.map((point) => markOf(...at(point), i, runs[point.run], `${suite}, ${told(runs, point)}`)),
      line(ends[i][0] + 6, ends[i][1], frame.right + 22, names[i], 'grid'),
      mark(frame.right + 30, names[i], i),
      label(frame.right + 40, names[i] + 4, suite),
    ];
  });
  return {
    name: 'history',
    title: 'History of the kept runs',
    described: drawn
      .map(({ suite, points }) => `${suite} ended at ${(100 * points[points.length - 1].value).toFixed(0)} %`)
      .join('; '),
    width: 800,
    height: 352,
    body: html`${[axes(frame, { to, ticks }, y, 'run', 'over the ceiling, of the first run'), ...body]}`,
  };
}

/** @param {readonly Run[]} runs @param {Point} point */
const told = (runs, { run, value }) =>
  `${runs[run].created}: ${(100 * value).toFixed(1)} %, load ${runs[run].environment.load.toFixed(2)}`;

/** @param {number} x @param {number} y @param {number} kind @param {Run} run @param {string} title */
const markOf = (x, y, kind, run, title) =>
  isQuiet(run)
    ? mark(x, y, kind, title)
    : element('circle', { cx: x, cy: y, r: 4, class: `hollow k${kind}` }, element('title', {}, title));

/** A run by its commit and day. @param {Run} run */
const nameOf = ({ environment, created }) =>
  environment.commit ? `${environment.commit.slice(0, 7)}, ${created.slice(5, 10)}` : created.slice(0, 10);

/** @param {readonly Run[]} runs @param {string} suite @returns {Point[]} */
function relativeTimes(runs, suite) {
  const own = runs.map(({ cases }) => cases.filter((each) => each.suite === suite));
  const quiet = runs.map(isQuiet);
  // If no run was quiet, the first loaded one has to do.
  const leading = quiet.some((is, run) => is && own[run].length > 0) ? quiet : runs.map(() => true);
  /** @type {Map<string, number>} as logarithms: a case in the first run that had it, less what its suite had come to */
  const start = new Map();
  let level = 0;
  const points = new Map();
  for (const first of [true, false]) {
    for (const [run, cases] of own.entries()) {
      if (leading[run] !== first || cases.length === 0) continue;
      const logs = cases.flatMap((each) => {
        const known = start.get(each.name);
        return known === undefined ? [] : [overCeiling(each) - known];
      });
      if (!first && logs.length === 0) continue;
      const mean = logs.length === 0 ? level : logs.reduce((sum, each) => sum + each, 0) / logs.length;
      points.set(run, Math.exp(Math.min(Math.max(mean, -200), 200)));
      if (!first) continue;
      level = mean;
      for (const each of cases) if (!start.has(each.name)) start.set(each.name, overCeiling(each) - level);
    }
  }
  return [...points].map(([run, value]) => ({ run, value })).sort((a, b) => a.run - b.run);
}

/** @param {import('../record/schema.js').CaseRecord} record */
const overCeiling = ({ minima, least }) => Math.log(minima.p50) - Math.log(least);
