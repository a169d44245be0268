// @ts-check
import { readFile } from 'node:fs/promises';
import { rate } from './format.js';
import { curvePlot, escapeHtml, parameterPlot } from './plot.js';
import { columns } from './table.js';

/** @typedef {import('./table.js').Row} Row */

/**
 * @typedef {object} Report
 * @property {string} headline the result in a few sentences
 * @property {readonly Row[]} rows
 * @property {{ upright: string; rotated: string }} strips images of the ten digits, as data URIs
 * @property {readonly string[]} notes how it was done
 */

/** @param {readonly Row[]} rows */
function resultTable(rows) {
  const head = columns.map(({ title }) => `<th scope="col">${escapeHtml(title.replace('\n', ' '))}</th>`);
  const body = rows.map((row) => {
    const [name, ...cells] = columns.map(({ text }) => escapeHtml(text(row)));
    return `<tr><th scope="row">${name}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${head.join('')}</tr></thead>
<tbody>${body.join('\n')}</tbody></table></div>`;
}

/** @param {readonly Row[]} rows */
function ratesTable(rows) {
  const body = rows.map(({ name, tried, lr }) => {
    const cells = tried.map((trial) => {
      const text = `${(100 * trial.accuracy).toFixed(1)} <small>at ${rate(trial.lr)}</small>`;
      return trial.lr === lr ? `<td class="chosen">${text}</td>` : `<td>${text}</td>`;
    });
    return `<tr><th scope="row">${escapeHtml(name)}</th>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table class="rates"><tbody>${body.join('\n')}</tbody></table></div>`;
}

/**
 * The report as one HTML file without external resources.
 * @param {Report} report
 */
export async function renderReport({ headline, rows, strips, notes }) {
  const style = await readFile(new URL('report.css', import.meta.url), 'utf8');
  const entries = rows.flatMap((row, series) => (row.tried.length > 0 ? [{ row, series }] : []));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sigmatune quickstart</title>
<style>
${style}</style>
</head>
<body>
<main>
<h1>sigmatune quickstart</h1>
<p>${escapeHtml(headline)}</p>
<p class="cue">Tables and plots that are wider than the page scroll sideways.</p>

<h2>The task</h2>
<dl class="strips">
<dt>learnt first: upright</dt>
<dd><img src="${strips.upright}" alt="The handwritten digits 0 to 9, upright"></dd>
<dt>then met: rotated</dt>
<dd><img src="${strips.rotated}" alt="The same ten digits, rotated by 45 degrees"></dd>
</dl>

<h2>Result</h2>
${resultTable(rows)}

<h2>Accuracy against trainable parameters</h2>
<figure class="scroll">${parameterPlot(entries)}</figure>

<h2>Training curves</h2>
<figure class="scroll">${curvePlot(entries)}</figure>

<h2>Learning rates</h2>
<p>Accuracy (%) on the held-out split for every rate that was tried; the chosen one is framed.</p>
${ratesTable(entries.map(({ row }) => row))}

<h2>How it was done</h2>
<ul>
${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('\n')}
</ul>
</main>
</body>
</html>
`;
}
