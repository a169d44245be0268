// @ts-check
import Table from 'cli-table3';
import { count, duration, percent, rate } from './format.js';

/**
 * One line of the result. For a line without training the fields of the training are null.
 * @typedef {object} Row
 * @property {string} name
 * @property {'none' | import('./methods.js').Method['family']} family
 * @property {number[]} accuracies on the rotated test images, one per run
 * @property {number[]} effectiveRanks mean effective rank of the weights after training, one per run
 * @property {number} parameters
 * @property {number} recovered share of full fine-tuning's gain
 * @property {number | null} msPerStep
 * @property {number | null} svdSeconds shared by all methods that need the factors
 * @property {number | null} lr
 * @property {{ lr: number; accuracy: number }[]} tried on the held-out split
 * @property {{ step: number; accuracy: number }[]} curve
 */

/** @param {readonly number[]} values */
export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Sample standard deviation.
 * @param {readonly number[]} values
 */
function deviation(values) {
  if (values.length < 2) return 0;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/**
 * @template T
 * @param {T | null} value
 * @param {(value: T) => string} text
 */
const orDash = (value, text) => (value === null ? '–' : text(value));

/** @param {Row} row */
function accuracyText({ accuracies }) {
  const spread = accuracies.length > 1 ? ` ± ${(100 * deviation(accuracies)).toFixed(1)}` : '';
  return `${(100 * mean(accuracies)).toFixed(1)}${spread} %`;
}

/**
 * The columns, for the terminal and the report alike.
 * @type {readonly { title: string; text: (row: Row) => string }[]}
 */
export const columns = [
  { title: 'Method', text: ({ name }) => name },
  { title: 'Test accuracy', text: accuracyText },
  { title: 'Trainable\nparameters', text: ({ parameters }) => count(parameters) },
  { title: 'Gain\nrecovered', text: ({ recovered, family }) => (family === 'none' ? '–' : percent(recovered)) },
  { title: 'Effective\nrank', text: ({ effectiveRanks }) => mean(effectiveRanks).toFixed(1) },
  { title: 'ms per\nstep', text: ({ msPerStep }) => orDash(msPerStep, (ms) => ms.toFixed(2)) },
  { title: 'SVD,\nshared', text: ({ svdSeconds }) => orDash(svdSeconds, duration) },
  { title: 'Learning\nrate', text: ({ lr }) => orDash(lr, rate) },
];

/** @param {readonly Row[]} rows */
export function textTable(rows) {
  const table = new Table({
    head: columns.map(({ title }) => title),
    colAligns: columns.map((_, index) => (index === 0 ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push(columns.map(({ text }) => text(row)));
  return table.toString();
}

/**
 * What each learning rate scored, one line per method, the chosen one in brackets.
 * @param {readonly Row[]} rows
 */
export function ratesText(rows) {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const cell = (/** @type {{ lr: number; accuracy: number }} */ { lr, accuracy }, /** @type {Row} */ row) => {
    const text = `${rate(lr)} ${(100 * accuracy).toFixed(1)}`;
    return lr === row.lr ? `[${text}]` : ` ${text} `;
  };
  return rows
    .filter(({ tried }) => tried.length > 0)
    .map((row) => `  ${row.name.padEnd(width)} ${row.tried.map((trial) => cell(trial, row)).join(' ')}`)
    .join('\n');
}
