#!/usr/bin/env node
// @ts-check
// The benchmarks of a CUDA card: node bench/gpu.js [words] [--out report.json] [--seconds 400] [--dry], each word part of
// a section's name. Prints Markdown; --out takes the report, written anew after every case, so that a run that is stopped
// leaves what it had. A simulated device is refused (exit 3), but for --dry: every case once, tiny, its errors looked at,
// no time printed and no report written.
import { parseArgs } from 'node:util';
import { cudaStatus } from 'sigmatune';
import * as adapters from './gpu/adapters.js';
import { complaints } from './gpu/case.js';
import * as copies from './gpu/copies.js';
import * as gemm from './gpu/gemm.js';
import { describeMachine, refusal } from './gpu/machine.js';
import * as memory from './gpu/memory.js';
import * as model from './gpu/model.js';
import * as optimizer from './gpu/optimizer.js';
import * as repeat from './gpu/repeat.js';
import { isRight, report, writeReport } from './gpu/report.js';
import * as sparse from './gpu/sparse.js';
import * as svd from './gpu/svd.js';
import { table } from './gpu/table.js';
import * as torch from './gpu/torch.js';

/** @type {Record<string, { title: string, jobs: (context: import('./gpu/case.js').Context) => Iterable<import('./gpu/case.js').Job> }>} */
const sections = {
  copies,
  gemm,
  sparse,
  optimizer,
  adapters,
  repeat,
  memory,
  torch,
  svd,
  'torch-svd': { title: 'SVD beside PyTorch', jobs: torch.svdJobs },
  model,
};

const { values: options, positionals: words } = parseArgs({
  options: { out: { type: 'string' }, seconds: { type: 'string' }, dry: { type: 'boolean', default: false } },
  allowPositionals: true,
});
// A word that is a section's whole name means no other.
const chosen = Object.entries(sections).filter(
  ([name]) => words.length === 0 || words.some((word) => (word in sections ? name === word : name.includes(word))),
);
const refused =
  chosen.length === 0
    ? `none of ${Object.keys(sections).join(', ')} has ${words.join(' or ')} in its name`
    : options.dry && cudaStatus().available
      ? undefined
      : refusal(cudaStatus());
if (refused !== undefined) {
  console.error(refused);
  process.exit(3);
}

const say = (/** @type {string} */ line) => process.stderr.write(`${line}\n`);
const end = performance.now() + 1000 * Number(options.seconds ?? 3600);
const left = () => (end - performance.now()) / 1000;
/** @type {string[]} */
const notes = [];
const context = {
  device: /** @type {const} */ ('cuda'),
  dry: options.dry,
  rounds: 20,
  left,
  say: (/** @type {string} */ line) => {
    if (line.startsWith('skipped')) notes.push(line);
    say(line);
  },
};

const started = performance.now();
/** @type {import('./gpu/report.js').ReportedCase[]} */
const cases = [];
let unfinished = 0;

function save() {
  if (options.dry || options.out === undefined) return;
  const seconds = (performance.now() - started) / 1000;
  const wrong = cases.filter((one) => !isRight(one)).length;
  const detail = `${cases.length} cases, ${wrong} wrong, ${unfinished} jobs not begun in time`;
  const outcome = wrong > 0 ? 'failed' : unfinished > 0 ? 'unfinished' : cases.length === 0 ? 'skipped' : 'passed';
  writeReport(
    options.out,
    report(machine, { parts: { [words.join(' ') || 'bench']: { outcome, seconds, detail } }, cases, notes }),
  );
}

/** @param {import('./gpu/case.js').Job} job @returns {Promise<readonly import('./gpu/case.js').Case[]>} */
async function casesOf(job) {
  const made = await job.run();
  return Array.isArray(made) ? made : [/** @type {import('./gpu/case.js').Case} */ (made)];
}

const machine = describeMachine();
console.log(`${machine.card.name}, ${machine.versions.backend}, Node ${process.version}${options.dry ? ', dry' : ''}`);
for (const [section, { title, jobs }] of chosen) {
  const first = cases.length;
  for (const job of jobs(context)) {
    if (left() <= 0) {
      unfinished++;
      context.say(`skipped: ${section}: ${job.name}, out of time`);
      continue;
    }
    say(`${section}: ${job.name}`);
    try {
      for (const one of await casesOf(job)) cases.push({ section, ...one });
    } catch (error) {
      // One failure takes no other case with it.
      const failure = error instanceof Error ? error.message : String(error);
      cases.push({ section, name: job.name, failure });
      say(`  failed: ${failure}`);
    }
    save();
  }
  if (!options.dry) console.log(`\n## ${title}\n\n${table(cases.slice(first)).join('\n')}`);
}
save();
const wrong = cases.filter((one) => !isRight(one));
for (const one of wrong)
  console.error(`WRONG: ${one.section}, ${one.name}: ${one.failure ?? complaints(one).join('; ')}`);
console.log(
  `\n${cases.length - wrong.length} right, ${wrong.length} wrong${unfinished ? `, ${unfinished} not run` : ''}`,
);
process.exitCode = wrong.length > 0 ? 1 : 0;
