// @ts-check
import { readFileSync } from 'node:fs';
import { runColumns, runRow } from '../record/exports.js';
import { wrongOnes } from '../record/schema.js';
import { escapeText, inline } from './svg.js';

/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {import('./svg.js').Plot} Plot */
/** @typedef {{ title: string, words: string, plots: readonly Plot[] }} Section `words` stand alone where there is no plot */

/** @param {Run} run */
function about({ environment: e, ceilings, created }) {
  const memory = ceilings.copy[ceilings.copy.length - 1].bytesPerSecond;
  const gpu = e.gpu.available ? 'available' : (e.gpu.code ?? 'none');
  const commit = e.commit ? `, commit ${e.commit.slice(0, 10)}${e.commit.endsWith('+') ? ' with changes' : ''}` : '';
  return [
    `${created.slice(0, 16).replace('T', ' ')} UTC${commit}. ${e.cpu}, ${e.processors} processors, ${e.threads} threads, ${e.simd}, ${(e.memoryBytes / 2 ** 30).toFixed(0)} GB, load ${e.load.toFixed(2)}.`,
    `${e.blas}; Node ${e.node}; GPU ${gpu}.`,
    `Measured ceilings: GEMM ${(ceilings.gemm.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s, copy from memory ${(memory / 1e9).toFixed(0)} GB/s.`,
  ].join(' ');
}

/** @param {Run} run */
function wrongLine({ cases }) {
  const wrong = wrongOnes(cases);
  if (wrong.length === 0) return '';
  return `<p class="wrong">Beyond the bound of their error: ${escapeText(wrong.map(({ name }) => name).join('; '))}</p>`;
}

/** @param {Run} run */
function resultTable({ cases }) {
  const head = runColumns.map((title) => `<th scope="col">${escapeText(title)}</th>`).join('');
  const rows = cases.map(
    (each) =>
      `<tr>${runRow(each)
        .map((cell) => `<td>${escapeText(cell)}</td>`)
        .join('')}</tr>`,
  );
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead>\n<tbody>${rows.join('\n')}</tbody></table></div>`;
}

/** @param {Section} section */
function sectionHtml({ title, words, plots }) {
  const figures = plots.map((plot) => `<figure><h3>${escapeText(plot.title)}</h3>${inline(plot)}</figure>`);
  const grid = figures.length > 1 ? `<div class="pair">${figures.join('\n')}</div>` : figures.join('');
  return `<h2>${escapeText(title)}</h2>\n<p class="${plots.length > 0 ? 'about' : 'none'}">${escapeText(words)}</p>\n${grid}`;
}

/** One HTML file that needs nothing else, from no network. @param {Run} run @param {readonly Section[]} sections */
export function renderPage(run, sections) {
  const style = readFileSync(new URL('style.css', import.meta.url), 'utf8');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sigmatune benchmarks</title>
<style>
${style}</style>
</head>
<body>
<main>
<h1>sigmatune ${escapeText(run.environment.sigmatune)} benchmarks</h1>
<p class="about">${escapeText(about(run))}</p>
${wrongLine(run)}
${sections.map(sectionHtml).join('\n')}
<h2>All cases</h2>
${resultTable(run)}
</main>
</body>
</html>
`;
}
