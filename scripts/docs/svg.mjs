// The figures of the documentation, in the benchmarks' SVG.
import { element } from '../../bench/report/svg.js';

export const ink = '#1f2933';
export const muted = '#7b8794';
export const pale = '#e4e7eb';
export const blue = '#2b6cb0';
export const orange = '#dd6b20';

export const rect = (x, y, width, height, fill, more = {}) => element('rect', { x, y, width, height, fill, ...more });
export const circle = (cx, cy, r, fill) => element('circle', { cx, cy, r, fill });
export const line = (x1, y1, x2, y2, stroke, more = {}) => element('line', { x1, y1, x2, y2, stroke, ...more });
export const text = (x, y, words, more = {}) => element('text', { x, y, fill: ink, ...more }, words);

/** A whole figure; `described` is the text for readers who cannot see it. */
export function figure(width, height, described, body) {
  const font = { 'font-family': 'system-ui, sans-serif', 'font-size': '13' };
  const given = { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${width} ${height}`, role: 'img', ...font };
  const parts = [element('title', {}, described), rect(0, 0, width, height, '#ffffff'), ...body];
  return `${element('svg', given, parts)}\n`;
}
