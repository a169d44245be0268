// @ts-check
import { change } from '../record/table.js';
import { shortened } from '../record/text.js';
import { greatest, least } from '../stats/quantile.js';
import { linearScale, logScale } from './axes.js';
import { html } from './markup.js';
import { element, label, line } from './svg.js';

/** @typedef {{ name: string, change: import('../stats/bootstrap.js').Interval }} Pair `change` as a logarithm */

const row = 18;
const shown = 60;
const frame = { left: 430, right: 800, top: 34 };

/** Each case's change with its interval; of many, those that changed most. @param {readonly Pair[]} pairs @param {string} since what @returns {import('./svg.js').Plot} */
export function comparisonPlot(pairs, since) {
  const certain = (/** @type {Pair} */ { change: { low, high } }) => Math.max(low, -high);
  const most = [...pairs].sort((a, b) => certain(b) - certain(a)).slice(0, shown);
  const rows = most.sort((a, b) => b.change.centre - a.change.centre);
  const bottom = frame.top + row * rows.length + 8;
  const x = ratioScale(rows.flatMap(({ change: { low, high } }) => [Math.exp(low), Math.exp(high)]));
  const to = (/** @type {number} */ logarithm) => x.to(Math.exp(logarithm));
  const drawn = rows.flatMap(({ name, change: { low, centre, high } }, i) => {
    const y = frame.top + row * (i + 0.5) + 4;
    const kind = low > 0 ? 'k4' : high < 0 ? 'k2' : 'k8';
    return [
      label(frame.left - 10, y + 4, shortened(name, 60), { 'text-anchor': 'end' }),
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
    line(at, frame.top, at, bottom, text === unchanged ? 'axis' : 'grid'),
    label(at, frame.top - 8, text, { class: 'soft', 'text-anchor': 'middle' }),
  ]);
  const left = pairs.length > rows.length ? `, the ${rows.length} of ${pairs.length} that changed most surely` : '';
  return {
    name: 'comparison',
    title: `Change of time since ${since}, with 95 % intervals${left}`,
    described: rows.map(({ name, change: { centre } }) => `${name} ${change(centre)}`).join('; '),
    width: 880,
    height: bottom + 10,
    body: html`${[...grid, ...drawn]}`,
  };
}

const unchanged = '× 1';

/** Linear where the changes are small, logarithmic where they are not. @param {readonly number[]} ratios */
function ratioScale(ratios) {
  const name = (/** @type {number} */ value) => `× ${value}`;
  const all = [...ratios, 0.95, 1.05];
  const scale = greatest(all) / least(all) > 2.5 ? logScale : linearScale;
  return scale(all, frame.left, frame.right, name);
}
