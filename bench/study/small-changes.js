#!/usr/bin/env node
// @ts-check
// How much of a small change of the parameters reaches y in 16 bits, by strategy: against the same layer in float64, for
// changes of W' by a share of its norm, before any training and after some:
//   node bench/study/small-changes.js [side]
// `survives` is the component of the change of y along the exact change, `noise` the error of the change; both are relative
// to the exact change.
import { siva, svft, tensor } from 'sigmatune';
import { numbers } from '../cases/numbers.js';

/** @typedef {import('sigmatune').AdaptedLinear} AdaptedLinear */
/** @typedef {import('sigmatune').Tensor} Tensor */

const side = Number(process.argv[2] ?? 512);
const tokens = 256;
const random = numbers(3);
const shares = [1e-4, 1e-3, 1e-2];

/** @type {readonly [string, readonly ('factored' | 'lowrank' | 'merged')[], typeof svft | typeof siva, object][]} */
const families = [
  ['SVFT banded 2', ['factored', 'merged'], svft, { pattern: 'banded', offDiagonals: 2, gate: false }],
  ['SiVA, half of σ', ['lowrank', 'merged'], siva, { count: side / 2 }],
];

const gaussians = (/** @type {number} */ count) => Float64Array.from(random.gaussian(count, 1));
const norm = (/** @type {Float64Array} */ values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
/** @param {Float64Array} a @param {Float64Array} b */
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
/** @param {Float64Array} a @param {Float64Array} b */
const minus = (a, b) => a.map((value, i) => value - b[i]);

/** y in float64. @param {AdaptedLinear} layer @param {Tensor} x @returns {Float64Array} */
function outputOf(layer, x) {
  const y = layer.apply(x);
  const wide = y.cast('float64');
  const values = Float64Array.from(/** @type {Float64Array} */ (wide.dataSync()));
  y.dispose();
  wide.dispose();
  return values;
}

console.log(`${side} × ${side}, ${tokens} tokens`);
for (const dtype of /** @type {const} */ (['bfloat16', 'float16'])) {
  const weight = tensor(
    gaussians(side * side).map((value) => value / Math.sqrt(side)),
    [side, side],
    { dtype },
  );
  const x = tensor(gaussians(tokens * side), [tokens, side], { dtype });
  const [exactWeight, exactX] = [weight.cast('float64'), x.cast('float64')];
  const size = norm(/** @type {Float64Array} */ (exactWeight.dataSync()));
  for (const [family, strategies, make, options] of families) {
    const exact = await make(exactWeight, options);
    for (const strategy of strategies) {
      const layer = await make(weight, { ...options, strategy });
      const [{ value }] = layer.parameters;
      const start = Float64Array.from(/** @type {Float32Array} */ (value.dataSync()));
      /** Both layers at start + shift. @param {Float64Array} shift */
      const outputs = (shift) => {
        const numbers = start.map((each, i) => Math.fround(each + shift[i]));
        for (const { parameters } of [layer, exact]) parameters[0].value.assign(numbers);
        return { found: outputOf(layer, x), wanted: outputOf(exact, exactX) };
      };
      const scaledTo = (/** @type {number} */ share) => {
        const shift = gaussians(value.size);
        const factor = (share * size) / norm(shift);
        return shift.map((each) => factor * each);
      };
      for (const [when, trained] of /** @type {const} */ ([
        ['untrained', 0],
        ['trained by 3 %', 0.03],
      ])) {
        const from = scaledTo(trained);
        const before = outputs(from);
        const cells = shares.map((share) => {
          const step = scaledTo(share);
          const after = outputs(from.map((each, i) => each + step[i]));
          const [change, wanted] = [minus(after.found, before.found), minus(after.wanted, before.wanted)];
          const survives = dot(change, wanted) / dot(wanted, wanted);
          const noise = norm(minus(change, wanted)) / norm(wanted);
          return `${share}: survives ${survives.toFixed(2)}, noise ${noise.toFixed(2)}`;
        });
        const error = norm(minus(before.found, before.wanted)) / norm(before.wanted);
        console.log(
          `${dtype}, ${family}, ${strategy}, ${when}: error of y ${error.toExponential(1)}; ${cells.join('; ')}`,
        );
      }
      layer.dispose();
    }
    exact.dispose();
  }
}
