// What is run on a card, in stages that can be chosen and have an end in time. After each the report is whole on the disk:
// what fails later takes nothing of it away.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { report, writeReport } from '../../bench/figures/report.js';
import { markdown } from '../../bench/figures/table.js';
import { ending, runLogged } from './process.mjs';
import { runSanitizer } from './sanitizer.mjs';
import { runSuite } from './suite.mjs';

/** The sections of bench/gpu.js that each stage of benchmarks takes. */
const benchmarks = {
  bench: ['copies', 'gemm', 'sparse', 'optimizer', 'adapters', 'repeat', 'memory'],
  torch: ['torch'],
  svd: ['svd', 'torch-svd'],
  model: ['model'],
};

export const stageNames = ['suite', ...Object.keys(benchmarks), 'sanitizer'];

/**
 * Runs the stages one after the other and returns the report.
 * @param {{ root: string, out: string, stages: string[], seconds: number, dry: boolean, words: string[], machine: object,
 *   before?: object, say: (line: string) => void }} run `before` is a report that this one goes on with
 */
export async function runStages(run) {
  mkdirSync(run.out, { recursive: true });
  let made = run.before ?? report(run.machine);
  for (const stage of run.stages) {
    run.say(`stage ${stage}, ${run.seconds} s at most`);
    try {
      made = await stageOf(stage)(run, made, stage);
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      made = withPart(made, stage, { outcome: 'failed', seconds: 0, detail });
    }
    for (const [name, { outcome, detail }] of Object.entries(made.parts)) {
      if (name === stage) run.say(`stage ${stage}: ${outcome}, ${detail}`);
    }
    save(run, made);
  }
  return made;
}

const stageOf = (stage) => ({ suite, sanitizer })[stage] ?? benchmark;

const withPart = (made, name, part) => ({ ...made, parts: { ...made.parts, [name]: part } });

/** A rehearsal on a device that the host plays leaves its logs, and no report. */
function save({ out, dry }, made) {
  if (dry) return;
  writeReport(join(out, 'report.json'), made);
  writeFileSync(join(out, 'report.md'), markdown(made));
}

async function suite({ root, out, seconds, words, say }, made) {
  const start = performance.now();
  const atOnce = Math.max(1, Math.min(4, availableParallelism() >> 1));
  const found = await runSuite({ root, folder: join(out, 'suite'), seconds, words, atOnce, say });
  const { late, ...counts } = found;
  const outcome = counts.failed > 0 || counts.passed === 0 ? 'failed' : late.length > 0 ? 'unfinished' : 'passed';
  const detail = `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${counts.files.length} files`;
  const notes = late.map((name) => `out of time before ${name}`);
  return {
    ...withPart(made, 'suite', { outcome, seconds: (performance.now() - start) / 1000, detail }),
    suite: { ...counts, leftOut: leftOut(root) },
    notes: [...made.notes, ...notes],
  };
}

/** Which tests a bundle has not, and why. */
function leftOut(root) {
  try {
    return JSON.parse(readFileSync(join(root, 'test', 'left-out.json'), 'utf8'));
  } catch {
    return []; // a repository has all of them
  }
}

async function benchmark({ root, out, seconds, dry, words }, made, stage) {
  const file = join(out, `${stage}.json`);
  const args = [join('bench', 'gpu.js'), ...benchmarks[stage]];
  // It stops by itself before it is stopped, so that what it has said is whole.
  const own = dry ? ['--dry'] : ['--out', file, '--seconds', String(Math.max(1, Math.floor(0.85 * seconds)))];
  const ended = await runLogged(process.execPath, [...args, ...own], {
    cwd: root,
    log: join(out, `${stage}.log`),
    seconds,
    echo: words.length === 0 && !dry,
  });
  const how = ending(ended);
  if (dry) {
    const detail = [/^\d+ right, \d+ wrong.*$/m.exec(ended.output)?.[0], how].filter(Boolean).join('; ');
    return withPart(made, stage, { outcome: how === '' ? 'passed' : 'failed', seconds: ended.seconds, detail });
  }
  const { parts, cases, notes } = JSON.parse(readFileSync(file, 'utf8'));
  const [part] = Object.values(parts);
  const bad = how !== '' && part.outcome === 'passed';
  return {
    ...withPart(made, stage, {
      outcome: bad ? (ended.late ? 'unfinished' : 'failed') : part.outcome,
      seconds: ended.seconds,
      detail: [part.detail, how].filter(Boolean).join('; '),
    }),
    cases: [...made.cases.filter(({ section }) => !benchmarks[stage].includes(section)), ...cases],
    notes: [...made.notes, ...notes],
  };
}

async function sanitizer({ root, out, seconds, say }, made) {
  const results = await runSanitizer({ root, folder: out, seconds, say });
  const outcomes = results.map(({ outcome }) => outcome);
  const outcome = ['failed', 'unfinished', 'skipped'].find((each) => outcomes.includes(each)) ?? 'passed';
  const total = results.reduce((sum, { seconds }) => sum + seconds, 0);
  const detail = results.map((each) => `${each.name}: ${each.detail}`).join('; ');
  return withPart(made, 'sanitizer', { outcome, seconds: total, detail });
}
