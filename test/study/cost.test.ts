/** examples/study/cost.js compares the same model with other layers. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import t from 'tap';
import { cpuOnly } from '../support/helpers.js';
import { batcher, makeSide, readPretrained, readTokenizer, sides } from '../support/study.js';

t.setTimeout(300_000);

t.test('all sides start with the same loss, and lower it', { skip: cpuOnly }, async (t) => {
  const pretrained = readPretrained();
  const ids = ['Good case, excellent value.', 'Not so good.'].map(readTokenizer());
  const makeBatch = batcher(pretrained);
  const target = Float32Array.from({ length: 2 * 512 }, (_, i) => 0.04 * Math.sin(i * i));
  let expected: number | undefined;
  for (const [name, { backend }] of Object.entries(sides)) {
    const step = await makeSide(name, pretrained, () => makeBatch(ids), target, 1e-3);
    t.equal(tf.getBackend(), backend, `${name}: backend`);
    const first = step();
    expected ??= first;
    t.ok(Math.abs(first - expected) < 1e-4 * expected, `${name}: ${first}, the first side ${expected}`);
    for (let i = 0; i < 3; i++) step();
    const later = step();
    t.ok(later < first, `${name}: ${first} → ${later}`);
  }
});
