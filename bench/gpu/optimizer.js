// @ts-check
// A step of AdamW over a copy of its bytes: it reads four arrays and writes three.
import { AdamW } from 'sigmatune';
import { mark } from './case.js';
import { free, numbersOf, operand, ring } from './data.js';
import { measure } from './measure.js';
import { deviation, some } from './reference.js';

export const title = 'AdamW';

const options = { lr: 1e-3, weightDecay: 0.01, eps: 1e-8 };

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  for (const power of context.dry ? [10] : [20, 24, 26]) {
    yield { name: `AdamW, 2^${power} numbers`, run: () => step(context, power) };
  }
}

/** @param {import('./case.js').Context} context @param {number} power @returns {Promise<import('./case.js').Case>} */
async function step(context, power) {
  const count = 2 ** power;
  const [value, grad] = [operand([count]), operand([count], 'float32', 1e-2)];
  const parameter = { name: 'p', value: value.on, grad: grad.on, trainable: true };
  const optimizer = new AdamW([parameter], options);
  optimizer.step();
  const after = await numbersOf(value.on);
  // At the first step the corrected moments are the gradient and its square.
  const pairs = some(count, 4096).map((i) => {
    const [p, g] = [value.host[i], grad.host[i]];
    const wanted = p * (1 - options.lr * options.weightDecay) - (options.lr * g) / (Math.abs(g) + options.eps);
    return { got: after[i], wanted };
  });
  const inputs = ring(grad.on, context.dry);
  const measured = measure(context, {
    copy: (i) => inputs[i % inputs.length].cast('float32').dispose(),
    step: () => optimizer.step(),
  });
  free(value.on, inputs);
  return {
    name: 'AdamW step',
    dtype: 'float32',
    size: `2^${power} numbers`,
    bytes: 28 * count,
    time: measured.time('step'),
    marks: mark('share of a copy', measured.ratio('copy', 'step', 7 / 2), 'higher', power === 26 ? 0.8 : undefined),
    errors: [deviation(pairs, 'numbers after one step', 1e-6)],
  };
}
