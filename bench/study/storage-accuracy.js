#!/usr/bin/env node
// @ts-check
// What the storage of the factors costs in accuracy on the quickstart's task, by family:
//   node bench/study/storage-accuracy.js [seeds]
// Each family has one learning rate, the one that the quickstart finds for it in float32, so the storage is all that differs.
// bfloat16 is the whole layer: its inputs and outputs are cast. int8 is U and Vᵀ.
import { decompose, loraXs, memory, setThreads, siva, svdiff, svft, threads, vectorFit } from 'sigmatune';
import { createLayers, Network } from '../../examples/quickstart/network.js';
import { seeded } from '../../examples/quickstart/random.js';
import { settings } from '../../examples/quickstart/settings.js';
import { loadTask } from '../../examples/quickstart/task.js';
import { accuracy, train } from '../../examples/quickstart/train.js';

/** @typedef {import('sigmatune').AdaptedLinear} AdaptedLinear */
/** @typedef {import('../../examples/quickstart/network.js').Matrix} Matrix */

setThreads(threads());
const { adapt, base: pretraining, seed, shift, widths, reportedSeeds } = settings;
const seeds = reportedSeeds.slice(0, Number(process.argv[2] ?? 3));

/** @type {readonly [string, number, (weight: Matrix, options: object) => Promise<AdaptedLinear>][]} */
const families = [
  ['SVFT plain', 0.2, (weight, options) => svft(weight, options)],
  ['SVFT banded 2', 0.2, (weight, options) => svft(weight, { ...options, pattern: 'banded', offDiagonals: 2 })],
  ['SiVA 0.8', 1, (weight, options) => siva(weight, { ...options, perc: 0.8 })],
  ['VectorFit', 0.2, (weight, options) => vectorFit(weight, options)],
  ['SVDiff', 0.2, (weight, options) => svdiff(weight, options)],
  ['LoRA-XS 25', 0.05, (weight, options) => loraXs(weight, { ...options, rank: Math.min(25, ...weight.shape) })],
];

/** A layer in bfloat16 between float32 ones. @param {AdaptedLinear} layer */
function narrowed(layer) {
  return {
    parameters: layer.parameters,
    mergedWeight: () => /** @type {Matrix} */ (layer.mergedWeight().cast('float32')),
    dispose: () => layer.dispose(),
    /** @param {Matrix} x */
    apply: (x) => layer.apply(x.cast('bfloat16')).cast('float32'),
    /** @param {Matrix} x */
    forward: (x) => {
      const pass = layer.forward(x.cast('bfloat16'));
      const y = /** @type {Matrix} */ (pass.y.cast('float32'));
      return {
        y,
        /** @param {Matrix} dy @param {{ inputGrad: false }} [options] */
        backward: (dy, options) => {
          const given = dy.cast('bfloat16');
          return options ? pass.backward(given, options) : pass.backward(given).cast('float32');
        },
      };
    },
  };
}

/** @type {readonly { name: string; storage: 'float32' | 'bfloat16' | 'int8'; strategy?: 'lowrank' }[]} */
const storages = [
  { name: 'float32', storage: 'float32' },
  { name: 'bfloat16', storage: 'bfloat16' },
  { name: 'int8', storage: 'int8' },
  { name: 'int8 with the residual', storage: 'int8', strategy: 'lowrank' },
];

const { upright, rotated } = await loadTask(shift, seed);
const layers = createLayers(widths, seeded(seed));
const pretrained = new Network(layers);
train(pretrained, { ...pretraining, data: upright.train, seed });
const percent = (/** @type {number} */ share) => (100 * share).toFixed(2);
console.log(
  `upright ${percent(accuracy(pretrained, upright.test))} %, rotated ${percent(accuracy(pretrained, rotated.test))} %`,
);

for (const { name, storage, strategy } of storages) {
  const weights = layers.map(({ weight }) => (storage === 'bfloat16' ? weight.cast('bfloat16') : weight));
  const factors = await Promise.all(layers.map(({ weight }) => decompose(weight, { storage })));
  const bytes = factors.reduce((sum, each) => sum + each.bytes, 0);
  const residual = Math.max(...factors.map(({ error }) => error.residual));
  console.log(`${name}: factors of ${bytes} bytes, residual ${residual.toExponential(1)}`);
  for (const [family, lr, make] of families) {
    const found = [];
    for (const order of seeds) {
      const made = [];
      for (const [i, weight] of weights.entries()) {
        const options = { factors: factors[i], bias: layers[i].bias, name: `layer${i}`, ...(strategy && { strategy }) };
        const layer = await make(/** @type {Matrix} */ (weight), options);
        made.push(
          storage === 'bfloat16'
            ? narrowed(layer)
            : /** @type {import('../../examples/quickstart/network.js').Layer} */ (/** @type {unknown} */ (layer)),
        );
      }
      const network = new Network(made);
      const before = accuracy(network, upright.test);
      train(network, { ...adapt, data: rotated.train, lr, seed: order });
      found.push({ before, after: accuracy(network, rotated.test) });
      network.dispose();
    }
    const after = found.map((each) => percent(each.after)).join(', ');
    console.log(`  ${family}: upright before training ${percent(found[0].before)} %; rotated after it ${after} %`);
  }
  for (const each of factors) each.dispose();
}
console.log(memory().bytes);
