// @ts-check
// Four worker threads with small SVDs at once, beside one thread that does the same work alone.
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { svd } from 'sigmatune';
import { alternate, quartiles, ratio, timing } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'Four workers with SVDs of 128²';
export const columns = ['what', 'ms', 'over its share', 'quartiles', 'goal'];

const each = 24;

// Made beforehand: what is timed is the SVDs alone.
const list = Array.from({ length: 4 * each }, () => gaussianTensor([128, 128]));

async function work(/** @type {number} */ count) {
  for (const { u, s, vt } of await svd(list.slice(0, count))) for (const one of [u, s, vt]) one.dispose();
}

if (!isMainThread) {
  parentPort?.on('message', async () => {
    await work(each);
    parentPort?.postMessage('done');
  });
}

export async function* run({ rounds = 9 } = {}) {
  const workers = Array.from({ length: 4 }, () => new Worker(fileURLToPath(import.meta.url)));
  const ask = (/** @type {Worker} */ worker) =>
    new Promise((resolve) => {
      worker.once('message', resolve);
      worker.postMessage('go');
    });
  const samples = await alternate(
    { alone: () => work(4 * each), four: () => Promise.all(workers.map(ask)) },
    { rounds },
  );
  await Promise.all(workers.map((worker) => worker.terminate()));
  const over = ratio(samples.four, samples.alone);
  yield [`${4 * each} by one caller`, timing(samples.alone).median.toFixed(1), '', '', ''];
  yield [
    `${each} by each of four`,
    timing(samples.four).median.toFixed(1),
    over.median.toFixed(2),
    quartiles(over),
    '< 1.50',
  ];
}
