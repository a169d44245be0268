// @ts-check
import { count } from './format.js';
import { mean } from './table.js';

/** @typedef {import('./table.js').Row} Row */
/** @typedef {{ row: Row; series: number }} Entry series: which of the report's colours and marks */
/** @typedef {{ left: number; top: number; right: number; bottom: number }} Box */

const WIDTH = 760;
const HEIGHT = 440;
/** @type {Box} the area of the data */
const FRAME = { left: 70, top: 18, right: WIDTH - 44, bottom: HEIGHT - 58 };
const FONT = 12;

/** @param {string} text */
export const escapeHtml = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** @param {number} value */
const px = (value) => value.toFixed(1);

/**
 * Width of a text, from a generous average of the report's sans-serif letters.
 * @param {string} text
 */
const textWidth = (text) => text.length * FONT * 0.58;

/**
 * A map from data to pixels.
 * @param {readonly [number, number]} domain
 * @param {readonly [number, number]} range
 */
function linear([from, to], [start, end]) {
  return (/** @type {number} */ value) => start + ((value - from) / (to - from)) * (end - start);
}

/**
 * @param {readonly { at: number; text: string }[]} xTicks
 * @param {readonly { at: number; text: string }[]} yTicks
 * @param {string} xLabel
 * @param {Box} frame
 */
function axes(xTicks, yTicks, xLabel, frame) {
  const { left, top, right, bottom } = frame;
  const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
  return [
    ...yTicks.map(
      ({ at, text }) => `<line class="grid" x1="${left}" x2="${right}" y1="${px(at)}" y2="${px(at)}"/>
      <text class="tick" x="${left - 10}" y="${px(at + 4)}" text-anchor="end">${text}</text>`,
    ),
    ...xTicks.map(
      ({ at, text }) => `<line class="grid" x1="${px(at)}" x2="${px(at)}" y1="${top}" y2="${bottom}"/>
      <text class="tick" x="${px(at)}" y="${bottom + 20}" text-anchor="middle">${text}</text>`,
    ),
    `<path class="axis" d="M${left} ${top}V${bottom}H${right}"/>`,
    `<text class="label" x="${middle.x}" y="${HEIGHT - 12}" text-anchor="middle">${xLabel}</text>`,
    `<text class="label" transform="translate(18 ${middle.y}) rotate(-90)" text-anchor="middle">` +
      'accuracy on the rotated test images (%)</text>',
  ].join('\n');
}

/** The mark of a family, so that colour is never the only difference. */
const MARKS = {
  none: 'M-5 0H5M0 -5V5',
  control: 'M-5 -5H5V5H-5Z',
  svft: 'M-5.5 0A5.5 5.5 0 1 0 5.5 0A5.5 5.5 0 1 0 -5.5 0Z',
  siva: 'M0 -6.5L6 5H-6Z',
  ablation: 'M0 6.5L6 -5H-6Z',
  vectorfit: 'M0 -7L6.5 0L0 7L-6.5 0Z',
};

/**
 * @param {Entry} entry
 * @param {number} x
 * @param {number} y
 */
const mark = ({ row, series }, x, y) =>
  `<path class="mark series-${series}" transform="translate(${px(x)} ${px(y)})" d="${MARKS[row.family]}"/>`;

/**
 * @param {string} id
 * @param {string} title
 * @param {string} description
 * @param {string} body
 */
const svg = (id, title, description, body) =>
  `<svg role="img" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-labelledby="${id}-title ${id}-desc">
<title id="${id}-title">${escapeHtml(title)}</title>
<desc id="${id}-desc">${escapeHtml(description)}</desc>
${body}
</svg>`;

/**
 * @param {Box} a
 * @param {Box} b
 */
function overlap(a, b) {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

/**
 * Chooses a place for the label of each point (right, left, above or below) that covers the least of marks and labels.
 * @param {readonly { x: number; y: number; text: string }[]} points
 */
function placeLabels(points) {
  const taken = points.map(({ x, y }) => ({ left: x - 8, right: x + 8, top: y - 8, bottom: y + 8 }));
  return points.map(({ x, y, text }) => {
    const width = textWidth(text);
    const places = /** @type {const} */ ([
      { x: x + 11, y: y + 4, anchor: 'start' },
      { x: x - 11, y: y + 4, anchor: 'end' },
      { x, y: y - 12, anchor: 'middle' },
      { x, y: y + 21, anchor: 'middle' },
      { x: x + 6, y: y + 21, anchor: 'start' },
      { x: x - 6, y: y - 12, anchor: 'end' },
    ]);
    const scored = places.map((place) => {
      const left = place.x - { start: 0, middle: width / 2, end: width }[place.anchor];
      const box = { left, right: left + width, top: place.y - FONT, bottom: place.y + 4 };
      const outside = Math.max(0, box.right - FRAME.right) + Math.max(0, FRAME.left - box.left);
      const covered = taken.reduce((sum, other) => sum + overlap(box, other), 0);
      return { place, box, cost: covered + 100 * outside };
    });
    const chosen = scored.reduce((top, next) => (next.cost < top.cost ? next : top));
    taken.push(chosen.box);
    return chosen.place;
  });
}

/**
 * Accuracy against trainable parameters, one mark per method, whiskers from the worst run to the best.
 * @param {readonly Entry[]} entries
 */
export function parameterPlot(entries) {
  const accuracies = entries.flatMap(({ row }) => row.accuracies.map((value) => 100 * value));
  const low = 5 * Math.floor((Math.min(...accuracies) - 1) / 5);
  const high = Math.min(100, 5 * Math.ceil((Math.max(...accuracies) + 1) / 5));
  const decades = entries.map(({ row }) => Math.log10(row.parameters));
  const first = Math.floor(Math.min(...decades));
  const last = Math.ceil(Math.max(...decades));
  const toX = linear([first, last], [FRAME.left, FRAME.right]);
  const toY = linear([low, high], [FRAME.bottom, FRAME.top]);

  const points = entries.map((entry) => ({
    entry,
    x: toX(Math.log10(entry.row.parameters)),
    y: toY(100 * mean(entry.row.accuracies)),
    text: entry.row.name,
  }));
  const labels = placeLabels(points);
  const marks = points.map(({ entry, x, y, text }, index) => {
    const ends = [Math.min, Math.max].map((end) => toY(100 * end(...entry.row.accuracies)));
    const label = labels[index];
    return `<path class="whisker series-${entry.series}" d="M${px(x)} ${px(ends[0])}V${px(ends[1])}"/>
${mark(entry, x, y)}
<text class="name" x="${px(label.x)}" y="${px(label.y)}" text-anchor="${label.anchor}">${escapeHtml(text)}</text>`;
  });

  const xTicks = range(first, last, 1).map((decade) => ({ at: toX(decade), text: count(10 ** decade) }));
  const yTicks = range(low, high, 5).map((value) => ({ at: toY(value), text: String(value) }));
  const description = entries
    .map(({ row }) => `${row.name}: ${(100 * mean(row.accuracies)).toFixed(1)} % with ${count(row.parameters)}`)
    .join('; ');
  const body = [axes(xTicks, yTicks, 'trainable parameters (logarithmic scale)', FRAME), ...marks].join('\n');
  return svg('parameters', 'Accuracy against trainable parameters', `${description}.`, body);
}

/**
 * Moves labels apart until each has `gap` to the next, keeping their order and staying as near as it can.
 * @param {readonly number[]} wanted
 * @param {number} gap
 * @param {number} limit none goes below it on the page
 */
function spread(wanted, gap, limit) {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a] - wanted[b]);
  const placed = [...wanted];
  // Runs of labels that would overlap are laid out evenly around their common centre.
  /** @type {{ members: number[]; centre: number }[]} */
  const groups = [];
  for (const index of order) {
    let group = { members: [index], centre: wanted[index] };
    for (;;) {
      const previous = groups[groups.length - 1];
      const reach = (gap * (group.members.length + (previous?.members.length ?? 0))) / 2;
      if (!previous || group.centre - previous.centre >= reach) break;
      groups.pop();
      const members = [...previous.members, ...group.members];
      group = { members, centre: mean(members.map((member) => wanted[member])) };
    }
    groups.push(group);
  }
  for (const { members, centre } of groups) {
    const last = Math.min(centre + (gap * (members.length - 1)) / 2, limit);
    members.forEach((member, place) => {
      placed[member] = last - gap * (members.length - 1 - place);
    });
  }
  return placed;
}

/**
 * Accuracy during the first run, one line for each method, named at its end.
 * @param {readonly Entry[]} entries
 */
export function curvePlot(entries) {
  const frame = { ...FRAME, right: WIDTH - 160 }; // the names stand to the right
  const points = entries.flatMap(({ row }) => row.curve);
  const low = 10 * Math.floor(10 * Math.min(...points.map(({ accuracy }) => accuracy)));
  const high = 100;
  const steps = Math.max(...points.map(({ step }) => step));
  const toX = linear([0, steps], [frame.left, frame.right]);
  const toY = linear([low, high], [frame.bottom, frame.top]);

  const ends = entries.map(({ row }) => toY(100 * row.curve[row.curve.length - 1].accuracy));
  const labels = spread(ends, FONT + 4, frame.bottom);
  const curves = entries.map(({ row, series }, index) => {
    const path = row.curve.map(({ step, accuracy }) => `${px(toX(step))} ${px(toY(100 * accuracy))}`).join('L');
    const leader = `M${px(frame.right + 3)} ${px(ends[index])}L${px(frame.right + 20)} ${px(labels[index])}`;
    const dashed = row.family === 'control' || row.family === 'ablation' ? ' dashed' : '';
    return `<path class="curve series-${series}${dashed}" d="M${path}"/>
<path class="leader series-${series}" d="${leader}"/>
${mark({ row, series }, frame.right + 28, labels[index])}
<text class="name" x="${px(frame.right + 39)}" y="${px(labels[index] + 4)}">${escapeHtml(row.name)}</text>`;
  });

  const xTicks = range(0, steps, 50).map((step) => ({ at: toX(step), text: String(step) }));
  const yTicks = range(low, high, 10).map((value) => ({ at: toY(value), text: String(value) }));
  const description = entries
    .map(({ row }) => `${row.name} ends at ${(100 * row.curve[row.curve.length - 1].accuracy).toFixed(1)} %`)
    .join('; ');
  const body = [axes(xTicks, yTicks, 'training steps', frame), ...curves].join('\n');
  return svg('curves', 'Training curves', `${description}.`, body);
}

/**
 * @param {number} first
 * @param {number} last included
 * @param {number} by
 */
const range = (first, last, by) =>
  Array.from({ length: Math.floor((last - first) / by) + 1 }, (_, index) => first + index * by);
