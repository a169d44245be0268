#!/usr/bin/env node
// @ts-check
// Records what a gate would measure on one build, over and over: in each block three processes run the cases as they
// are, three with 5, 10 and 20 % more work. Quiet, or beside others that keep the processors busy:
//   node bench/study/collect.js --blocks 100 --calm --out bench/study/quiet.json
//   node bench/study/collect.js --blocks 100 --load 4 --out bench/study/loaded.json
// --calm begins a block only when the processors have been idle for two seconds.
import { spawn } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { numbers } from '../cases/numbers.js';
import { select } from '../cases/table.js';
import { takeTurns } from '../gate/turns.js';
import { Session } from '../measure/session.js';
import { writeWhole } from '../record/files.js';

const { values } = parseArgs({
  options: {
    blocks: { type: 'string', default: '100' },
    load: { type: 'string', default: '0' },
    calm: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/study/quiet.json' },
  },
});

const plants = [0, 0, 0, 0.05, 0.1, 0.2];
const cases = select([], { short: true }).map(({ name }) => name);
const script = fileURLToPath(new URL('worker.js', import.meta.url));

/** Others that want the processors: arithmetic for a while, then a pause, as a build or a test run has them. */
const busy = `for (;;) {
  for (const end = Date.now() + 20 + 400 * Math.random(); Date.now() < end; );
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100 * Math.random());
}`;
const hogs = Array.from({ length: Number(values.load) }, () => spawn(process.execPath, ['-e', busy]));
process.on('exit', () => {
  for (const hog of hogs) hog.kill();
});

/** Waits until hardly anybody else computes. */
async function calm() {
  const times = () => {
    const all = os.cpus().map(({ times }) => times);
    const busy = all.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, 0);
    return { busy, idle: all.reduce((sum, { idle }) => sum + idle, 0) };
  };
  for (;;) {
    const before = times();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const after = times();
    const [busy, idle] = [after.busy - before.busy, after.idle - before.idle];
    if (busy < 0.1 * (busy + idle)) return;
  }
}

/** What the study's own processes know beside the usual tasks. */
/** @param {Session} session @param {number} share */
const plant = (session, share) => session.ask(/** @type {'turn'} */ ('plant'), share);

/** @param {number} block @returns {Promise<number[][]>} milliseconds by case and plant */
async function measureBlock(block) {
  const sessions = await Promise.all(plants.map(() => Session.open({ folder: null, threads: 1 }, { script })));
  try {
    const found = [];
    for (const [i, name] of cases.entries()) {
      const random = numbers(1000 * block + i);
      const outcomes = await takeTurns(sessions, name, random, (session, i) => plant(session, plants[i]));
      // Five digits are more than a clock has.
      found.push(outcomes.map((each) => ('min' in each ? Number(each.min.toPrecision(5)) : Number.NaN)));
    }
    return found;
  } finally {
    for (const session of sessions) session.close();
  }
}

const blocks = [];
const loads = [];
for (let block = 0; block < Number(values.blocks); block++) {
  if (values.calm) await calm();
  blocks.push(await measureBlock(block));
  loads.push(os.loadavg()[0]);
  process.stderr.write(`\r${block + 1} of ${values.blocks} blocks, load ${loads[block].toFixed(2)} `);
}
process.stderr.write('\n');
const machine = `${os.cpus()[0].model.trim()}, ${os.availableParallelism()} processors, Node ${process.version}`;
const load = [Math.min(...loads), Math.max(...loads)];
writeWhole(
  values.out,
  `${JSON.stringify({ machine, hogs: hogs.length, calm: values.calm, load, plants, cases, blocks })}\n`,
);
process.exit(0);
