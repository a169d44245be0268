// @ts-check
import { fileURLToPath } from 'node:url';
import { select } from '../cases/table.js';
import { blockMeasurer } from '../gate/blocks.js';
import { placeBuild } from '../gate/builds.js';
import { defaults, exitCode, overall, runGate } from '../gate/gate.js';
import { compareCounts, countsTable, countsVerdict } from '../gate/instructions.js';
import { gateRecord, gateTable, summary } from '../gate/tell.js';
import { Session } from '../measure/session.js';
import { writeWhole } from '../record/files.js';
import { startProgress } from '../record/progress.js';
import { UsageError } from '../usage.js';
import { readArguments, readInteger, readPositive } from './options.js';

/** @typedef {import('../gate/builds.js').PlacedBuild} PlacedBuild */

export const help = `sigmatune bench gate --base BUILD [--head BUILD] [words] [options]
  is the head slower than the base? A BUILD is a folder, or a git revision, which it builds itself; the head is
  the folder that this program lies in, unless told otherwise
  --tolerance P      a head up to P per cent slower passes (10; of instructions 2)
  --all              every case, not only the short ones
  --blocks N         fresh processes a side and round, 10 at least (10)
  --rounds N         at most so many rounds (4)
  --seconds S        begins no round after S seconds
  --threads N        threads of the package (1)
  --seed N           of orders and intervals (1)
  --out FILE         keeps all measurements as JSON
  --instructions     compares counts of instructions under callgrind, not times
  Ends with 0 pass, 1 regression, 2 inconclusive or noisy, 3 usage.`;

const here = fileURLToPath(new URL('../..', import.meta.url));

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, {
    base: { type: 'string' },
    head: { type: 'string' },
    tolerance: { type: 'string' },
    all: { type: 'boolean', default: false },
    blocks: { type: 'string', default: String(defaults.blocks) },
    rounds: { type: 'string', default: String(defaults.rounds) },
    seconds: { type: 'string' },
    threads: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(defaults.seed) },
    out: { type: 'string' },
    instructions: { type: 'boolean', default: false },
  });
  if (values.base === undefined) throw new UsageError('gate: --base is missing: a folder or a git revision');
  // Everything that may be wrong is, before half a minute goes into a build.
  const settings = {
    tolerance: readPositive('tolerance', values.tolerance ?? (values.instructions ? '2' : '10')) / 100,
    blocks: readInteger('blocks', values.blocks, { least: 10 }),
    rounds: readInteger('rounds', values.rounds, { least: 2 }),
    seconds: values.seconds === undefined ? Number.POSITIVE_INFINITY : readPositive('seconds', values.seconds),
    seed: readInteger('seed', values.seed, { most: 2 ** 31 }),
  };
  const threads = readInteger('threads', values.threads);
  const chosen = { short: !values.all && positionals.length === 0 };
  const cases = select(positionals, chosen);

  /** @type {PlacedBuild[]} */
  const builds = [];
  const removeAll = () => {
    for (const build of builds.splice(0)) build.remove();
  };
  const stopped = () => {
    removeAll();
    process.exit(3);
  };
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.once(signal, stopped);
  try {
    for (const name of [values.base, values.head ?? here]) builds.push(placed(name));
    const [base, head] = builds;
    if (values.instructions) return await gateInstructions(positionals, base, head, settings.tolerance);
    return await gateTimes(cases, base, head, { settings, threads, out: values.out });
  } finally {
    removeAll();
  }
}

/** @param {string} name */
function placed(name) {
  console.error(`build: ${name} ...`);
  return placeBuild(name);
}

/**
 * @param {readonly import('../cases/case.js').Case[]} cases @param {PlacedBuild} base @param {PlacedBuild} head
 * @param {{ settings: import('../gate/gate.js').Settings, threads: number, out: string | undefined }} options
 */
async function gateTimes(cases, base, head, { settings, threads, out }) {
  const build = (/** @type {PlacedBuild} */ { folder }) => ({ folder, threads });
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
  const results = await runGate(cases, measure, settings);
  progress.done();
  if (results.every(({ verdict }) => verdict === 'not compared')) {
    throw new UsageError(`the base can run none of these cases: ${results[0].note}`);
  }
  const verdict = overall(results);
  console.log(gateTable(results));
  console.log(`\n${summary(results, verdict, { base: base.label, head: head.label, ...settings })}`);
  if (out !== undefined) {
    writeWhole(out, `${JSON.stringify(gateRecord(results, verdict, { base, head }, settings, environments))}\n`);
  }
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

/** @param {readonly string[]} words @param {PlacedBuild} base @param {PlacedBuild} head @param {number} tolerance */
async function gateInstructions(words, base, head, tolerance) {
  const counts = await compareCounts(words, base.folder, head.folder);
  if (counts === undefined) {
    console.log('skipped: valgrind is not installed, so no instructions can be counted');
    return 0;
  }
  console.log(countsTable(counts, tolerance));
  const verdict = countsVerdict(counts, tolerance);
  console.log(`\n${verdict}: instructions of ${head.label} over ${base.label}, tolerance ${100 * tolerance} %`);
  return exitCode(verdict);
}
