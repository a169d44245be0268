#!/usr/bin/env node
// @ts-check
// How often the gate is wrong, and how often it finds what is there: its own code on recorded blocks, in their order,
// from many starting points and with the recorded processes in many roles.
//   node bench/study/replay.js --gates 500 --planted 0,5,10,20 bench/study/quiet.json bench/study/loaded.json
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { numbers } from '../cases/numbers.js';
import { overall, runGate } from '../gate/gate.js';
import { shuffled } from '../gate/turns.js';
import { median } from '../stats/quantile.js';

/** @typedef {{ machine: string, hogs: number, load: [number, number], plants: number[], cases: string[], blocks: number[][][] }} Recorded */

const { values, positionals } = parseArgs({
  options: { gates: { type: 'string', default: '500' }, planted: { type: 'string', default: '0,5,10,20' } },
  allowPositionals: true,
});
const files = positionals.length > 0 ? positionals : ['bench/study/quiet.json', 'bench/study/loaded.json'];

/**
 * One gate on the record: whose build is `share` slower than the base.
 * @param {Recorded} recorded @param {number} share @param {number} seed @param {readonly string[]} cases
 */
function replay({ plants, cases: names, blocks }, share, seed, cases) {
  const random = numbers(seed);
  const start = random.below(blocks.length);
  const plain = plants.flatMap((plant, i) => (plant === 0 ? [i] : []));
  const given = cases.map((name) => ({ name, bound: 1 }));
  return runGate(
    given,
    async (wanted, block) => {
      const recorded = blocks[(start + block) % blocks.length];
      const roles = shuffled(plain.length, random).map((i) => plain[i]);
      const head = share === 0 ? roles[2] : plants.indexOf(share);
      return new Map(
        wanted.map((name) => {
          const ms = recorded[names.indexOf(name)];
          return [name, { times: { base: ms[roles[0]], again: ms[roles[1]], head: ms[head] } }];
        }),
      );
    },
    { seed },
  );
}

/** What was planted, as the record shows it: the middle over all blocks of each case, then over the cases. */
/** @param {Recorded} recorded @param {number} share */
function realised({ plants, cases, blocks }, share) {
  const at = plants.indexOf(share);
  return median(cases.map((_, i) => median(blocks.map((block) => block[i][at] / Math.min(block[i][0], block[i][1])))));
}

/** @param {number} count @param {number} of */
const percent = (count, of) => `${((100 * count) / of).toFixed(1)} %`;

for (const file of files) {
  /** @type {Recorded} */
  const recorded = JSON.parse(readFileSync(file, 'utf8'));
  const { machine, load, hogs, blocks, cases } = recorded;
  console.log(
    `\n${file}: ${machine}; load ${load.map((each) => each.toFixed(1)).join(' to ')}, ${hogs} hogs; ${blocks.length} blocks\n`,
  );
  console.log(
    '| planted | seen | gates | regression | pass | inconclusive | noisy | processes a side | case by case: regression |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|');
  for (const share of values.planted.split(',').map((each) => Number(each) / 100)) {
    const gates = Number(values.gates);
    /** @type {Record<string, number>} */
    const counts = { regression: 0, pass: 0, inconclusive: 0, noisy: 0 };
    let slower = 0;
    let processes = 0;
    /** @type {Map<string, number>} */
    const byCase = new Map();
    for (let gate = 0; gate < gates; gate++) {
      const results = await replay(recorded, share, gate + 1, cases);
      counts[overall(results)]++;
      for (const { name, verdict } of results) {
        if (verdict === 'regression') slower++;
        if (verdict === 'regression') byCase.set(name, (byCase.get(name) ?? 0) + 1);
      }
      processes += Math.max(...results.map(({ rounds }) => rounds.flat().length));
    }
    const cells = ['regression', 'pass', 'inconclusive', 'noisy'].map((verdict) => percent(counts[verdict], gates));
    const seen = share === 0 ? '' : `${(100 * (realised(recorded, share) - 1)).toFixed(1)} %`;
    const each = percent(slower, gates * cases.length);
    console.log(
      `| ${percent(share, 1)} | ${seen} | ${gates} | ${cells.join(' | ')} | ${(processes / gates).toFixed(0)} | ${each} |`,
    );
    if (process.env.DETAIL) console.log(byCase);
  }
}
