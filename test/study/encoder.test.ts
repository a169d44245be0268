/** examples/study: the Universal Sentence Encoder Lite as a trainable model of TensorFlow.js. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import { tidy } from 'sigmatune';
import { adaptedDense } from 'sigmatune/tfjs';
import t from 'tap';
import { cpuOnly } from '../support/helpers.js';
import {
  batcher,
  Dense,
  encode,
  Norm,
  type Parts,
  plainOperations,
  readPretrained,
  readTokenizer,
  type StudyLayer,
  sources,
  tfjsParts,
} from '../support/study.js';

const pretrained = readPretrained();
const makeBatch = batcher(pretrained);
const tokenize = readTokenizer();
const sentences = sources
  .reviews()
  .filter((_, i) => i % 30 === 0)
  .map(({ text }) => text);

t.setTimeout(400_000); // the original graph takes a minute on a machine that is busy

t.before(() => tf.setBackend('wasm'));

const largest = (numbers: ArrayLike<number>) =>
  Array.from(numbers).reduce((top, value) => Math.max(top, Math.abs(value)), 0);
const difference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  largest(Array.from(a, (value, i) => value - (b[i] as number)));

/** The parts that the study trains: layers of its own on the package's products. */
function studyParts(): { parts: Parts; layers: StudyLayer[] } {
  const layers = new Map<string, StudyLayer>();
  for (const [name, linear] of pretrained.linears) layers.set(name, new Dense(name, linear));
  for (const [name, norm] of pretrained.norms) layers.set(name, new Norm(name, norm, true));
  const operations = new Map([...layers].map(([name, layer]) => [name, adaptedDense(layer as never)]));
  const run = (name: string, x: tf.Tensor2D) => operations.get(name)?.(x) as tf.Tensor2D;
  return { parts: { linear: run, norm: run, ...plainOperations }, layers: [...layers.values()] };
}

t.test('tokens and embeddings of a hundred sentences are those of the original graph', async (t) => {
  const script = fileURLToPath(new URL('../fixtures/sentence-embeddings.mjs', import.meta.url));
  const texts = [...sentences.slice(0, 97), 'naïve “quotes” 😀😀 x', '  two  spaces ', `long ${'word '.repeat(200)}`];
  const printed = execFileSync(process.execPath, [script], {
    input: JSON.stringify(texts),
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const { ids, embeddings } = JSON.parse(printed) as { ids: number[][]; embeddings: number[][] };
  t.equal(embeddings.length, 100);
  t.same(texts.map(tokenize), ids);
  const parts = tfjsParts(pretrained);
  const found = tf.tidy(() => encode(parts, makeBatch(ids)).dataSync());
  const worst = difference(found, embeddings.flat());
  t.ok(worst < 1e-5, `largest difference ${worst}`);
  tf.dispose([...parts.variables.values()]);
});

t.test('a sentence in a batch has the embedding that it has alone', { skip: cpuOnly }, async (t) => {
  const ids = [
    ...sentences.slice(0, 5),
    'x',
    'a much longer sentence, with many more words than any of the others has',
  ].map(tokenize);
  const tfjs = tfjsParts(pretrained);
  const { parts: study, layers } = studyParts();
  for (const [name, parts] of [
    ['tfjs', tfjs],
    ['study', study],
  ] as const) {
    const embed = (some: number[][]) => tidy(() => tf.tidy(() => encode(parts, makeBatch(some)).dataSync()));
    const worst = difference(
      embed(ids),
      ids.flatMap((each) => [...embed([each])]),
    );
    t.ok(worst < 1e-5, `${name}: largest difference ${worst}`);
  }
  for (const layer of layers) layer.dispose();
  tf.dispose([...tfjs.variables.values()]);
});

t.test("the gradients of the study's layers and operations are those of tfjs", { skip: cpuOnly }, async (t) => {
  const ids = [...sentences.slice(0, 4), 'x'].map(tokenize);
  const along = tf.randomNormal<tf.Rank.R2>([ids.length, 512], 0, 1, 'float32', 1);
  const loss = (parts: Parts) => () => tf.sum(tf.mul(encode(parts, makeBatch(ids)), along)) as tf.Scalar;
  const tfjs = tfjsParts(pretrained);
  const { parts, layers } = studyParts();
  const wanted = tf.variableGrads(loss(tfjs)).grads;
  const before = tf.memory().numTensors;
  tf.dispose(tf.variableGrads(loss(parts)));
  t.equal(tf.memory().numTensors, before, 'no tensor of tfjs is left');
  const parameters = layers.flatMap((layer) => layer.parameters);
  t.equal(parameters.length, tfjs.variables.size);
  for (const { name, grad } of parameters) {
    const expected = wanted[(tfjs.variables.get(name) as tf.Variable).name]?.dataSync() as Float32Array;
    const found = grad?.dataSync() as Float32Array;
    const scale = largest(expected);
    t.ok(scale > 1e-4, `${name}: a gradient arrives`);
    const worst = difference(found, expected) / scale;
    t.ok(worst < 1e-3, `${name}: largest difference ${worst} of the largest entry`);
  }
  for (const layer of layers) layer.dispose();
  tf.dispose([along, wanted, ...tfjs.variables.values()]);
});
