#!/usr/bin/env node
// One report of several, of one card and the same sources, as runs of some stages each leave them:
// node scripts/gpu/merge.mjs merged.json one.json other.json
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { faults, writeReport } from '../../bench/figures/report.js';

/** Later parts and sections take the place of earlier ones; the machine is described as at first. */
export function merged(reports) {
  return reports.reduce(joined);
}

function joined(sum, each) {
  const [a, b] = [sum, each].map(({ machine }) => `${machine.card.name}, ${machine.commit.id}`);
  if (a !== b) throw new Error(`these are not of one card and the same sources: ${a} and ${b}`);
  const sections = new Set(each.cases.map(({ section }) => section));
  return {
    schema: sum.schema,
    version: sum.version,
    machine: sum.machine,
    parts: { ...sum.parts, ...each.parts },
    suite: each.suite ?? sum.suite,
    cases: [...sum.cases.filter(({ section }) => !sections.has(section)), ...each.cases],
    notes: [...new Set([...sum.notes, ...each.notes])],
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [to, ...from] = process.argv.slice(2);
  const reports = from.map((path) => JSON.parse(readFileSync(path, 'utf8')));
  for (const [i, each] of reports.entries()) {
    const wrong = faults(each);
    if (wrong.length > 0) throw new Error(`${from[i]}: ${wrong.join('; ')}`);
  }
  writeReport(to, merged(reports));
}
