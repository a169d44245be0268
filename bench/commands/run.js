// @ts-check
import { select } from '../cases/table.js';
import { leastTime } from '../measure/ceilings.js';
import { Broken, Session } from '../measure/session.js';
import { markdown } from '../record/exports.js';
import { writeWhole } from '../record/files.js';
import { startProgress } from '../record/progress.js';
import { schemaName, schemaVersion, wrongOnes } from '../record/schema.js';
import { median, quantiles } from '../stats/quantile.js';
import { UsageError } from '../usage.js';
import { readArguments, readInteger, readPositive } from './options.js';

/** @typedef {import('../cases/case.js').Case} Case */
/** @typedef {import('../record/schema.js').Run} Run */
/** @typedef {{ error: number, processes: number[][] }} Measured */

export const help = `sigmatune bench run [words] [options]
  measures the cases whose names have all of the words, and prints a table
  --list             prints the names of the cases, and measures nothing
  --short            only the cases of the short gate
  --processes N      fresh processes, one after the other (5)
  --milliseconds N   spent on a case in each process (50)
  --threads N        threads of the package (as many as there are processors)
  --out FILE         keeps the run as JSON
  Ends with 1 where a result is further from its float64 reference than it may be.`;

/** So many samples of a process are kept, in the order they were taken; quantiles are of all. */
const keptSamples = 50;

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, {
    list: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    processes: { type: 'string', default: '5' },
    milliseconds: { type: 'string', default: '50' },
    threads: { type: 'string', default: '0' },
    out: { type: 'string' },
  });
  const cases = select(positionals, { short: values.short });
  if (values.list) {
    console.log(cases.map(({ name }) => name).join('\n'));
    return 0;
  }
  const run = await measureRun(cases, {
    processes: readInteger('processes', values.processes, { least: 1 }),
    milliseconds: readPositive('milliseconds', values.milliseconds),
    threads: readInteger('threads', values.threads),
  });
  console.log(markdown(run));
  if (values.out !== undefined) {
    writeWhole(values.out, `${JSON.stringify(run, sixDigits)}\n`);
    console.error(`kept in ${values.out}`);
  }
  const wrong = wrongOnes(run.cases);
  for (const { name, error, bound } of wrong) console.error(`WRONG: ${name}: error ${error} beyond ${bound}`);
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
  const minima = processes.map((samples) => Math.min(...samples));
  const least = leastTime(ceilings, { flops, bytes });
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
    least,
    share: least / median(minima),
    error,
    bound,
    processes: processes.map((samples) => ({ ...quantiles(samples), samples: samples.slice(0, keptSamples) })),
    minima: quantiles(minima),
  };
}
