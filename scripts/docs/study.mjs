// The generated parts of docs/study.md, between marks: tables of results and of the papers' claims.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { methods } from '../../examples/study/methods.js';
import { settings } from '../../examples/study/settings.js';
import { root } from '../setup/run.mjs';
import { difference, estimate, mean, rankCorrelation, readCost, readRuns, reported } from './study-records.mjs';

const row = (cells) => `| ${cells.join(' | ')} |`;
const table = (head, rows) => [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');
const thousands = (number) => number.toLocaleString('en-US');
const percent = (value) => (100 * value).toFixed(1);
const ranged = ({ centre, half }) => (Number.isNaN(half) ? percent(centre) : `${percent(centre)} ± ${percent(half)}`);
const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(100 * value).toFixed(1)}`;
/** A difference with its interval, in percentage points. */
const points = ({ centre, half }) => signed(centre) + (Number.isNaN(half) ? '' : ` ± ${percent(half)}`);

const titles = { reviews: 'Reviews', mail: 'Mail' };

/** The page with its generated parts brought up to date. */
export async function studyPage() {
  const text = await readFile(join(root, 'docs/study.md'), 'utf8');
  const runs = readRuns();
  const cost = { times: readCost('times'), memory: readCost('memory') };
  const parts = {
    state: () => state(runs),
    results: () => results(runs),
    claims: () => claims(runs, cost),
    storage: () => storage(runs),
    cost: () => costs(cost),
  };
  return text.replaceAll(
    /(<!-- study: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, begin, name, end) => `${begin}\n${parts[name]()}\n\n${end}`,
  );
}

/** Which part of the study has run. */
function state(runs) {
  const total = settings.tasks.length * methods.length * settings.seeds.length;
  const done = runs.filter(({ judge }) => judge === 'test').length;
  if (done === total) return `All ${total} reported runs are in the tables.`;
  const missing = settings.tasks.map((task) => {
    const open = methods
      .map(({ name }) => ({ name, seeds: reported(runs, task, name).size }))
      .filter(({ seeds }) => seeds < settings.seeds.length)
      .map(({ name, seeds }) => (seeds === 0 ? name : `${name} (has ${seeds} of ${settings.seeds.length} seeds)`));
    if (open.length === 0) return undefined;
    return `on ${task} ${open.length === methods.length ? 'everything' : open.join('; ')}`;
  });
  const list = missing.filter((each) => each !== undefined).join('. Missing ');
  return `**The study is not finished**: ${done} of ${total} reported runs are in the tables. \`npm run study\` goes on where it stopped, and \`npm run docs\` writes what it found into this page. Missing ${list}.`;
}

function results(runs) {
  return settings.tasks
    .map((task) => {
      const rows = methods.flatMap(({ name }) => {
        const found = [...reported(runs, task, name).values()];
        if (found.length === 0) return [];
        const of = (measure) => estimate(found.map((run) => run[measure]));
        const trained = found[0].parameters;
        return [
          [
            name,
            String(found.length),
            ranged(of('balanced')),
            ranged(of('f1')),
            ranged(of('auroc')),
            thousands(trained),
            `${((4 * trained) / 1024).toFixed(1)}`,
            mean(found.map((run) => run.effectiveRank)).toFixed(1),
            String(found[0].lr),
          ],
        ];
      });
      if (rows.length === 0) return `### ${titles[task]}\n\nNot run yet.`;
      const head = [
        'method',
        'seeds',
        'balanced accuracy, %',
        'F1, %',
        'AUROC, %',
        'trained',
        'KB',
        'effective rank',
        'rate',
      ];
      return `### ${titles[task]}\n\n${table(head, rows)}`;
    })
    .join('\n\n');
}

/** Each method in another storage next to itself in float32. */
function storage(runs) {
  const rows = settings.tasks.flatMap((task) =>
    methods.flatMap(({ name, like }) => {
      const found = like && difference(runs, task, name, like);
      if (!found) return [];
      const differs = 0 < found.centre - found.half || found.centre + found.half < 0 ? 'yes' : 'no';
      return [[titles[task], name, points(found), Number.isNaN(found.half) ? '–' : differs]];
    }),
  );
  if (rows.length === 0) return 'Not run yet.';
  return table(['texts', 'method', 'points of balanced accuracy against float32', 'differs'], rows);
}

/** What an interval says of the claim that a difference is above 0. */
function verdict(found) {
  if (found === undefined) return 'not run';
  if (Number.isNaN(found.half)) return 'too few seeds';
  if (found.centre - found.half > 0) return '**confirmed**';
  return found.centre + found.half < 0 ? '**refuted**' : 'undecided';
}

function claims(runs, cost) {
  const rows = [];
  for (const task of settings.tasks) {
    const has = (name) => reported(runs, task, name).size > 0;
    const compare = (paper, claim, a, b) => {
      const found = difference(runs, task, a, b);
      rows.push([paper, claim, titles[task], found ? `${points(found)} points` : '–', verdict(found)]);
    };
    rows.push(shareOfFull(runs, task, has));
    compare('SVFT, Table 7', 'banded > random', 'SVFT banded', 'SVFT random');
    compare('SVFT, Table 7', 'random > plain', 'SVFT random', 'SVFT plain');
    compare('SVFT, Table 7', 'banded > top-k', 'SVFT banded', 'SVFT top-k');
    compare('SVFT, Table 1', 'banded > LoRA r=1', 'SVFT banded', 'LoRA r=1');
    compare('SiVA, Table 6', 'lowest > random basis', 'SiVA lowest', 'SiVA random');
    compare('SiVA, Table 6', 'lowest > top', 'SiVA lowest', 'SiVA top');
    compare('SiVA, Table 6', 'random basis > top', 'SiVA random', 'SiVA top');
    rows.push(...rankClaims(runs, task));
    compare('VectorFit, Figure 4', 'AVF gains', 'VectorFit with AVF', 'VectorFit without AVF');
    compare('VectorFit, Figure 4', 'biases gain', 'VectorFit without AVF', 'VectorFit sigma alone');
    compare('VectorFit, Table 1', 'better than full fine-tuning', 'VectorFit with AVF', 'full fine-tuning');
    compare('VectorFit, Table 1', 'better than SVFT plain', 'VectorFit with AVF', 'SVFT plain');
  }
  rows.push(...costClaims(cost));
  return table(['paper', 'claim', 'texts', 'found', ''], rows);
}

/** The paper's 96 % is a share of a score that is small before training. Here the head alone has a share that tells how little it means. */
function shareOfFull(runs, task, has) {
  const paper = ['SVFT, abstract', 'up to 96 % of full fine-tuning', titles[task]];
  if (!has('SVFT banded') || !has('full fine-tuning')) return [...paper, '–', 'not run'];
  const full = reported(runs, task, 'full fine-tuning');
  const shareOf = (name) =>
    estimate(
      [...reported(runs, task, name)]
        .filter(([seed]) => full.has(seed))
        .map(([seed, run]) => run.balanced / full.get(seed).balanced),
    );
  const share = shareOf('SVFT banded');
  const found = `banded: ${ranged(share)} % of its balanced accuracy; the head alone: ${percent(shareOf('head only').centre)} %`;
  return [...paper, found, verdict({ ...share, centre: share.centre - 0.96 })];
}

function rankClaims(runs, task) {
  const name = titles[task];
  const start = baseRank(runs);
  const adapted = methods
    .filter(({ frozen, like }) => !frozen && like === undefined)
    .map((method) => [...reported(runs, task, method.name).values()])
    .filter((found) => found.length > 0)
    .map((found) => ({
      method: found[0].method,
      rank: mean(found.map((run) => run.effectiveRank)),
      balanced: mean(found.map((run) => run.balanced)),
    }));
  const lowest = adapted.find(({ method }) => method === 'SiVA lowest');
  const change = lowest && start !== undefined ? lowest.rank - start : undefined;
  const rises = [
    'SiVA, Table 1',
    'training the lowest values raises the effective rank',
    name,
    change === undefined ? '–' : `${start.toFixed(1)} to ${lowest.rank.toFixed(1)}`,
    change === undefined ? 'not run' : change > 0 ? '**confirmed**' : '**refuted**',
  ];
  const claim = ['SiVA, Section 3.1', 'accuracy rises with effective rank', name];
  if (adapted.length < 6) return [rises, [...claim, '–', 'not run']];
  const rho = rankCorrelation(
    adapted.map(({ rank }) => rank),
    adapted.map(({ balanced }) => balanced),
  );
  const half = 1.96 / Math.sqrt(adapted.length - 3); // Fisher's z
  const [low, high] = [-1, 1].map((side) => Math.tanh(Math.atanh(rho) + side * half));
  const found = `Spearman's ρ over ${adapted.length} methods ${rho.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  return [rises, [...claim, found, low > 0 ? '**confirmed**' : high < 0 ? '**refuted**' : 'undecided']];
}

/** The effective rank before training: that of the head alone, whose encoder is frozen. */
const baseRank = (runs) => runs.find((run) => run.judge === 'test' && run.method === 'head only')?.effectiveRank;

const sideOf = (record, name) => record?.results.find((each) => each.name === name);

function costClaims({ times, memory }) {
  const step = ['VectorFit, Table 6', 'a step takes 9 % less time than LoRA’s', 'cost'];
  const [lora, vectorFit] = ['study, LoRA r=1', 'study, VectorFit without AVF'].map((name) => sideOf(times, name));
  const peak = ['SVFT, Table 5', 'at most 1.2 × the memory of LoRA', 'cost'];
  const [less, more] = ['study, LoRA r=8', 'study, SVFT banded'].map((name) => sideOf(memory, name));
  return [
    times === undefined ? [...step, '–', 'not run'] : [...step, ...stepClaim(vectorFit, lora)],
    memory === undefined ? [...peak, '–', 'not run'] : [...peak, ...peakClaim(more.peakBytes / less.peakBytes)],
  ];
}

/** Decided only if the ranges of the rounds, from 10 % to 90 %, do not overlap. */
function stepClaim(vectorFit, lora) {
  const share = 100 * (vectorFit.ms.median / lora.ms.median - 1);
  const found = `${Math.abs(share).toFixed(0)} % ${share < 0 ? 'less' : 'more'} than LoRA r=1 (medians)`;
  if (vectorFit.faster.low > lora.faster.high) return [found, '**confirmed**'];
  return [found, vectorFit.faster.high < lora.faster.low ? '**refuted**' : 'undecided'];
}

const peakClaim = (ratio) => [
  `${ratio.toFixed(2)} × the peak of the process with LoRA r=8`,
  ratio <= 1.25 ? '**confirmed**' : '**refuted**',
];

const told = ({ low, median, high }, digits) =>
  `${median.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;

function costs({ times, memory }) {
  if (times === undefined && memory === undefined) return 'Not measured yet.';
  const names = (times ?? memory).results.map(({ name }) => name);
  const rows = names.map((name) => {
    const [step, peak] = [sideOf(times, name), sideOf(memory, name)];
    return [
      name,
      step ? told(step.ms, 0) : '–',
      step ? told(step.faster, 2) : '–',
      peak ? (peak.peakBytes / 2 ** 20).toFixed(0) : '–',
    ];
  });
  const head = ['side', 'ms a step', '× as fast as the first', 'peak of its process, MiB'];
  if (times === undefined) return table(head, rows);
  const where = `${times.machine}, Node ${times.node}; 16 sentences, ${times.tokens} tokens a step. Medians of ${times.rounds} rounds in which all sides take turns, with 10 % and 90 %; ratios are of steps in the same round.`;
  return `${table(head, rows)}\n\n${where}`;
}
