// @ts-check
import { select } from '../cases/table.js';
import { leastTime } from '../measure/ceilings.js';
import { Broken, Session } from '../measure/session.js';
import { most } from '../record/checks.js';
import { markdown } from '../record/exports.js';
import { checkOutput, writeWhole } from '../record/files.js';
import { startProgress } from '../record/progress.js';
import { rerunCommand } from '../record/rerun.js';
import { schemaName, schemaVersion, wrongOnes } from '../record/schema.js';
import { least, median, quantiles } from '../stats/quantile.js';
import { UsageError } from '../usage.js';
import { readArguments, readInteger, readPositive } from './options.js';
import { print, warn } from './output.js';

/** @typedef {import('../cases/case.js').Case} Case */
/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {{ error: number, processes: number[][] }} Measured */

export const help = `sigmatune bench run [words] [options]
  measures the cases whose names have all of the words, and prints a table
  --list             prints the names of the cases, and measures nothing
  --short            only the cases of the short gate
  --case NAME        this case, by its whole name; several times for several cases
  --processes N      fresh processes, one after the other (5)
  --milliseconds N   spent on a case in each process (50)
  --threads N        threads of the package (as many as there are processors)
  --out FILE         keeps the run as JSON
  Ends with 0; with 1 if a result is further from its float64 reference than it may be; 3 usage.`;

/** The number of samples that are kept for each process, in their order. Quantiles are of all samples. */
const keptSamples = 50;

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, {
    list: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    case: { type: 'string', multiple: true },
    processes: { type: 'string', default: '5' },
    milliseconds: { type: 'string', default: '50' },
    threads: { type: 'string', default: '0' },
    out: { type: 'string' },
  });
  if (values.out !== undefined) checkOutput(values.out);
  const cases = select(positionals, { short: values.short, names: values.case ?? [] });
  if (values.list) {
    print(cases.map(({ name }) => name).join('\n'));
    return 0;
  }
  const run = await measureRun(cases, {
    processes: readInteger('processes', values.processes, { least: 1, most: most.processes }),
    milliseconds: readPositive('milliseconds', values.milliseconds),
    threads: readInteger('threads', values.threads),
  });
  print(markdown(run));
  if (values.out !== undefined) {
    writeWhole(values.out, `${JSON.stringify(run, sixDigits)}\n`);
    warn(`kept in ${values.out}`);
  }
  const wrong = wrongOnes(run.cases);
  for (const { name, error, bound } of wrong) warn(`WRONG: ${name}: error ${error} beyond ${bound}`);
  if (wrong.length > 0) {
    const names = wrong.map(({ name }) => name);
    warn(`these cases alone again: ${rerunCommand('run', names, { threads: run.environment.threads })}`);
  }
  return wrong.length > 0 ? 1 : 0;
}

/**
 * @param {readonly Case[]} cases @param {{ processes: number, milliseconds: number, threads: number }} options
 * @returns {Promise<Run>}
 */
export async function measureRun(cases, { processes, milliseconds, threads }) {
  const created = new Date().toISOString();
  const progress = startProgress(processes * cases.length);
  const found = new Map(cases.map(({ name }) => [name, /** @type {Measured} */ ({ error: 0, processes: [] })]));
  const ceilings = [];
  let environment;
  for (let i = 0; i < processes; i++) {
    const session = await Session.open({ folder: null, threads });
    try {
      environment ??= await session.ask('environment');
      // At both ends of the run: a ceiling is the best that was seen.
      if (i === 0 || i === processes - 1) ceilings.push(await session.ask('ceilings'));
      for (const [j, { name }] of cases.entries()) {
        progress.at(i * cases.length + j, name);
        await measureCase(session, name, milliseconds, /** @type {Measured} */ (found.get(name)));
      }
    } finally {
      session.close();
    }
  }
  progress.done();
  const best = highest(ceilings);
  return {
    schema: schemaName,
    version: schemaVersion,
    created,
    environment: /** @type {Run['environment']} */ (environment),
    ceilings: best,
    cases: cases.map((each) => record(each, /** @type {Measured} */ (found.get(each.name)), best)),
  };
}

/** For JSON: digits beyond the clock's would be half of a file. @param {string} _ @param {unknown} value */
function sixDigits(_, value) {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
}

/** @param {Session} session @param {string} name @param {number} milliseconds @param {Measured} into */
async function measureCase(session, name, milliseconds, into) {
  try {
    await session.ask('prepare', name);
    into.error = Math.max(into.error, (await session.ask('error')) ?? Number.POSITIVE_INFINITY);
    await session.ask('calibrate');
    into.processes.push(await session.ask('turn', milliseconds));
    await session.ask('dispose');
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    throw new UsageError(`${name} does not run: ${error.message}`);
  }
}

/** @param {readonly import('../measure/ceilings.js').Ceilings[]} list @returns {import('../measure/ceilings.js').Ceilings} */
function highest(list) {
  return {
    gemm: { flopsPerSecond: Math.max(...list.map(({ gemm }) => gemm.flopsPerSecond)) },
    copy: list[0].copy.map(({ bytes }, i) => ({
      bytes,
      bytesPerSecond: Math.max(...list.map(({ copy }) => copy[i].bytesPerSecond)),
    })),
  };
}

/** @param {Case} given @param {Measured} measured @param {Run['ceilings']} ceilings @returns {Run['cases'][number]} */
function record({ name, suite, panel, series, size, parameters, flops, bytes, bound }, { error, processes }, ceilings) {
  const minima = processes.map(least);
  const possible = leastTime(ceilings, { flops, bytes });
  return {
    name,
    suite,
    panel,
    series,
    size,
    parameters,
    unit: 'ms',
    flops,
    bytes,
    least: possible,
    share: possible / median(minima),
    error,
    bound,
    processes: processes.map((samples) => ({ ...quantiles(samples), samples: samples.slice(0, keptSamples) })),
    minima: quantiles(minima),
  };
}
