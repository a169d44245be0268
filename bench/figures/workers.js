// @ts-check
// Four worker threads with small SVDs at the same time, compared with one thread that does the same work alone.
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import * as sigmatune from 'sigmatune';
import { many, svdCase } from '../cases/svd.js';
import { alternate } from '../measure/alternate.js';
import { wallClock } from '../measure/sample.js';
import { mark } from './figure.js';

export const title = 'Four workers with SVDs';
export const on = 'cpu';

const workers = 4;
const each = 24;

/** @param {number} count @param {number} side */
const decompositions = (count, side) => svdCase('auto', many(count, side, side)).prepare(sigmatune);

/** @param {import('./figure.js').Context} context @returns {Generator<import('./figure.js').Job>} */
export function* jobs(context) {
  const side = context.dry ? 16 : 128;
  yield { name: `SVDs of ${side}²`, run: () => compare(context, side) };
}

/** @param {import('./figure.js').Context} context @param {number} side @returns {Promise<readonly import('./figure.js').Case[]>} */
async function compare({ dry, rounds }, side) {
  const alone = await decompositions(workers * each, side);
  const threads = Array.from({ length: workers }, () => new Worker(fileURLToPath(import.meta.url), { argv: [side] }));
  const ask = (/** @type {Worker} */ worker) =>
    new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
      worker.postMessage('go');
    });
  const four = { ...alone, call: () => Promise.all(threads.map(ask)) };
  try {
    await four.call();
    const sides = { alone: { prepared: alone, clock: wallClock }, four: { prepared: four, clock: wallClock } };
    const measured = dry ? undefined : await alternate(sides, { rounds });
    const over = measured?.figure((ms) => ms.four / ms.alone);
    const size = `${side}²`;
    const errors = [{ value: await alone.error(), bound: 1e-5, of: 'relative distance from float64' }];
    return [
      { name: `${workers * each} by one caller`, size, time: measured?.time('alone'), errors },
      {
        name: `${each} by each of ${workers}`,
        size,
        time: measured?.time('four'),
        marks: mark('over one caller', over, 'lower', 1.5),
      },
    ];
  } finally {
    await Promise.all(threads.map((worker) => worker.terminate()));
    alone.dispose();
  }
}

if (!isMainThread && parentPort) {
  const port = parentPort;
  // Made beforehand: what is timed is the SVDs alone.
  const prepared = await decompositions(each, Number(process.argv[2]));
  port.on('message', async () => {
    await prepared.call();
    port.postMessage('done');
  });
}
