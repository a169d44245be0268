// @ts-check
// Tables in Markdown, padded so that a terminal shows them as well.
import { escapeMarkdown } from './text.js';

/** Characters on the screen. Ours have no wide ones, but some that combine. @param {string} text */
const width = (text) => [...text.normalize('NFC')].length;

/** A part of a cell that stands out. */
export class Bold {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** @typedef {string | readonly (string | Bold)[]} Cell */

/** @param {string | Bold} part */
const markdownOf = (part) => (part instanceof Bold ? `**${escapeMarkdown(part.text)}**` : escapeMarkdown(part));

/**
 * @param {readonly string[]} head
 * @param {readonly (readonly Cell[])[]} rows
 * @param {number} [texts] the number of columns at the left that are text; the others are numbers, aligned to the right
 */
export function markdownTable(head, rows, texts = 1) {
  const cells = [head, ...rows].map((row) => row.map((cell) => [cell].flat().map(markdownOf).join('')));
  const widths = head.map((_, column) => cells.reduce((most, row) => Math.max(most, width(row[column])), 3));
  const line = (/** @type {readonly string[]} */ row) => {
    const padded = row.map((cell, column) => {
      const blanks = ' '.repeat(widths[column] - width(cell));
      return column < texts ? cell + blanks : blanks + cell;
    });
    return `| ${padded.join(' | ')} |`;
  };
  const rule = `| ${widths.map((size, column) => (column < texts ? '-'.repeat(size) : `${'-'.repeat(size - 1)}:`)).join(' | ')} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}

/** A time that is given in milliseconds. @param {number} ms */
export function time(ms) {
  if (ms >= 1000) return `${(ms / 1000).toPrecision(4)} s`;
  if (ms >= 1) return `${ms.toPrecision(4)} ms`;
  return `${(1000 * ms).toPrecision(4)} µs`;
}

/** @param {number} share @param {number} [digits] */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** The change that a logarithm of a ratio stands for, in per cent. @param {number} logarithm */
export function change(logarithm) {
  const value = 100 * (Math.exp(logarithm) - 1);
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)} %`;
}
