// @ts-check
// One run of a method: makes the classifier, trains it, and judges it.
import { AdamW, AdaptiveVectorFreezing, effectiveRank, linearSchedule, svd, tidy } from 'sigmatune';
import { permutation, seeded } from '../quickstart/random.js';
import { makeClassifier } from './classifier.js';
import { metricsOf } from './metrics.js';

/** @typedef {import('./classifier.js').Classifier} Classifier */
/** @typedef {import('./data.js').Example} Example */
/** @typedef {import('./methods.js').Method} Method */
/** @typedef {typeof import('./settings.js').settings} Settings */
/**
 * What all runs share.
 * @typedef {object} World
 * @property {import('./pretrained.js').Pretrained} pretrained
 * @property {import('./batch.js').MakeBatch} makeBatch
 * @property {readonly import('./methods.js').Base[]} bases
 * @property {Settings} settings
 */

/**
 * @param {World} world @param {Method} method @param {import('./data.js').Task} task
 * @param {{ lr: number, seed: number, judge: 'heldOut' | 'test' }} options
 */
export async function run({ pretrained, makeBatch, bases, settings }, method, task, { lr, seed, judge }) {
  const generator = seeded(seed); // of the data: all methods see the same batches
  const chosen = [...permutation(generator, task.pool.length)].slice(0, settings.train.examples);
  const examples = chosen.map((i) => task.pool[i]);
  const classifier = await makeClassifier(method, bases, pretrained, makeBatch, seed);
  const started = performance.now();
  const { steps, loss } = train(classifier, examples, method, lr, generator, settings);
  const trained = performance.now();
  const judged = task[judge];
  const metrics = metricsOf(
    classifier.scores(judged),
    judged.map(({ label }) => label),
  );
  const result = {
    ...metrics,
    loss,
    parameters: classifier.parameters.reduce((sum, { value }) => sum + value.size, 0),
    ...(judge === 'test' ? { effectiveRank: await meanEffectiveRank([...classifier.layers.values()]) } : {}),
    trainSeconds: (trained - started) / 1000,
    msPerStep: (trained - started) / steps,
    judgeSeconds: (performance.now() - trained) / 1000,
  };
  classifier.dispose();
  return result;
}

/**
 * @param {Classifier} classifier @param {readonly Example[]} examples @param {Method} method @param {number} lr
 * @param {import('../quickstart/random.js').Generator} generator @param {Settings} settings
 */
function train(classifier, examples, method, lr, generator, { train: recipe, freezing }) {
  const perEpoch = Math.floor(examples.length / recipe.batchSize);
  const total = recipe.epochs * perEpoch;
  const schedule = linearSchedule({ warmup: Math.round(recipe.warmup * total), total });
  const { parameters, head } = classifier;
  const headGroup = { parameters: head.parameters, lr: method.frozen ? lr : recipe.headRate };
  const groups = parameters.length === 0 ? [headGroup] : [{ parameters, lr }, headGroup];
  const optimizer = new AdamW(groups, { weightDecay: 0 });
  const share = (/** @type {number} */ part) => Math.max(1, Math.round(part * total));
  const vectors = method.freezing
    ? new AdaptiveVectorFreezing(parameters, {
        start: share(freezing.start),
        every: share(freezing.every),
        count: freezing.count,
        freeze: freezing.freeze,
      })
    : undefined;
  let step = 0;
  let loss = 0;
  for (let epoch = 0; epoch < recipe.epochs; epoch++) {
    const order = [...permutation(generator, examples.length)];
    for (let i = 0; i < perEpoch; i++) {
      const batch = order.slice(i * recipe.batchSize, (i + 1) * recipe.batchSize).map((index) => examples[index]);
      optimizer.lrScale = schedule(step);
      loss = tidy(() => {
        const value = classifier.backward(batch);
        optimizer.step();
        optimizer.zeroGrad();
        return value;
      });
      vectors?.step(++step) ?? step++;
    }
  }
  return { steps: total, loss };
}

/** @param {readonly { mergedWeight(): import('sigmatune').Tensor }[]} layers */
export async function meanEffectiveRank(layers) {
  let sum = 0;
  for (const layer of layers) {
    const weight = /** @type {import('sigmatune').Tensor<'float32'>} */ (layer.mergedWeight());
    const { u, s, vt } = await svd(weight);
    sum += effectiveRank(s);
    for (const part of [weight, u, s, vt]) part.dispose();
  }
  return sum / layers.length;
}
