// @ts-check
// The little SVG that the plots are made of. Colours are classes: the page and a file of its own give them light and
// dark.

import { readFileSync } from 'node:fs';
import { html, Markup, nothing, rendered } from './markup.js';

/** @param {Record<string, string | number>} given */
const attributes = (given) =>
  Object.entries(given)
    .map(([name, value]) => ` ${name}="${typeof value === 'number' ? Number(value.toFixed(2)) : rendered(value)}"`)
    .join('');

/** @param {string} name @param {Record<string, string | number>} given @param {import('./markup.js').Content} [body] */
export const element = (name, given, body = nothing) =>
  new Markup(`<${name}${attributes(given)}>${rendered(body)}</${name}>`);

/** @param {number} x @param {number} y @param {string} words @param {Record<string, string | number>} [more] */
export const label = (x, y, words, more = {}) => element('text', { x, y, ...more }, words);

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} kind */
export const line = (x1, y1, x2, y2, kind) => element('line', { x1, y1, x2, y2, class: kind });

/** @param {readonly (readonly [number, number])[]} points @param {string} kind */
export const path = (points, kind) =>
  element('path', { d: `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}`, class: kind });

/** How many colours there are; an eleventh series has the first one's again. */
export const kinds = 10;

const shapes = [
  'M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z',
  'M-3.6 -3.6H3.6V3.6H-3.6Z',
  'M0 -4.8L4.4 3.6H-4.4Z',
  'M0 -5.2L4.6 0L0 5.2L-4.6 0Z',
  'M0 4.8L4.4 -3.6H-4.4Z',
];

/** A mark: kinds differ in shape as well as in colour. @param {number} x @param {number} y @param {number} kind @param {string} [title] */
export const mark = (x, y, kind, title = '') =>
  element(
    'path',
    {
      d: shapes[kind % shapes.length],
      transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
      class: `mark k${kind % kinds}`,
    },
    title === '' ? nothing : element('title', {}, title),
  );

/** How wide words are at 12 pixels, on the safe side. @param {string} words */
export const widthOf = (words) => 6.9 * [...words].length;

/** @typedef {{ name: string, title: string, described: string, width: number, height: number, body: Markup }} Plot */

/** A plot inside a page, at its own size: text that is scaled down cannot be read. @param {Plot} plot */
export const inline = ({ title, described, width, height, body }) =>
  element(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': `${title}. ${described}` },
    body,
  );

/** The colours of the page, light and dark, by their names in style.css. @type {readonly Readonly<Record<string, string>>[]} */
const palettes = [...readFileSync(new URL('style.css', import.meta.url), 'utf8').matchAll(/:root \{([^}]*)\}/g)].map(
  ([, body]) => Object.fromEntries([...body.matchAll(/--(\w+): (#\w+)/g)].map(([, name, value]) => [name, value])),
);

/** The style of a file of its own, in colours of one palette. @param {Readonly<Record<string, string>>} palette */
const styleIn = ({ ink, soft, line, frame, page, ...colours }) =>
  [
    `text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:${ink}}.soft{fill:${soft}}.page{fill:${page}}`,
    `.head{font-weight:600;font-size:14px}.grid{stroke:${line}}.axis{stroke:${frame};fill:none}.mark{fill:currentColor}`,
    `.hollow{fill:${page};stroke:currentColor;stroke-width:1.6}.curve,.bar{fill:none;stroke:currentColor;stroke-width:1.6}`,
    `.roof{stroke:${ink};stroke-width:1.8;fill:none}.band{fill:${line};opacity:.6}`,
    `.faint{stroke:${frame};stroke-width:1.2;stroke-dasharray:5 4;fill:none}`,
    ...Array.from({ length: kinds }, (_, i) => `.k${i}{color:${colours[i]}}`),
  ].join('');

/** A plot as a file of its own, in the colours that the reader's system prefers. @param {Plot} plot */
export function standalone({ title, described, width, height, body }) {
  const [light, dark] = palettes.map(styleIn);
  const style = `${light}@media (prefers-color-scheme:dark){${dark}}`;
  const top = 34;
  const given = { width, height: height + top, viewBox: `0 -${top} ${width} ${height + top}`, role: 'img' };
  return `${element('svg', { xmlns: 'http://www.w3.org/2000/svg', ...given }, [
    html`<title>${title}</title><desc>${described}</desc>`,
    new Markup(`<style>${style}</style>`),
    element('rect', { x: 0, y: -top, width, height: height + top, class: 'page' }),
    label(14, -12, title, { class: 'head' }),
    body,
  ])}\n`;
}
