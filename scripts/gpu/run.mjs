#!/usr/bin/env node
// All of it on a card: node scripts/gpu/run.mjs [--out folder] [--stages suite,bench] [--seconds 450] [--words svd] [--dry].
// `--words` takes some test files only. A folder that has a report of the same card and sources is added to. Exit codes:
// 0 all is well, 1 something failed, 2 the command is wrong, 3 there is no card.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cudaStatus } from 'sigmatune';
import { describeMachine, refusal } from '../../bench/figures/machine.js';
import { faults } from '../../bench/figures/report.js';
import { markdown } from '../../bench/figures/table.js';
import { runStages, stageNames } from './stages.mjs';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'build-gpu' },
    stages: { type: 'string', default: stageNames.join() },
    seconds: { type: 'string', default: '450' },
    words: { type: 'string', default: '' },
    dry: { type: 'boolean', default: false },
  },
});

const say = (line) => process.stderr.write(`${line}\n`);
const list = (text) => text.split(',').filter(Boolean);
const stages = list(values.stages);
const unknown = stages.filter((name) => !stageNames.includes(name));
const status = cudaStatus();
const refused = values.dry && status.available ? undefined : refusal(status);

if (unknown.length > 0 || !(Number(values.seconds) > 0)) {
  say(`there is no stage ${unknown.join(' or ')}; they are ${stageNames.join(', ')}, and --seconds is a number`);
  process.exitCode = 2;
} else if (refused !== undefined) {
  say(`${refused}\n${(status.searched ?? []).map((line) => `  ${line}\n`).join('')}`);
  process.exitCode = 3;
} else {
  const out = resolve(values.out);
  const machine = describeMachine();
  const run = { out, stages, seconds: Number(values.seconds), dry: values.dry, words: list(values.words), say };
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const made = await runStages({ ...run, root, machine, before: earlier(out, machine) });
  if (values.dry)
    for (const [name, part] of Object.entries(made.parts)) console.log(`${name}: ${part.outcome}, ${part.detail}`);
  else console.log(`${markdown(made)}\n${join(out, 'report.json')}`);
  const bad = stages.filter((name) => ['failed', 'unfinished'].includes(made.parts[name]?.outcome));
  process.exitCode = bad.length > 0 ? 1 : 0;
}

/** The report that is there already, where it is of this card and these sources. */
function earlier(out, machine) {
  try {
    const found = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8'));
    const same = found.machine.commit.id === machine.commit.id && found.machine.card.name === machine.card.name;
    return same && faults(found).length === 0 ? found : undefined;
  } catch {
    return undefined;
  }
}
