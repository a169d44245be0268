// @ts-check
// From a checkpoint to a saved adapter: chooses modules, counts, decomposes, trains, saves, loads, merges.
import * as sigmatune from 'sigmatune';
import { lossAndGradients, writeCheckpoint } from './attention.js'; // a stand-in for your model and your data

const folder = await writeCheckpoint(); // with model.safetensors
const base = `${folder}/model.safetensors`;

// 1. What would train? The header is enough.
const file = await sigmatune.openSafetensors(base);
/** @type {sigmatune.ModelOptions} */
const options = {
  ...sigmatune.targetsOf('llama', 'QV'),
  family: 'svft',
  options: { pattern: 'banded', offDiagonals: 2 },
};
console.table(sigmatune.planModel(file, options));

// 2. Decompose the weights, and make a layer for each module.
options.onProgress = ({ modules, of }) => console.log(`${modules} of ${of} modules are ready`);
const model = await sigmatune.adaptModel(file, options);

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
const loaded = await sigmatune.loadModel(`${folder}/adapter`, file);
console.log(`loaded: loss ${lossAndGradients(loaded.layers.values()).toFixed(4)}`);
await file.close();
await sigmatune.exportMerged(`${folder}/merged.safetensors`, model, { base });
