// @ts-check
// HTML and SVG in which text cannot become markup: what a template takes in is escaped unless it is Markup already.
import { plain } from '../record/text.js';

/** Markup that was made here, from parts that were escaped. */
export class Markup {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

/** @typedef {Markup | string | number | readonly Markup[]} Content */

/** @type {Readonly<Record<string, string>>} */
const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** @param {Content} content @returns {string} */
export function rendered(content) {
  if (content instanceof Markup) return content.text;
  if (typeof content === 'object') return content.map(rendered).join('\n');
  return plain(String(content)).replace(/[&<>"']/g, (character) => entities[character]);
}

/** @param {TemplateStringsArray} parts @param {...Content} contents */
export const html = (parts, ...contents) =>
  new Markup(parts.map((part, i) => (i === 0 ? part : rendered(contents[i - 1]) + part)).join(''));

export const nothing = new Markup('');
