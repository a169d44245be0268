// @ts-check
import { axes, linearScale, spread } from './axes.js';
import { label, line, mark, path } from './svg.js';

/** @typedef {import('../record/schema.js').Run} Run */

const frame = { left: 74, top: 12, right: 640, bottom: 300 };

/**
 * Each suite's time over the kept runs: the geometric mean of its cases over the first run that had them.
 * @param {readonly Run[]} runs of one machine, the oldest first @returns {import('./svg.js').Plot}
 */
export function historyPlot(runs) {
  const suites = [...new Set(runs.flatMap(({ cases }) => cases.map(({ suite }) => suite)))];
  const series = suites.map((suite) => ({ suite, points: relativeTimes(runs, suite) }));
  const values = series.flatMap(({ points }) => points.map(({ value }) => 100 * value));
  const y = linearScale([...values, 95, 105], frame.bottom, frame.top, (value) => `${value} %`);
  const to = (/** @type {number} */ run) =>
    frame.left + 20 + ((frame.right - frame.left - 40) * run) / Math.max(1, runs.length - 1);
  const every = Math.ceil(runs.length / 8);
  const ticks = runs.flatMap((run, i) => (i % every === 0 ? [{ at: to(i), text: nameOf(run) }] : []));
  const drawn = series.filter(({ points }) => points.length > 0);
  const ends = drawn.map(({ points }) => y.to(100 * points[points.length - 1].value));
  const names = spread(ends, 17, frame.top, frame.bottom);
  const body = drawn.flatMap(({ suite, points }, i) => [
    path(
      points.map(({ run, value }) => [to(run), y.to(100 * value)]),
      `curve k${i}`,
    ),
    ...points.map(({ run, value }) =>
      mark(to(run), y.to(100 * value), i, `${suite}, ${runs[run].created}: ${(100 * value).toFixed(1)} %`),
    ),
    line(to(points[points.length - 1].run) + 6, ends[i], frame.right + 22, names[i], 'grid'),
    mark(frame.right + 30, names[i], i),
    label(frame.right + 40, names[i] + 4, suite),
  ]);
  return {
    name: 'history',
    title: 'History of the kept runs',
    described: drawn
      .map(({ suite, points }) => `${suite} ended at ${(100 * points[points.length - 1].value).toFixed(0)} %`)
      .join('; '),
    width: 800,
    height: 352,
    body: [axes(frame, { to, ticks }, y, 'run', 'time over the first run'), ...body].join('\n'),
  };
}

/** A run by its commit and day. @param {Run} run */
const nameOf = ({ environment, created }) =>
  environment.commit ? `${environment.commit.slice(0, 7)}, ${created.slice(5, 10)}` : created.slice(0, 10);

/** @param {readonly Run[]} runs @param {string} suite */
function relativeTimes(runs, suite) {
  /** @type {Map<string, number>} the time of a case in the first run that had it, times what its suite had come to then */
  const start = new Map();
  let level = 1;
  return runs.flatMap(({ cases }, run) => {
    const own = cases.filter((each) => each.suite === suite);
    if (own.length === 0) return [];
    const known = own.filter(({ name }) => start.has(name));
    const logs = known.map(({ name, minima }) => Math.log(minima.p50 / /** @type {number} */ (start.get(name))));
    if (logs.length > 0) level = Math.exp(logs.reduce((sum, each) => sum + each, 0) / logs.length);
    for (const { name, minima } of own) if (!start.has(name)) start.set(name, minima.p50 / level);
    return [{ run, value: level }];
  });
}
