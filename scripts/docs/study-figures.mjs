// The plots of docs/study.md, one panel for each set of texts.

import { element } from '../../bench/report/svg.js';
import { methods } from '../../examples/study/methods.js';
import { settings } from '../../examples/study/settings.js';
import { estimate, mean, readRuns, reported } from './study-records.mjs';
import { figure, ink, line, muted, pale, text } from './svg.mjs';

const families = {
  control: { colour: '#52606d', mark: 'M-5 -5H5V5H-5Z' },
  lora: { colour: '#8e44ad', mark: 'M0 -6L5.5 5H-5.5Z' },
  svft: { colour: '#2b6cb0', mark: 'M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z' },
  siva: { colour: '#dd6b20', mark: 'M0 6L5.5 -5H-5.5Z' },
  vectorfit: { colour: '#2f855a', mark: 'M0 -6.5L6 0L0 6.5L-6 0Z' },
};
const panel = { width: 760, height: 460, left: 56, right: 40, top: 44, bottom: 58 };
const titles = { reviews: 'Reviews', mail: 'Mail' };

/** Balanced accuracy against the trained numbers. */
export function studyAccuracy() {
  const x = {
    of: (found) => Math.log10(found[0].parameters),
    label: 'trained numbers (logarithmic scale)',
    ticks: (low, high) => range(Math.floor(low), Math.ceil(high), 1),
    name: (value) => Math.round(10 ** value).toLocaleString('en-US'),
  };
  return plot(x, 'Balanced accuracy of each method against the numbers that it trains');
}

/** Balanced accuracy against the effective rank after training. */
export function studyRank() {
  const x = {
    of: (found) => mean(found.map((run) => run.effectiveRank)),
    label: 'effective rank of the weights after training, mean over the layers',
    ticks: (low, high) => spaced(low, high, 5),
    name: (value) => String(Number(value.toFixed(1))),
  };
  return plot(x, 'Balanced accuracy of each method against the effective rank of its weights');
}

function plot(x, described) {
  const runs = readRuns();
  const shown = settings.tasks.filter((task) =>
    methods.some(({ name, frozen }) => !frozen && reported(runs, task, name).size > 0),
  );
  const body = shown.flatMap((task, i) => onePanel(runs, task, x, i * panel.height));
  const keys = [
    ['control', 'full fine-tuning', 115],
    ['lora', 'LoRA', 60],
    ['svft', 'SVFT', 60],
    ['siva', 'SiVA', 60],
    ['vectorfit', 'VectorFit', 0],
  ];
  let next = panel.left + 6;
  const legend = keys.flatMap(([family, name, width]) => {
    const at = next;
    next += width + 18;
    return [shape(family, at, 16), text(at + 11, 20, name, { 'font-size': 12 })];
  });
  return figure(panel.width, Math.max(1, shown.length) * panel.height, described, [...legend, ...body]);
}

function onePanel(runs, task, x, offset) {
  const all = methods.flatMap(({ name, family, frozen, like }) => {
    const found = [...reported(runs, task, name).values()];
    if (frozen || like !== undefined || found.length === 0) return [];
    return [{ name, family, at: x.of(found), ...estimate(found.map((run) => 100 * run.balanced)) }];
  });
  // One failed method would press all others into a corner: it is told in words.
  const [points, far] = apart(all);
  const head = [...reported(runs, task, 'head only').values()].map((run) => 100 * run.balanced);
  const heights = points.map(({ centre }) => centre).concat(head.length > 0 ? [mean(head)] : []);
  const yTicks = spaced(Math.min(...heights) - 0.5, Math.max(...heights) + 0.5, 6);
  const xTicks = x.ticks(Math.min(...points.map(({ at }) => at)), Math.max(...points.map(({ at }) => at)));
  const [left, right, top, bottom] = [
    panel.left,
    panel.width - panel.right,
    offset + panel.top,
    offset + panel.height - panel.bottom,
  ];
  const toX = scale(xTicks, left + 8, right - 8);
  const toY = scale(yTicks, bottom, top + 8);
  const within = (y) => Math.min(bottom, Math.max(top, y)); // an interval may be longer than the plot
  const grid = yTicks.flatMap((value) => [
    line(left, toY(value), right, toY(value), pale),
    text(left - 8, toY(value) + 4, String(value), { 'text-anchor': 'end', 'font-size': 12, fill: muted }),
  ]);
  const axis = xTicks.flatMap((value) => [
    line(toX(value), bottom, toX(value), bottom + 4, muted),
    text(toX(value), bottom + 18, x.name(value), { 'text-anchor': 'middle', 'font-size': 12, fill: muted }),
  ]);
  const baseline =
    head.length === 0
      ? []
      : [
          line(left, toY(mean(head)), right, toY(mean(head)), muted, { 'stroke-dasharray': '5 4' }),
          text(right - 4, toY(mean(head)) - 5, 'head only', { 'text-anchor': 'end', 'font-size': 11, fill: muted }),
        ];
  const labels = placed(
    points.map((point) => ({ ...point, x: toX(point.at), y: toY(point.centre) })),
    left,
    right,
  );
  const marks = labels.flatMap(({ name, family, x: px, y: py, half, centre, label }) => [
    ...(half > 0
      ? [
          line(px, within(toY(centre - half)), px, within(toY(centre + half)), families[family].colour, {
            'stroke-opacity': 0.45,
            'stroke-width': 1.5,
          }),
        ]
      : []),
    shape(family, px, py),
    text(label.x, label.y, short(name), {
      'text-anchor': label.anchor,
      'font-size': 11,
      fill: families[family].colour,
    }),
  ]);
  return [
    text(left, top - 6, `${titles[task]}: balanced accuracy, %`, { 'font-weight': 600 }),
    ...grid,
    ...axis,
    line(left, bottom, right, bottom, ink),
    text((left + right) / 2, bottom + 42, x.label, { 'text-anchor': 'middle', 'font-size': 12 }),
    ...baseline,
    ...marks,
    ...far.map(({ name, family, centre, at }, i) =>
      text(left + 8, bottom - 10 - 16 * i, `outside: ${short(name)}, ${centre.toFixed(1)} % at ${x.name(at)}`, {
        'font-size': 11,
        fill: families[family].colour,
      }),
    ),
  ];
}

/** The points near the others, and those that lie far below them. */
function apart(points) {
  const sorted = points.map(({ centre }) => centre).sort((a, b) => a - b);
  const quantile = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const floor = quantile(0.5) - 4 * (quantile(0.75) - quantile(0.25));
  const isNear = ({ centre }) => points.length < 5 || centre >= floor;
  return [points.filter(isNear), points.filter((point) => !isNear(point))];
}

const short = (name) => name.replace(/^(SVFT|SiVA|VectorFit) /, '').replace('lowest, ', '');

const shape = (family, x, y) =>
  element('path', {
    d: families[family].mark,
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
    fill: families[family].colour,
  });

/** Puts each label where it covers the least: right, left, above or below of its mark. */
function placed(points, left, right) {
  const taken = points.map(({ x, y }) => box(x - 6, y - 6, 12, 12));
  return points.map((point) => {
    const width = 6.2 * short(point.name).length;
    const places = [
      { x: point.x + 9, y: point.y + 4, anchor: 'start', from: point.x + 9 },
      { x: point.x - 9, y: point.y + 4, anchor: 'end', from: point.x - 9 - width },
      { x: point.x, y: point.y - 10, anchor: 'middle', from: point.x - width / 2 },
      { x: point.x, y: point.y + 19, anchor: 'middle', from: point.x - width / 2 },
    ];
    const rated = places.map((place) => {
      const area = box(place.from, place.y - 10, width, 13);
      const outside = Math.max(0, left - area.left) + Math.max(0, area.right - right);
      return { place, area, cost: taken.reduce((sum, other) => sum + overlap(area, other), 0) + 50 * outside };
    });
    const best = rated.reduce((top, next) => (next.cost < top.cost ? next : top));
    taken.push(best.area);
    return { ...point, label: best.place };
  });
}

const box = (left, top, width, height) => ({ left, top, right: left + width, bottom: top + height });
const overlap = (a, b) =>
  Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
  Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

const range = (first, last, by) =>
  Array.from({ length: Math.round((last - first) / by) + 1 }, (_, i) => first + i * by);

/** About as many round numbers as asked for, around low to high. */
function spaced(low, high, count) {
  const raw = Math.max(high - low, 1e-9) / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const by = [1, 2, 5, 10].map((factor) => factor * unit).find((step) => step >= raw);
  const ticks = range(Math.floor(low / by) * by, Math.ceil(high / by) * by, by);
  return ticks.map((value) => Number(value.toPrecision(8)));
}

function scale(ticks, from, to) {
  const [low, high] = [ticks[0], ticks.at(-1)];
  return (value) => from + ((value - low) / (high - low)) * (to - from);
}
