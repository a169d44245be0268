// @ts-check
import { change } from '../record/table.js';
import { linearScale } from './axes.js';
import { element, label, line } from './svg.js';

/** @typedef {import('../commands/compare.js').Pair} Pair */

const row = 18;
const shown = 60;
const frame = { left: 430, right: 800, top: 34 };

/** Each case's change since the baseline, with its interval; of many, those that changed most. @param {readonly Pair[]} pairs @returns {import('./svg.js').Plot} */
export function comparisonPlot(pairs) {
  const certain = (/** @type {Pair} */ { change: { low, high } }) => Math.max(low, -high);
  const most = [...pairs].sort((a, b) => certain(b) - certain(a)).slice(0, shown);
  const rows = most.sort((a, b) => b.change.centre - a.change.centre);
  const bottom = frame.top + row * rows.length + 8;
  const ends = rows.flatMap(({ change: { low, high } }) => [low, high]).map((each) => 100 * (Math.exp(each) - 1));
  const x = linearScale([...ends, -5, 5], frame.left, frame.right, (value) => `${value > 0 ? '+' : ''}${value} %`);
  const to = (/** @type {number} */ logarithm) => x.to(100 * (Math.exp(logarithm) - 1));
  const drawn = rows.flatMap(({ name, change: { low, centre, high } }, i) => {
    const y = frame.top + row * (i + 0.5) + 4;
    const kind = low > 0 ? 'k4' : high < 0 ? 'k2' : 'k8';
    const words = name.length > 60 ? `${name.slice(0, 59)}…` : name;
    return [
      label(frame.left - 10, y + 4, words, { 'text-anchor': 'end' }),
      element('line', { x1: to(low), x2: to(high), y1: y, y2: y, class: `bar ${kind}` }),
      element(
        'circle',
        { cx: to(centre), cy: y, r: 3.6, class: `mark ${kind}` },
        element('title', {}, `${name}: ${change(centre)} (${change(low)} to ${change(high)})`),
      ),
      label(frame.right + 12, y + 4, change(centre), { class: 'soft' }),
    ];
  });
  const grid = x.ticks.flatMap(({ at, text }) => [
    line(at, frame.top, at, bottom, text === '0 %' ? 'axis' : 'grid'),
    label(at, frame.top - 8, text, { class: 'soft', 'text-anchor': 'middle' }),
  ]);
  const left = pairs.length > rows.length ? `, the ${rows.length} of ${pairs.length} that changed most surely` : '';
  return {
    name: 'comparison',
    title: `Change of time since the baseline, with 95 % intervals${left}`,
    described: rows.map(({ name, change: { centre } }) => `${name} ${change(centre)}`).join('; '),
    width: 880,
    height: bottom + 10,
    body: [...grid, ...drawn].join('\n'),
  };
}
