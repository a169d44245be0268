// @ts-check
// npm run quickstart: trains a network on upright digits, rotates the digits, and adapts the network with every method.
import { writeFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { memory, svd } from 'sigmatune';
import { firstOfEach, strip } from './digits.js';
import { chooseRate, meanEffectiveRank, measure } from './experiment.js';
import { count, duration, percent } from './format.js';
import { full, methods } from './methods.js';
import { createLayers, Network } from './network.js';
import { startProgress } from './progress.js';
import { seeded } from './random.js';
import { renderReport } from './report.js';
import { settings } from './settings.js';
import { headlineOf, notesOf } from './story.js';
import { mean, ratesText, textTable } from './table.js';
import { loadTask } from './task.js';
import { accuracy, countSteps, train } from './train.js';

/** @typedef {import('./table.js').Row} Row */

const started = performance.now();
const baseline = memory();
const { adapt, base: pretraining, curveEpochs, reportedSeeds, seed, shift, tuningSeed, widths } = settings;

const { upright, rotated } = await loadTask(shift, seed);
console.log(
  `MNIST: ${count(upright.train.labels.length)} upright digits to learn first, then ${count(shift.labelled)} ` +
    `labelled digits rotated by ${shift.degrees}°.\n`,
);

// 1. The pretrained network that every method starts from.
const layers = createLayers(widths, seeded(seed));
const pretrained = new Network(layers);
const pretrainSteps = countSteps({ ...pretraining, data: upright.train });
const pretrainProgress = startProgress('Training on upright digits', pretrainSteps);
train(pretrained, {
  ...pretraining,
  data: upright.train,
  seed,
  onStep: (loss) => pretrainProgress.tick(`loss ${loss.toFixed(3)}`),
});
const uprightAccuracy = accuracy(pretrained, upright.test);
const unadapted = accuracy(pretrained, rotated.test);
pretrainProgress.done(`${percent(uprightAccuracy)} right upright, ${percent(unadapted)} rotated`);

// 2. One SVD of each weight, shared by every adapter.
const svdProgress = startProgress('SVD of the three weights', layers.length);
const weights = layers.map(({ weight }) => weight);
const factors = await svd(weights, { onProgress: () => svdProgress.tick() });
const svdSeconds = svdProgress.done();
const base = layers.map(({ weight, bias }, index) => ({
  name: `layer${index}`,
  weight,
  bias,
  factors: factors[index],
}));

// 3. A learning rate for every method, judged on the held-out split.
const stepsPerRun = countSteps({ ...adapt, data: rotated.train });
const trials = methods.reduce((sum, { rates }) => sum + rates.length, 0);
const rateProgress = startProgress('Choosing learning rates', trials * stepsPerRun);
const choices = [];
for (const method of methods) {
  const choice = await chooseRate(method, base, rotated, { recipe: adapt, seed: tuningSeed, progress: rateProgress });
  choices.push({ method, ...choice });
}
rateProgress.done();

// 4. The runs that are reported, judged on the test images.
const runProgress = startProgress('Adapting', methods.length * reportedSeeds.length * stepsPerRun);
const runs = await measure(choices, base, rotated, {
  recipe: adapt,
  seeds: reportedSeeds,
  curveEpochs,
  progress: runProgress,
});
runProgress.done();

// 5. The table and the report.
const gainOfFull = mean(runs[methods.indexOf(full)].accuracies) - unadapted;
/** @type {Row[]} */
const rows = [
  {
    name: 'No adaptation',
    family: 'none',
    accuracies: [unadapted],
    effectiveRanks: [await meanEffectiveRank(layers)],
    parameters: 0,
    recovered: 0,
    msPerStep: null,
    svdSeconds: null,
    lr: null,
    tried: [],
    curve: [],
  },
  ...choices.map(({ method, lr, tried }, index) => ({
    ...runs[index],
    name: method.name,
    family: method.family,
    recovered: (mean(runs[index].accuracies) - unadapted) / gainOfFull,
    svdSeconds: method.family === 'control' ? null : svdSeconds,
    lr,
    tried,
    curve: [{ step: 0, accuracy: unadapted }, ...runs[index].curve],
  })),
];
const headline = headlineOf(rows, { uprightAccuracy, degrees: shift.degrees });
const examples = firstOfEach(upright.test);
const strips = { upright: strip(upright.test, examples), rotated: strip(rotated.test, examples) };
const html = await renderReport({ headline, rows, strips, notes: notesOf(settings, stepsPerRun) });
await writeFile(settings.reportFile, html);

console.log(`\nHeld-out accuracy (%) at each learning rate, the chosen one in brackets:\n${ratesText(rows)}\n`);
console.log(textTable(rows));
console.log(`\n${headline}\n`);
console.log(`${settings.reportFile} has the plots. Whole run: ${duration((performance.now() - started) / 1000)}.`);

// All memory has been disposed: the counts are those of the start.
pretrained.dispose();
for (const { u, s, vt } of factors) for (const part of [u, s, vt]) part.dispose();
const left = memory();
if (!isDeepStrictEqual(left, baseline)) {
  console.error('Not everything was disposed. At the start:', baseline, 'at the end:', left);
  process.exitCode = 1;
}
