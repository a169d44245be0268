// @ts-check
// From a checkpoint to a saved adapter: chooses modules, counts, decomposes, trains, saves, loads, merges.
import * as sigmatune from 'sigmatune';
import { lossAndGradients, writeCheckpoint } from './attention.js'; // a stand-in for your model and your data

const folder = await writeCheckpoint(); // with model.safetensors
const base = `${folder}/model.safetensors`;

// 1. What would train? The shapes in the header are enough.
const file = await sigmatune.openSafetensors(base);
const shapes = Object.fromEntries(file.names.map((name) => [name, file.info(name).shape]));
await file.close();
/** @type {sigmatune.ModelOptions} */
const options = {
  ...sigmatune.targetsOf('llama', 'QV'),
  family: 'svft',
  options: { pattern: 'banded', offDiagonals: 2 },
};
console.table(sigmatune.planModel(shapes, options));

// 2. Decompose the weights, and make a layer for each module.
options.onProgress = ({ modules, of }) => console.log(`${modules} of ${of} modules are ready`);
const weights = Object.fromEntries((await sigmatune.readSafetensors(base)).tensors);
const model = await sigmatune.adaptModel(weights, options);

// 3. Train.
const optimizer = new sigmatune.AdamW(model.parameters, { lr: 0.05, weightDecay: 0 });
const schedule = sigmatune.linearSchedule({ warmup: 20, total: 201 });
for (let step = 0; step <= 200; step++) {
  const loss = sigmatune.tidy(() => lossAndGradients(model.layers.values()));
  optimizer.lrScale = schedule(step);
  optimizer.step();
  optimizer.zeroGrad();
  if (step % 50 === 0) console.log(`step ${step}: loss ${loss.toFixed(4)}`);
}

// 4. Save the adapter, load it onto the same base weights, and write merged weights for other programs.
await sigmatune.saveAdapters(`${folder}/adapter`, model.layers);
const loaded = await sigmatune.loadAdapters(`${folder}/adapter`, weights);
console.log(`loaded: loss ${lossAndGradients(Object.values(loaded)).toFixed(4)}`);
await sigmatune.exportMerged(`${folder}/merged.safetensors`, model, { base });
