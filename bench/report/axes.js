// @ts-check
import { greatest, least } from '../stats/quantile.js';
import { html } from './markup.js';
import { label, line } from './svg.js';

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Frame */
/** @typedef {{ to: (value: number) => number, ticks: readonly { at: number, text: string }[] }} Scale */

/** @param {number} value */
const round = (value) => Number(value.toPrecision(6));

/** More decades than these have no room for their names, and only every second, third … is drawn. */
const mostDecades = 12;

/** Keeps decades within those that numbers have. @param {number} value */
const bounded = (value) => Math.min(Math.max(value, 1e-200), 1e200);

/** Decades, and what lies between them if there are few. @param {readonly number[]} values @param {number} start @param {number} end @param {(value: number) => string} name @returns {Scale} */
export function logScale(values, start, end, name) {
  const [low, high] = [bounded(least(values)), bounded(greatest(values))];
  const wide = Math.log10(high) - Math.log10(low);
  const steps = wide < 1.2 ? [1, 2, 5] : wide < 2.5 ? [1, 3] : [1];
  const stride = Math.max(1, Math.ceil(wide / mostDecades));
  const from = stride * (Math.floor(Math.log10(low) / stride) - 1);
  const all = [];
  for (let decade = from; decade <= Math.ceil(Math.log10(high)) + stride; decade += stride) {
    for (const step of steps) all.push(round(step * 10 ** decade));
  }
  const first = Math.max(...all.filter((tick) => tick <= low));
  const last = Math.min(...all.filter((tick) => tick >= high && tick > first));
  const length = Math.log(last) - Math.log(first);
  const to = (/** @type {number} */ value) => start + ((Math.log(value) - Math.log(first)) / length) * (end - start);
  const shown = all.filter((tick) => tick >= first && tick <= last);
  return { to, ticks: shown.map((tick) => ({ at: to(tick), text: name(tick) })) };
}

/** @param {readonly number[]} values @param {number} start @param {number} end @param {(value: number) => string} name @returns {Scale} */
export function linearScale(values, start, end, name) {
  const [low, high] = [least(values), greatest(values)];
  const rough = (high - low || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const [first, last] = [
    Math.floor(low / step) * step,
    Math.max(Math.ceil(high / step), Math.floor(low / step) + 1) * step,
  ];
  const to = (/** @type {number} */ value) => start + ((value - first) / (last - first)) * (end - start);
  const count = Math.round((last - first) / step);
  const ticks = Array.from({ length: count + 1 }, (_, i) => round(first + i * step));
  return { to, ticks: ticks.map((tick) => ({ at: to(tick), text: name(tick) })) };
}

/** @param {Frame} frame @param {Scale} x @param {Scale} y @param {string} [below] @param {string} [leftOf] */
export function axes({ left, top, right, bottom }, x, y, below = '', leftOf = '') {
  const middle = (top + bottom) / 2;
  const centred = { class: 'soft', 'text-anchor': 'middle' };
  return html`${[
    ...y.ticks.flatMap(({ at, text }) => [
      line(left, at, right, at, 'grid'),
      label(left - 8, at + 4, text, { class: 'soft', 'text-anchor': 'end' }),
    ]),
    ...x.ticks.flatMap(({ at, text }) => [line(at, top, at, bottom, 'grid'), label(at, bottom + 18, text, centred)]),
    line(left, bottom, right, bottom, 'axis'),
    line(left, top, left, bottom, 'axis'),
    ...(below === '' ? [] : [label((left + right) / 2, bottom + 40, below, centred)]),
    ...(leftOf === '' ? [] : [label(0, 0, leftOf, { ...centred, transform: `translate(16 ${middle}) rotate(-90)` })]),
  ]}`;
}

/**
 * Moves labels apart until each has `gap` to the next, in their order and as near as that allows.
 * @param {readonly number[]} wanted @param {number} gap @param {number} least @param {number} most
 */
export function spread(wanted, gap, least, most) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const placed = [...wanted];
  let floor = least;
  for (const i of order) {
    placed[i] = Math.max(placed[i], floor);
    floor = placed[i] + gap;
  }
  let ceiling = most;
  for (const i of order.toReversed()) {
    placed[i] = Math.min(placed[i], ceiling);
    ceiling = placed[i] - gap;
  }
  return placed;
}

/** 1000 → 1 k, 0.001 → 0.001. @param {number} value */
export function short(value) {
  if (value >= 1e6) return `${round(value / 1e6)} M`;
  if (value >= 1000) return `${round(value / 1000)} k`;
  return String(round(value));
}

/** Milliseconds. @param {number} ms */
export function shortTime(ms) {
  if (ms >= 1000) return `${round(ms / 1000)} s`;
  if (ms >= 1) return `${round(ms)} ms`;
  return ms >= 0.001 ? `${round(1000 * ms)} µs` : `${round(1e6 * ms)} ns`;
}
