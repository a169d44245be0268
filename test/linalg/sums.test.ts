/** Accuracy of sums over many tokens, and of gates far from zero. */
import { svft, vectorFit } from 'sigmatune';
import t from 'tap';
import { at, disposeAll, item, real, snapshot } from '../support/helpers.js';
import { disposeLayer } from '../support/layer.js';

t.test('the error of gradients does not grow with the number of tokens', async (t) => {
  const tokens = 200_000;
  const weight = real([2, 0, 0, 1], [2, 2], 'float32');
  const bias = real([0, 0], [2], 'float32');
  const layer = await vectorFit(weight, { bias, strategy: 'factored' });
  const value = Math.fround(0.1);
  const x = real(new Float64Array(2 * tokens).fill(1), [tokens, 2], 'float32');
  const dy = real(new Float64Array(2 * tokens).fill(value), [tokens, 2], 'float32');
  const pass = layer.forward(x);
  const dx = pass.backward(dy);
  for (const parameter of layer.parameters) {
    const gradient = parameter.grad;
    t.ok(gradient, `${parameter.name} has a gradient`);
    for (const found of gradient ? snapshot(gradient) : []) {
      const error = Math.abs(found / (tokens * value) - 1);
      t.ok(error < 2e-5, `${parameter.name}: off by ${error}`);
    }
  }
  disposeAll(pass.y, dx, x, dy, weight, bias);
  disposeLayer(layer);
});

t.test('the gradient of a gate far from zero keeps its digits', async (t) => {
  for (const gate of [-20, -5, 0, 5, 12, 20]) {
    const weight = real([2, 0, 0, 1], [2, 2], 'float32');
    const layer = await svft(weight, { pattern: 'plain', init: { m: [0.5, 0.25], gate }, strategy: 'factored' });
    const x = real([1, 1], [1, 2], 'float32');
    const dy = real([1, 1], [1, 2], 'float32');
    const pass = layer.forward(x);
    const dx = pass.backward(dy);
    const gradient = item(
      layer.parameters.filter(({ name }) => name === 'gate'),
      0,
    ).grad;
    // U and V are identities up to common signs, so dγ = g (1 − g) (m₀ + m₁).
    const wanted = (0.75 / (1 + Math.exp(-gate))) * (1 / (1 + Math.exp(gate)));
    const error = gradient ? Math.abs(at(snapshot(gradient), 0) / wanted - 1) : Infinity;
    t.ok(error < 2e-6, `γ = ${gate}: off by ${error}`);
    disposeAll(pass.y, dx, x, dy, weight);
    disposeLayer(layer);
  }
});
