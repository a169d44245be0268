// @ts-check
// What training has changed in the layers of a model: small multiples, one panel for each layer.
import { greatest, least } from '../stats/quantile.js';
import { axes, linearScale, short } from './axes.js';
import { html } from './markup.js';
import { kinds, label, line, mark, path, widthOf } from './svg.js';

/** @typedef {import('./svg.js').Plot} Plot */
/** @typedef {import('./markup.js').Markup} Markup */
/** @typedef {ArrayLike<number>} Numbers */

/**
 * The numbers of a layer. `before` and `after` are the singular values of W0 and W', `change` those of ΔW, all descending;
 * `drift` is by position in W0, and undefined if the layer's directions are not those of W0. `ranks` and `changeRank` are
 * words; `distances` are the strengths S by parameter.
 * @typedef {{ name: string, before: Numbers, after: Numbers, change: Numbers, drift: Numbers | undefined, ranks: string, changeRank: string, distances: Readonly<Record<string, number>> }} Layer
 */

/** @typedef {{ points: readonly (readonly [number, number])[], kind: string }} Curve */

const side = 14;
const gap = 22;
const height = 224;
/** A panel with less than this is hard to read. */
const narrowest = 260;

/** The figures of all layers. @param {readonly Layer[]} layers @param {number} width of each, in pixels @returns {Plot[]} */
export function layerPlots(layers, width) {
  return [
    panels(layers, width, {
      name: 'spectrum',
      title: "Singular values of W0 and W'",
      legend: [
        ['W0', 'faint'],
        ["W'", 'curve k0'],
      ],
      caption: ({ ranks }) => ranks,
      curves: ({ before, after }) => [
        { points: points(after), kind: 'curve k0' },
        { points: points(before), kind: 'faint' },
      ],
    }),
    panels(layers, width, {
      name: 'change',
      title: 'Singular values of ΔW',
      legend: [['ΔW', 'curve k1']],
      caption: ({ changeRank }) => changeRank,
      curves: ({ change }) => [{ points: points(change), kind: 'curve k1' }],
    }),
    panels(layers, width, {
      name: 'drift',
      title: 'Drift of σ by position in W0',
      legend: [['after − before', 'curve k2']],
      caption: ({ drift }) =>
        drift === undefined ? 'the directions are not those of W0' : `largest ${short3(greatest(sizes(drift)))}`,
      curves: ({ drift }) => (drift === undefined ? [] : [{ points: points(drift), kind: 'curve k2' }]),
    }),
    strengths(layers, width),
  ];
}

/** Figures below each other, as one. @param {readonly Plot[]} plots @param {string} title @returns {Plot} */
export function stacked(plots, title) {
  let top = 0;
  const parts = plots.map(({ title: head, body, height }) => {
    const start = top + 30;
    top = start + height + 20;
    return html`<g transform="translate(0 ${start})">${[label(side, -10, head, { class: 'head' }), body]}</g>`;
  });
  const width = greatest(plots.map((plot) => plot.width));
  const described = plots.map((plot) => `${plot.title}: ${plot.described}`).join('. ');
  return { name: 'layers', title, described, width, height: top, body: html`${parts}` };
}

/** @param {Numbers} numbers @returns {[number, number][]} */
const points = (numbers) =>
  // A number alone is a level, because a line of one point is not seen.
  numbers.length === 1
    ? [
        [0, numbers[0]],
        [1, numbers[0]],
      ]
    : Array.from(numbers, (value, i) => [i + 1, value]);

/** @param {Numbers} numbers */
const sizes = (numbers) => Array.from(numbers, Math.abs);

/** @param {number} value */
const short3 = (value) => short(Number(value.toPrecision(3)));

/** The end of a name says more than its beginning. @param {string} name @param {number} width */
function fitted(name, width) {
  const letters = [...name.replace(/\.weight$/, '')];
  const most = Math.max(4, Math.floor(width / widthOf('x')));
  return letters.length > most
    ? `…${letters
        .slice(1 - most)
        .join('')
        .replace(/^\./, '')}`
    : letters.join('');
}

/**
 * @param {readonly Layer[]} layers
 * @param {number} width
 * @param {{ name: string, title: string, legend: readonly (readonly [string, string])[], caption: (layer: Layer) => string, curves: (layer: Layer) => Curve[] }} figure
 * @returns {Plot}
 */
function panels(layers, width, { name, title, legend, caption, curves }) {
  const inner = width - 2 * side;
  const columns = Math.max(1, Math.min(layers.length, Math.floor((inner + gap) / (narrowest + gap))));
  const panelWidth = (inner - (columns - 1) * gap) / columns;
  const drawn = layers.map((layer, i) => {
    const left = side + (i % columns) * (panelWidth + gap);
    const top = 30 + Math.floor(i / columns) * height;
    return html`${[
      label(left, top + 12, fitted(layer.name, panelWidth)),
      label(left, top + 28, caption(layer), { class: 'soft' }),
      panel({ left: left + 50, top: top + 40, right: left + panelWidth, bottom: top + height - 40 }, curves(layer)),
    ]}`;
  });
  return {
    name,
    title,
    described: `${legend.map(([words]) => words).join(' and ')} of ${layers.map((layer) => layer.name).join(', ')}`,
    width,
    height: 30 + Math.ceil(layers.length / columns) * height,
    body: html`${[...key(legend), ...drawn]}`,
  };
}

/** What the lines mean. @param {readonly (readonly [string, string])[]} legend @returns {Markup[]} */
function key(legend) {
  let left = side;
  const parts = legend.flatMap(([words, kind]) => {
    const at = left;
    left += 34 + widthOf(words) + 16;
    return [line(at, 8, at + 26, 8, kind), label(at + 34, 12, words)];
  });
  return [...parts, label(left, 12, 'by position', { class: 'soft' })];
}

/** @param {import('./axes.js').Frame} frame @param {readonly Curve[]} curves */
function panel(frame, curves) {
  const all = curves.flatMap((curve) => curve.points);
  const { left, top, right, bottom } = frame;
  if (all.length === 0)
    return html`${[line(left, bottom, right, bottom, 'axis'), line(left, top, left, bottom, 'axis')]}`;
  const values = all.map(([, value]) => value);
  const x = linearScale([0, greatest(all.map(([at]) => at))], left, right, short);
  const y = linearScale([Math.min(0, least(values)), greatest([0, ...values])], bottom, top, short3);
  const paths = curves.map(({ points, kind }) =>
    path(
      thinned(points, right - left).map(([at, value]) => [x.to(at), y.to(value)]),
      kind,
    ),
  );
  return html`${[axes(frame, x, y), line(left, y.to(0), right, y.to(0), 'axis'), ...paths]}`;
}

/** No more than the least and the greatest number of each pixel. @param {Curve['points']} points @param {number} pixels */
function thinned(points, pixels) {
  const each = Math.ceil(points.length / pixels);
  if (each < 4) return points;
  const kept = [];
  for (let from = 0; from < points.length; from += each) {
    const part = points.slice(from, from + each).sort(([, a], [, b]) => a - b);
    kept.push(...[part[0], part[part.length - 1]].sort(([a], [b]) => a - b));
  }
  return kept;
}

const rowHeight = 20;

/** The strengths S of all vectors: a row for each layer, a mark for each parameter. @param {readonly Layer[]} layers @param {number} width @returns {Plot} */
function strengths(layers, width) {
  const of = (/** @type {Layer} */ { distances }) =>
    Object.entries(distances).map(([name, value]) => ({ kind: name.slice(name.lastIndexOf('.') + 1), name, value }));
  const found = [...new Set(layers.flatMap((layer) => of(layer).map(({ kind }) => kind)))];
  const names = Math.min(width * 0.45, greatest(layers.map(({ name }) => widthOf(name))) + 8);
  const frame = { left: side + names, top: 30, right: width - side - 20, bottom: 40 + layers.length * rowHeight };
  const x = linearScale(
    [0, ...layers.flatMap((layer) => of(layer).map(({ value }) => value))],
    frame.left,
    frame.right,
    short3,
  );
  const ticks = x.ticks.filter((_, i) => frame.right - frame.left > 240 || i % 2 === 0);
  const rows = layers.flatMap((layer, i) => {
    const at = frame.top + 15 + i * rowHeight;
    return [
      label(side, at + 4, fitted(layer.name, names - 8)),
      line(frame.left, at, frame.right, at, 'grid'),
      ...of(layer).map(({ kind, name, value }) =>
        mark(x.to(value), at, found.indexOf(kind) % kinds, `${name}: ${value.toPrecision(4)}`),
      ),
    ];
  });
  let left = side;
  const legend = found.flatMap((kind, i) => {
    const at = left;
    left += 30 + widthOf(kind);
    return [mark(at + 5, 8, i), label(at + 15, 12, kind)];
  });
  return {
    name: 'strengths',
    title: 'Strengths S = ‖v0 − v‖₁ / dim(v)',
    described: `the mean distance of each parameter from the pretrained layer, of ${layers.map(({ name }) => name).join(', ')}`,
    width,
    height: frame.bottom + 30,
    body: html`${[...legend, axes(frame, { ...x, ticks }, { to: () => 0, ticks: [] }), ...rows]}`,
  };
}
