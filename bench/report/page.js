// @ts-check
import { readFileSync } from 'node:fs';
import { html, Markup, nothing } from './markup.js';
import { inline } from './svg.js';

/** @typedef {import('./svg.js').Plot} Plot */
/** @typedef {{ title: string, words: string, plots: readonly Plot[] }} Section left out if it has no plot */
/** @typedef {{ lines: readonly string[], command: string }} Failures `command` measures these cases again */
/** @typedef {{ title: string, columns: readonly string[], rows: readonly { cells: readonly string[], failed: boolean }[] }} Table */

/** Something wide. A line tells those who see a part of it only. @param {string} name @param {Markup} body */
const scroll = (name, body) =>
  html`<p class="cue" aria-hidden="true">↔ scrolls sideways</p>
<div class="scroll" role="region" tabindex="0" aria-label="${name}">${body}</div>`;

/** @param {Section} section */
function sectionHtml({ title, words, plots }) {
  if (plots.length === 0) return nothing;
  const figures = plots.map((plot) => html`<figure><h3>${plot.title}</h3>${scroll(plot.title, inline(plot))}</figure>`);
  return html`<h2>${title}</h2>
<p class="about">${words}</p>
<div class="figures">${figures}</div>`;
}

/** @param {Failures} failures */
const failuresHtml = ({ lines, command }) => html`<h2>Failures</h2>
<ul class="wrong">${lines.map((each) => html`<li>${each}</li>`)}</ul>
<p>This measures these cases alone again:</p>
<pre>${command}</pre>`;

/** @param {Table} table */
function tableHtml({ title, columns, rows }) {
  const head = columns.map((name) => html`<th scope="col">${name}</th>`);
  const body = rows.map(
    ({ cells, failed }) =>
      html`<tr${failed ? html` class="wrong"` : nothing}>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  );
  return html`<h2>${title}</h2>
${scroll(title, html`<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`)}`;
}

/**
 * One HTML file that needs nothing else, from no network.
 * @param {{ heading: string, about: readonly string[], failures: Failures | undefined, sections: readonly Section[], table: Table }} page
 */
export function renderPage({ heading, about, failures, sections, table }) {
  const style = new Markup(readFileSync(new URL('style.css', import.meta.url), 'utf8'));
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${heading}</title>
<style>
${style}</style>
</head>
<body>
<main>
<h1>${heading}</h1>
${about.map((words) => html`<p class="about">${words}</p>`)}
${failures ? failuresHtml(failures) : nothing}
${sections.map(sectionHtml)}
${tableHtml(table)}
</main>
</body>
</html>
`.text;
}
