// @ts-check
// The program behind bench/cpu.js and bench/gpu.js: the figures of one device, as Markdown.
import { parseArgs } from 'node:util';
import { cudaStatus, systemInfo, threads } from 'sigmatune';
import { complaints } from './figure.js';
import { describeMachine, refusal } from './machine.js';
import { isRight, report, writeReport } from './report.js';
import { sections } from './sections.js';
import { table } from './table.js';

/** @typedef {import('./report.js').ReportedCase} ReportedCase */

/**
 * [words] [--out report.json] [--seconds 3600] [--dry]: each word is part of a section's name. --out writes the report of a
 * card again after every job, so that a run that is stopped leaves what it had. --dry runs every case once, tiny, checks its
 * errors, and prints no time and writes no report: the only run that a simulated device may have.
 * @param {'cpu' | 'cuda'} device
 */
export async function main(device) {
  const { values: options, positionals: words } = parseArgs({
    options: { out: { type: 'string' }, seconds: { type: 'string' }, dry: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const seconds = Number(options.seconds ?? 3600);
  const own = Object.entries(sections).filter(([, { on = device }]) => on === device);
  const names = own.map(([name]) => name);
  // A word that is a section's whole name means no other.
  const isMeant = (/** @type {string} */ name) =>
    words.length === 0 || words.some((word) => (names.includes(word) ? name === word : name.includes(word)));
  const chosen = own.filter(([name]) => isMeant(name));
  const refused = chosen.length === 0 ? `none of ${names.join(', ')} has ${words.join(' or ')} in its name` : refuse();
  if (refused !== undefined) {
    console.error(refused);
    process.exitCode = 3;
    return;
  }

  const say = (/** @type {string} */ line) => process.stderr.write(`${line}\n`);
  const started = performance.now();
  const end = started + 1000 * seconds;
  /** @type {string[]} */
  const notes = [];
  /** @type {import('./figure.js').Context} */
  const context = {
    device,
    where: { device, cold: device !== 'cpu' && !options.dry },
    dry: options.dry,
    rounds: device === 'cpu' ? 15 : 20,
    left: () => (end - performance.now()) / 1000,
    say: (line) => {
      if (line.startsWith('skipped')) notes.push(line);
      say(line);
    },
  };
  const machine = describeMachine();
  /** @type {ReportedCase[]} */
  const cases = [];
  let unfinished = 0;
  console.log(`${headOf(machine)}${options.dry ? ', dry' : ''}`);
  for (const [section, { title, jobs }] of chosen) {
    const first = cases.length;
    for (const job of jobs(context)) {
      if (context.left() <= 0) {
        unfinished++;
        context.say(`skipped: ${section}: ${job.name}, out of time`);
        continue;
      }
      say(`${section}: ${job.name}`);
      cases.push(...(await outcome(section, job)));
      save();
    }
    if (!options.dry && cases.length > first) console.log(`\n## ${title}\n\n${table(cases.slice(first))}`);
  }
  save();
  const wrong = cases.filter((one) => !isRight(one));
  for (const one of wrong)
    console.error(`WRONG: ${one.section}, ${one.name}: ${one.failure ?? complaints(one).join('; ')}`);
  console.log(
    `\n${cases.length - wrong.length} right, ${wrong.length} wrong${unfinished ? `, ${unfinished} not run` : ''}`,
  );
  process.exitCode = wrong.length > 0 ? 1 : 0;

  function refuse() {
    if (!(seconds > 0)) return `--seconds: expected a number above 0, got '${options.seconds}'`;
    if (device === 'cpu') return options.out === undefined ? undefined : '--out: only a card has a report';
    return options.dry && cudaStatus().available ? undefined : refusal(cudaStatus());
  }

  function save() {
    if (options.dry || options.out === undefined) return;
    const seconds = (performance.now() - started) / 1000;
    const wrong = cases.filter((one) => !isRight(one)).length;
    const detail = `${cases.length} cases, ${wrong} wrong, ${unfinished} jobs not begun in time`;
    const outcome = wrong > 0 ? 'failed' : unfinished > 0 ? 'unfinished' : cases.length === 0 ? 'skipped' : 'passed';
    const parts = { [words.join(' ') || 'bench']: /** @type {const} */ ({ outcome, seconds, detail }) };
    writeReport(options.out, report(machine, { parts, cases, notes }));
  }

  /** One failure takes no other job with it. @param {string} section @param {import('./figure.js').Job} job @returns {Promise<ReportedCase[]>} */
  async function outcome(section, { name, run }) {
    try {
      return (await run()).map((one) => ({ section, ...one }));
    } catch (error) {
      const failure = error instanceof Error ? error.message : String(error);
      say(`  failed: ${failure}`);
      return [{ section, name, failure }];
    }
  }

  /** @param {import('./report.js').Machine} machine */
  function headOf({ card, host, versions }) {
    if (device !== 'cpu') return `${card.name}, ${versions.backend}, Node ${process.version}`;
    const { simd, blas } = /** @type {Record<string, string>} */ (systemInfo());
    return `${host.cpu}, ${threads()} threads, ${simd}, ${blas}, Node ${process.version}, load ${host.load.toFixed(2)}`;
  }
}
