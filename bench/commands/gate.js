// @ts-check
import { fileURLToPath } from 'node:url';
import { select } from '../cases/table.js';
import { blockMeasurer } from '../gate/blocks.js';
import { placeBuild } from '../gate/builds.js';
import { casesOf, droppedCases } from '../gate/dropped.js';
import { defaults, exitCode, overall, runGate } from '../gate/gate.js';
import { compareCounts, countsTable, countsVerdict } from '../gate/instructions.js';
import { failed, gateRecord, gateTable, rerunGate, summary } from '../gate/tell.js';
import { Session } from '../measure/session.js';
import { most } from '../record/checks.js';
import { checkOutput, writeWhole } from '../record/files.js';
import { startProgress } from '../record/progress.js';
import { escapeMarkdown } from '../record/text.js';
import { UsageError } from '../usage.js';
import { readArguments, readInteger, readPositive } from './options.js';
import { print, warn } from './output.js';

/** @typedef {import('../gate/builds.js').PlacedBuild} PlacedBuild */

export const help = `sigmatune bench gate --base BUILD [--head BUILD] [words] [options]
  is the head slower than the base? A BUILD is a folder, or a git revision, which it builds itself; the head is
  the folder that this program lies in, unless told otherwise
  --tolerance P      a head up to P per cent slower passes (10; of instructions 2)
  --all              every case, not only the short ones
  --case NAME        this case, by its whole name; several times for several cases
  --blocks N         fresh processes a side and round, 10 at least (10)
  --rounds N         at most N rounds (4)
  --seconds S        begins no round after S seconds
  --threads N        threads of the package (1); cases of "all threads" use all of them
  --seed N           of orders and intervals (1)
  --out FILE         keeps all measurements as JSON
  --instructions     compares counts of instructions under callgrind, not times
  Ends with 0 pass, 1 regression, 2 inconclusive or noisy, 3 usage, 130 or 143 stopped by a signal.`;

const here = fileURLToPath(new URL('../..', import.meta.url));

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, {
    base: { type: 'string' },
    head: { type: 'string' },
    tolerance: { type: 'string' },
    all: { type: 'boolean', default: false },
    case: { type: 'string', multiple: true },
    blocks: { type: 'string', default: String(defaults.blocks) },
    rounds: { type: 'string', default: String(defaults.rounds) },
    seconds: { type: 'string' },
    threads: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(defaults.seed) },
    out: { type: 'string' },
    instructions: { type: 'boolean', default: false },
  });
  if (values.base === undefined) throw new UsageError('gate: --base is missing: a folder or a git revision');
  if (values.out !== undefined && values.instructions) {
    throw new UsageError('gate: --out keeps times: leave it out with --instructions');
  }
  // Everything that may be wrong is checked before half a minute goes into a build.
  const settings = {
    tolerance: readPositive('tolerance', values.tolerance ?? (values.instructions ? '2' : '10')) / 100,
    blocks: readInteger('blocks', values.blocks, { least: 10, most: most.blocks }),
    rounds: readInteger('rounds', values.rounds, { least: 2, most: most.rounds }),
    seconds: values.seconds === undefined ? Number.POSITIVE_INFINITY : readPositive('seconds', values.seconds),
    seed: readInteger('seed', values.seed),
    threads: readInteger('threads', values.threads),
  };
  if (values.out !== undefined) checkOutput(values.out);
  const names = values.case ?? [];
  const short = !values.all && positionals.length === 0;
  const cases = select(positionals, { short, names });

  /** @type {PlacedBuild[]} */
  const builds = [];
  const removeAll = () => {
    for (const build of builds.splice(0)) build.remove();
  };
  for (const [signal, code] of /** @type {const} */ ([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])) {
    process.once(signal, () => {
      removeAll();
      process.exit(code);
    });
  }
  try {
    for (const name of [values.base, values.head ?? here]) builds.push(placed(name));
    const [base, head] = builds;
    if (values.instructions) {
      const named = names.length > 0 || positionals.length > 0;
      return await gateInstructions(named ? cases.map(({ name }) => name) : undefined, base, head, settings.tolerance);
    }
    // Who names the cases does not ask for others.
    const ofBase = names.length > 0 ? [] : casesOf(base.folder, positionals, { short });
    const given = { base: values.base, ...(values.head !== undefined && { head: values.head }) };
    return await gateTimes(cases, { base, head }, { settings, ofBase, given, out: values.out });
  } finally {
    removeAll();
  }
}

/** @param {string} name */
function placed(name) {
  warn(`build: ${name} ...`);
  return placeBuild(name);
}

/**
 * @param {readonly import('../cases/case.js').Case[]} cases @param {{ base: PlacedBuild, head: PlacedBuild }} builds
 * @param {object} options
 * @param {import('../gate/gate.js').Settings & { threads: number }} options.settings
 * @param {readonly string[] | undefined} options.ofBase the base's cases
 * @param {{ base: string, head?: string }} options.given what the command line called the builds
 * @param {string | undefined} options.out
 */
async function gateTimes(cases, { base, head }, { settings, ofBase, given, out }) {
  const build = (/** @type {PlacedBuild} */ { folder }) => ({ folder, threads: settings.threads });
  const environments = { base: await environment(build(base)), head: await environment(build(head)) };
  let progress = startProgress(settings.blocks * cases.length);
  let round = 0;
  const tell = (
    /** @type {number} */ block,
    /** @type {string} */ name,
    /** @type {number} */ i,
    /** @type {number} */ of,
  ) => {
    if (Math.floor(block / settings.blocks) !== round) {
      round = Math.floor(block / settings.blocks);
      progress.done();
      progress = startProgress(settings.blocks * of);
    }
    progress.at((block % settings.blocks) * of + i, `round ${round + 1}: ${name}`);
  };
  const measure = blockMeasurer({ base: build(base), head: build(head) }, settings.seed, tell);
  const measured = await runGate(cases, measure, settings);
  progress.done();
  if (measured.every(({ verdict }) => verdict === 'not compared')) {
    throw new UsageError(`the base can run none of these cases: ${measured[0].note}`);
  }
  const results = [...measured, ...droppedCases(ofBase ?? [], measured)];
  const verdict = overall(results);
  const record = gateRecord(results, verdict, { base, head }, given, settings, environments);
  print(summary(results, verdict, { base: base.label, head: head.label, tolerance: settings.tolerance }));
  if (!ofBase) print('The base has no program that lists its cases: whether it has others is not known.');
  const failures = results.filter(failed);
  if (failures.length > 0) print(`\nThese cases alone again:\n\n    ${rerunGate(record, failures)}`);
  print(`\n${gateTable(results)}`);
  if (out !== undefined) writeWhole(out, `${JSON.stringify(record)}\n`);
  return exitCode(verdict);
}

/** @param {import('../measure/tasks.js').Build} build */
async function environment(build) {
  const session = await Session.open(build);
  try {
    return await session.ask('environment');
  } finally {
    session.close();
  }
}

/** @param {readonly string[] | undefined} names @param {PlacedBuild} base @param {PlacedBuild} head @param {number} tolerance */
async function gateInstructions(names, base, head, tolerance) {
  const counts = await compareCounts(names, base.folder, head.folder);
  if (counts === undefined) {
    print('skipped: valgrind is not installed, so no instructions can be counted');
    return 0;
  }
  const verdict = countsVerdict(counts, tolerance);
  const about = `instructions of ${head.label} over ${base.label}, tolerance ${100 * tolerance} %`;
  print(`${verdict}: ${escapeMarkdown(about)}\n\n${countsTable(counts, tolerance)}`);
  return exitCode(verdict);
}
