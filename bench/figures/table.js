// @ts-check
// Figures as Markdown, short enough to read.
import { Bold, markdownTable } from '../record/table.js';
import { escapeMarkdown } from '../record/text.js';
import { complaints } from './figure.js';
import { isRight } from './report.js';

/** @typedef {import('../record/table.js').Cell} Cell */

/** @param {number} value */
function short(value) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
}

/** @param {import('./figure.js').Time | undefined} time */
const timeText = (time) => (time ? `${short(time.median)} (${short(time.low)} to ${short(time.high)})` : '');

/** @param {import('./figure.js').Case} one */
function rateText({ flops = 0, bytes = 0, time }) {
  if (!time || flops + bytes === 0) return '';
  const [gigaflops, gigabytes] = [flops / time.median / 1e6, bytes / time.median / 1e6];
  // Whichever is near what machines do: a kernel with few flops a byte lives on memory.
  if (flops < 10 * bytes) return `${short(gigabytes)} GB/s`;
  return gigaflops >= 1000 ? `${short(gigaflops / 1000)} TFLOP/s` : `${short(gigaflops)} GFLOP/s`;
}

/** What misses its goal is bold. @param {import('./figure.js').Mark} mark @returns {(string | Bold)[]} */
function markText({ what, value, low, high, goal, better, met }) {
  const spread = low === undefined || high === undefined || low === high ? '' : ` (${short(low)} to ${short(high)})`;
  const limit = goal === undefined ? '' : `, ${better === 'higher' ? '≥' : '≤'} ${short(goal)}`;
  return [`${what}: `, met === false ? new Bold(short(value)) : short(value), `${spread}${limit}`];
}

const columns = ['case', 'size', 'ms', 'rate', 'judged', 'largest error'];

/** @param {import('./report.js').ReportedCase} one @returns {readonly Cell[]} */
function row(one) {
  const worst = [...(one.errors ?? [])].sort((a, b) => b.value / (b.bound || 1) - a.value / (a.bound || 1))[0];
  const wrong = one.failure ?? complaints(one).join('; ');
  const judged = [...(one.marks ?? []).map(markText), ...(one.detail ? [[one.detail]] : [])];
  return [
    [one.name, one.dtype].filter(Boolean).join(', '),
    one.size ?? '',
    timeText(one.time),
    rateText(one),
    judged.flatMap((parts, i) => (i === 0 ? parts : ['; ', ...parts])),
    wrong === '' ? (worst ? short(worst.value) : '') : [new Bold(`WRONG: ${wrong}`)],
  ];
}

/** @param {readonly import('./report.js').ReportedCase[]} cases */
export const table = (cases) => markdownTable(columns, cases.map(row), columns.length);

/** @param {import('./report.js').Report} report */
export function markdown({ machine, parts, suite, cases, notes }) {
  const { card, versions, commit, date, host } = machine;
  const partRows = Object.entries(parts).map(([name, { outcome, seconds, detail }]) => [
    name,
    outcome === 'passed' ? outcome : [new Bold(outcome)],
    seconds.toFixed(0),
    detail,
  ]);
  const lines = [
    `# ${card.name}, ${date.slice(0, 10)}`,
    '',
    `Compute capability ${card.capability}, driver ${card.driver ?? 'unknown'}; ${versions.backend}; Node ${versions.node};`,
    `${host.cpu}, ${host.processors} processors; commit ${commit.id.slice(0, 12)}${commit.changed ? ', changed' : ''}.`,
    '',
    markdownTable(['part', 'outcome', 's', ''], partRows, 4),
  ];
  for (const { file, detail } of suite?.files.filter(({ failed }) => failed > 0) ?? [])
    lines.push('', escapeMarkdown(`${file}: ${detail}`));
  for (const section of new Set(cases.map((one) => one.section))) {
    lines.push('', `## ${section}`, '', table(cases.filter((one) => one.section === section)));
  }
  const wrong = cases.filter((one) => !isRight(one));
  if (cases.length > 0) lines.push('', `${cases.length} cases, ${wrong.length} of them wrong.`);
  if (notes.length > 0) lines.push('', ...notes.map((note) => `- ${escapeMarkdown(note)}`));
  return `${lines.join('\n')}\n`;
}
