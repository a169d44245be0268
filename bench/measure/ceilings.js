// @ts-check
// What this machine can do at most, through this package and by itself: the rate of a GEMM, and of copies of several
// sizes on as many threads as the package uses.
import { Worker } from 'node:worker_threads';

/**
 * @typedef {object} Ceilings
 * @property {{ flopsPerSecond: number }} gemm
 * @property {readonly { bytes: number, bytesPerSecond: number }[]} copy by the bytes read and written, ascending
 */

const side = 768;
const rounds = 30;

/** Bytes that all threads' copies touch: in the second-level cache, in the last one, in memory. */
const copySizes = [2 ** 19, 2 ** 22, 2 ** 24, 2 ** 28];

/** @param {import('../cases/case.js').Library} library @returns {Promise<Ceilings>} */
export async function measureCeilings(library) {
  const copy = [];
  for (const bytes of copySizes) copy.push({ bytes, bytesPerSecond: await copyRate(bytes, library.threads()) });
  return { gemm: { flopsPerSecond: gemmRate(library) }, copy };
}

/** @param {import('../cases/case.js').Library} library */
function gemmRate(library) {
  const [a, b, out] = [0.5, 0.25, 0].map((value) =>
    library.tensor(new Float32Array(side * side).fill(value), [side, side]),
  );
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    library.matmul(a, b, { out });
    best = Math.min(best, performance.now() - start);
  }
  for (const each of [a, b, out]) each.dispose();
  return (2 * side ** 3) / (best / 1000);
}

/**
 * Each thread copies its own arrays, all at the same time: the slowest thread's best pass counts for all.
 * @param {number} bytes @param {number} threads
 */
async function copyRate(bytes, threads) {
  const share = bytes / threads;
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const workers = Array.from(
    { length: threads },
    () => new Worker(copier, { eval: true, workerData: { share, threads, shared, rounds } }),
  );
  try {
    const best = await Promise.all(
      workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))),
    );
    return bytes / (Math.max(...best) / 1000);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** A worker's program. They meet before each pass, so that a pass is timed while all of them copy. */
const copier = `
const { parentPort, workerData } = require('node:worker_threads');
const { share, threads, shared, rounds } = workerData;
const count = Math.floor(share / 16); // float64 numbers, one read and one written
const from = new Float64Array(count).fill(1);
const to = new Float64Array(count).fill(2);
const passes = Math.max(1, Math.round(2 ** 22 / share)); // long enough for the clock
let best = Infinity;
for (let round = 1; round <= rounds; round++) {
  if (Atomics.add(shared, 0, 1) + 1 === round * threads) {
    Atomics.store(shared, 1, round);
    Atomics.notify(shared, 1);
  } else {
    while (Atomics.load(shared, 1) < round) Atomics.wait(shared, 1, round - 1);
  }
  const start = performance.now();
  for (let pass = 0; pass < passes; pass++) to.set(from);
  best = Math.min(best, (performance.now() - start) / passes);
}
parentPort.postMessage(best);
`;

/**
 * The least time that a case could take on this machine: its flops at the GEMM's rate, or its bytes at the rate of a
 * copy as large.
 * @param {Ceilings} ceilings @param {{ flops: number, bytes: number }} work @returns {number} ms
 */
export function leastTime({ gemm, copy }, { flops, bytes }) {
  // The rate of the next larger copy: where there is none, that of the largest.
  const { bytesPerSecond } = copy.find((each) => each.bytes >= bytes) ?? copy[copy.length - 1];
  return 1000 * Math.max(flops / gemm.flopsPerSecond, bytes / bytesPerSecond);
}
