// @ts-check
// A report as Markdown, short enough to read.
import { complaints } from './case.js';
import { isRight } from './report.js';

/** @param {number} value */
const short = (value) => (value === 0 ? '0' : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** @param {import('./case.js').Time | undefined} time */
const timeText = (time) => (time ? `${short(time.median)} (${short(time.low)} to ${short(time.high)})` : '');

/** @param {import('./case.js').Case} one */
function rateText({ flops, bytes, time }) {
  if (!time) return '';
  const rates = [];
  if (bytes) rates.push(`${short(bytes / time.median / 1e6)} GB/s`);
  else if (flops) rates.push(`${short(flops / time.median / 1e9)} TFLOP/s`);
  return rates.join(', ');
}

/** What misses its goal is bold. @param {import('./case.js').Mark} mark */
function markText({ what, value, low, high, goal, better, met }) {
  const spread = low === undefined || high === undefined || low === high ? '' : ` (${short(low)} to ${short(high)})`;
  const figure = met === false ? `**${short(value)}**` : short(value);
  return `${what}: ${figure}${spread}${goal === undefined ? '' : `, ${better === 'higher' ? '≥' : '≤'} ${short(goal)}`}`;
}

export const columns = ['case', 'size', 'ms', 'rate', 'judged', 'largest error'];

/** @param {import('./report.js').ReportedCase} one @returns {readonly string[]} */
export function row(one) {
  const worst = [...(one.errors ?? [])].sort((a, b) => b.value / (b.bound || 1) - a.value / (a.bound || 1))[0];
  const wrong = one.failure ?? complaints(one).join('; ');
  return [
    [one.name, one.dtype].filter(Boolean).join(', '),
    one.size ?? '',
    timeText(one.time),
    rateText(one),
    [...(one.marks ?? []).map(markText), one.detail].filter(Boolean).join('; '),
    wrong === '' ? (worst ? short(worst.value) : '') : `**WRONG: ${wrong}**`,
  ];
}

const line = (/** @type {readonly string[]} */ cells) =>
  `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`;

/** @param {readonly import('./report.js').ReportedCase[]} cases */
export const table = (cases) => [line(columns), line(columns.map(() => '---')), ...cases.map((one) => line(row(one)))];

/** @param {import('./report.js').Report} report */
export function markdown({ machine, parts, suite, cases, notes }) {
  const { card, versions, commit, date, host } = machine;
  const lines = [
    `# ${card.name}, ${date.slice(0, 10)}`,
    '',
    `Compute capability ${card.capability}, driver ${card.driver ?? 'unknown'}; ${versions.backend}; Node ${versions.node};`,
    `${host.cpu}, ${host.processors} processors; commit ${commit.id.slice(0, 12)}${commit.changed ? ', changed' : ''}.`,
    '',
    line(['part', 'outcome', 's', '']),
    line(['---', '---', '---', '---']),
    ...Object.entries(parts).map(([name, { outcome, seconds, detail }]) =>
      line([name, outcome === 'passed' ? outcome : `**${outcome}**`, seconds.toFixed(0), detail]),
    ),
  ];
  for (const { file, detail } of suite?.files.filter(({ failed }) => failed > 0) ?? [])
    lines.push('', `${file}: ${detail}`);
  for (const section of new Set(cases.map((one) => one.section))) {
    lines.push('', `## ${section}`, '', ...table(cases.filter((one) => one.section === section)));
  }
  const wrong = cases.filter((one) => !isRight(one));
  if (cases.length > 0) lines.push('', `${cases.length} cases, ${wrong.length} of them wrong.`);
  if (notes.length > 0) lines.push('', ...notes.map((note) => `- ${note}`));
  return `${lines.join('\n')}\n`;
}
