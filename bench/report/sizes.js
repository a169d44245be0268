// @ts-check
import { time } from '../record/table.js';
import { shortened } from '../record/text.js';
import { axes, logScale, short, shortTime, spread } from './axes.js';
import { html } from './markup.js';
import { kinds, label, line, mark, path } from './svg.js';

/** @typedef {import('../record/schema.js').CaseRecord} CaseRecord */

const frame = { left: 74, top: 12, right: 352, bottom: 330 };

/** More series than these cannot be told apart. */
const mostSeries = 20;

/** Time against size: a plot for each panel that has a series of several sizes. @param {readonly CaseRecord[]} cases @returns {import('./svg.js').Plot[]} */
export function sizePlots(cases) {
  const panels = grouped(cases, ({ panel }) => panel);
  const drawn = [...panels].flatMap(([panel, own]) => {
    const series = seriesOf(own);
    return series.length > 0 ? [sizePlot(panel, series)] : [];
  });
  const names = grouped(drawn, ({ name }) => name);
  return drawn.map((plot) => {
    const same = names.get(plot.name) ?? [];
    return same.length === 1 ? plot : { ...plot, name: `${plot.name}-${same.indexOf(plot) + 1}` };
  });
}

/** @template T @param {readonly T[]} list @param {(each: T) => string} key @returns {Map<string, T[]>} */
function grouped(list, key) {
  const groups = new Map();
  for (const each of list) {
    const group = groups.get(key(each));
    if (group) group.push(each);
    else groups.set(key(each), [each]);
  }
  return groups;
}

/** @param {readonly CaseRecord[]} cases */
const seriesOf = (cases) =>
  [...grouped(cases, ({ series }) => series)].flatMap(([name, own]) => {
    const points = own.sort((a, b) => a.size - b.size);
    return new Set(points.map(({ size }) => size)).size > 1 ? [{ name, points }] : [];
  });

/** @param {string} panel @param {ReturnType<typeof seriesOf>} all @returns {import('./svg.js').Plot} */
function sizePlot(panel, all) {
  const series = all.slice(0, mostSeries);
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
    label(frame.right + 40, names[i] + 4, shortened(name, 28)),
  ]);
  return {
    name: `size-${title.replace(/\W+/g, '-').slice(0, 80)}`,
    title: all.length > series.length ? `${title}, ${series.length} of ${all.length} series` : title,
    described: `time by ${below} of ${series.map(({ name }) => name).join(', ')}`,
    width: 590,
    height: 382,
    body: html`${[axes(frame, x, y, below, 'time of a call'), ...drawn]}`,
  };
}
