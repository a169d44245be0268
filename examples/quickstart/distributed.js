// @ts-check
// The quickstart's task in data-parallel form: each rank has its share of every batch.
//   node examples/quickstart/distributed.js                one process
//   mpirun -n 2 node examples/quickstart/distributed.js    two ranks: the same training, to rounding
// --rows N: rows of a batch for each rank, by default a share of 64; --threads N: threads of each rank; --epochs N: of both
// trainings, for a look at the time of a step.
import { parseArgs } from 'node:util';
import { AdamW, linearSchedule, setThreads, svd, svft, Tensor, tidy } from 'sigmatune';
import { init, mpiStatus } from 'sigmatune/distributed';
import { softmaxCrossEntropy } from './loss.js';
import { CLASSES, copyRows, PIXELS } from './mnist.js';
import { createLayers, Network } from './network.js';
import { permutation, seeded } from './random.js';
import { settings } from './settings.js';
import { loadTask } from './task.js';
import { accuracy, train } from './train.js';

const { values } = parseArgs({
  options: { rows: { type: 'string' }, threads: { type: 'string' }, epochs: { type: 'string' } },
});
const ofBoth = values.epochs === undefined ? {} : { epochs: Number(values.epochs) };
if (values.threads !== undefined) setThreads(Number(values.threads));
const comm = await init();
const isFirst = comm.rank === 0;
const say = (/** @type {string} */ text) => isFirst && console.log(text);
say(`${comm.size} ranks${comm.size > 1 ? ` under ${mpiStatus().library}` : ''}`);

const task = await loadTask(settings.shift, settings.seed);
const dense = createLayers(settings.widths, seeded(settings.seed));
const base = new Network(dense);
// One rank trains the base, and all get its weights: a program without a checkpoint has to. The others wait meanwhile.
if (isFirst) {
  say('training the base on upright digits …');
  train(base, { ...settings.base, ...ofBoth, data: task.upright.train, seed: settings.seed });
}
await comm.broadcast(base.parameters);
say(`before: ${percent(accuracy(base, task.rotated.test))} of the turned digits`);

// Every rank decomposes the same weights, which gives the same bits. For large models there is adaptModelSharded.
const layers = [];
for (const [i, { weight, bias }] of dense.entries()) {
  const factors = await svd(weight);
  layers.push(await svft(weight, { name: `layer${i}`, bias, factors, pattern: 'banded', offDiagonals: 2 }));
}
const network = new Network(layers);

const { epochs, weightDecay, warmup } = { ...settings.adapt, ...ofBoth };
const data = task.rotated.train;
const rows = Number(values.rows ?? Math.floor(settings.adapt.batchSize / comm.size)); // of each rank
const batchSize = rows * comm.size;
const total = epochs * Math.floor(data.labels.length / batchSize);
const schedule = linearSchedule({ warmup: Math.round(warmup * total), total });
const optimizer = new AdamW(network.parameters, { lr: 0.1, weightDecay });
const generator = seeded(settings.reportedSeeds[0]); // the same order of the data on every rank

const images = new Float32Array(rows * PIXELS);
const labels = new Uint8Array(rows);
const x = Tensor.wrap(images, [rows, PIXELS]);
const gradient = Tensor.wrap(new Float32Array(rows * CLASSES), [rows, CLASSES]);
await comm.barrier(); // no rank's first step waits for the training of another's base
const start = performance.now();
let communication = 0;
let step = 0;
for (let epoch = 0; epoch < epochs; epoch++) {
  const order = permutation(generator, data.labels.length);
  for (let first = 0; first + batchSize <= order.length; first += batchSize) {
    const own = first + comm.rank * rows;
    copyRows(data, order.subarray(own, own + rows), images, labels);
    optimizer.lrScale = schedule(step++);
    tidy(() => {
      const pass = network.forward(x);
      softmaxCrossEntropy(pass.logits, labels, gradient);
      pass.backward(gradient);
    });
    const before = performance.now();
    await comm.allReduceGradients(network.parameters);
    communication += performance.now() - before;
    optimizer.step();
    optimizer.zeroGrad();
  }
}
const duration = performance.now() - start;
await comm.checkSynchronized(network.parameters);
say(`after:  ${percent(accuracy(network, task.rotated.test))}, with ${network.parameterCount} trained numbers`);
say(`${(duration / total).toFixed(2)} ms a step, of which ${(communication / total).toFixed(2)} in allReduceGradients`);
await comm.finalize();

function percent(/** @type {number} */ part) {
  return `${(100 * part).toFixed(1)} %`;
}
