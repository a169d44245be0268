// @ts-check
import { time } from '../record/table.js';
import { axes, logScale, short, shortTime, spread } from './axes.js';
import { kinds, label, line, mark, path } from './svg.js';

/** @typedef {import('../record/schema.js').CaseRecord} CaseRecord */

const frame = { left: 74, top: 12, right: 560, bottom: 330 };

/** Time against size: a plot for each panel that has a series of several sizes. @param {readonly CaseRecord[]} cases @returns {import('./svg.js').Plot[]} */
export function sizePlots(cases) {
  return [...new Set(cases.map(({ panel }) => panel))].flatMap((panel) => {
    const series = seriesOf(cases.filter((each) => each.panel === panel));
    return series.length > 0 ? [sizePlot(panel, series)] : [];
  });
}

/** @param {readonly CaseRecord[]} cases */
function seriesOf(cases) {
  const names = [...new Set(cases.map(({ series }) => series))];
  return names.flatMap((name) => {
    const points = cases.filter(({ series }) => series === name).sort((a, b) => a.size - b.size);
    return new Set(points.map(({ size }) => size)).size > 1 ? [{ name, points }] : [];
  });
}

/** @param {string} panel @param {ReturnType<typeof seriesOf>} series @returns {import('./svg.js').Plot} */
function sizePlot(panel, series) {
  const points = series.flatMap((each) => each.points);
  const [title, below = 'size'] = panel.split(/, by /);
  const x = logScale(
    points.map(({ size }) => size),
    frame.left,
    frame.right,
    short,
  );
  const y = logScale(
    points.map(({ minima }) => minima.p50),
    frame.bottom,
    frame.top,
    shortTime,
  );
  const at = (/** @type {CaseRecord} */ { size, minima }) => /** @type {const} */ ([x.to(size), y.to(minima.p50)]);
  const ends = series.map((each) => at(each.points[each.points.length - 1]));
  const names = spread(
    ends.map(([, end]) => end),
    17,
    frame.top,
    frame.bottom,
  );
  const drawn = series.flatMap(({ name, points }, i) => [
    path(points.map(at), `curve k${i % kinds}`),
    ...points.map((each) => mark(...at(each), i, `${each.name}: ${time(each.minima.p50)}`)),
    line(ends[i][0] + 6, ends[i][1], frame.right + 22, names[i], 'grid'),
    mark(frame.right + 30, names[i], i),
    label(frame.right + 40, names[i] + 4, name),
  ]);
  return {
    name: `size-${title.replace(/\W+/g, '-')}`,
    title,
    described: `time by ${below} of ${series.map(({ name }) => name).join(', ')}`,
    width: 800,
    height: 382,
    body: [axes(frame, x, y, below, 'time of a call'), ...drawn].join('\n'),
  };
}
