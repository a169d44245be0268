// @ts-check
// What one call costs on tensors so small that there is hardly any arithmetic.
import { distance, times, timesTransposed, view } from '../reference/dense.js';
import { timesSparse } from '../reference/sparse.js';
import { disposeAll, numbersOf, Operands } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('./case.js').Prepared} Prepared */

const bound = 3e-6;

/** @param {Library} library @returns {Prepared} */
function matmulCall(library) {
  const operands = new Operands(library, 4);
  /** @type {any[]} */
  const [x, w] = [operands.gaussian([1, 8]), operands.gaussian([8, 8])];
  const product = () => library.matmul(x, w, { transposeB: true });
  return {
    call: () => product().dispose(),
    error: () => {
      const y = product();
      const relative = distance(numbersOf(y), times(view(8, 8, numbersOf(w)), numbersOf(x)));
      y.dispose();
      return relative;
    },
    dispose: () => disposeAll(x, w),
  };
}

/** @param {Library} library @returns {Prepared} */
function spmmCall(library) {
  const operands = new Operands(library, 5);
  const pattern = library.SparsityPattern.banded(8, 1);
  /** @type {any[]} */
  const [values, dense] = [operands.gaussian([pattern.entries]), operands.gaussian([8, 1])];
  return {
    call: () => library.spmm(pattern, values, dense).dispose(),
    error: () => {
      const y = library.spmm(pattern, values, dense);
      const relative = distance(numbersOf(y), timesSparse(pattern, numbersOf(values), numbersOf(dense)));
      y.dispose();
      return relative;
    },
    dispose: () => disposeAll(values, dense),
  };
}

/** A layer of 8 × 8, which is its own reference through W'. @param {Library} library @param {boolean} trains */
async function layerCall(library, trains) {
  const operands = new Operands(library, 6);
  const [weight, x] = [operands.gaussian([8, 8]), operands.gaussian([1, 8])];
  const layer = await library.svft(weight, { pattern: 'banded', offDiagonals: 1, strategy: 'factored' });
  const both = () => {
    const pass = layer.forward(x);
    return { y: pass.y, dx: pass.backward(pass.y) };
  };
  return {
    call: trains
      ? () => {
          const { y, dx } = both();
          disposeAll(y, dx);
        }
      : () => layer.apply(x).dispose(),
    error: () => {
      const { y, dx } = both();
      const applied = layer.apply(x);
      // M starts at zero, so that W' is the weight itself.
      const w = view(8, 8, numbersOf(weight));
      const wanted = times(w, numbersOf(x));
      const relative = Math.max(
        distance(numbersOf(applied), wanted),
        distance(numbersOf(y), wanted),
        distance(numbersOf(dx), timesTransposed(w, wanted)),
      );
      disposeAll(applied, y, dx);
      return relative;
    },
    dispose: () => disposeAll(weight, x, layer),
  };
}

/** @param {Library} library @returns {Prepared} */
function adamwCall(library) {
  const operands = new Operands(library, 7);
  const parameters = [8, 1].map((count, i) => ({
    name: `p${i}`,
    value: operands.zeros([count]),
    grad: operands.tensor(new Float32Array(count).fill(0.5), [count]),
    trainable: true,
  }));
  const optimizer = new library.AdamW(parameters);
  return {
    call: () => optimizer.step(),
    error: () => {
      const [{ value }] = parameters;
      value.assign(new Float32Array(8));
      new library.AdamW(parameters).step();
      return distance(numbersOf(value), new Float64Array(8).fill(-1e-3));
    },
    dispose: () => disposeAll(...parameters.flatMap(({ value, grad }) => [value, grad])),
  };
}

/** @param {string} what @param {number} flops @param {number} numbers @param {boolean} short @param {Case['prepare']} prepare @returns {Case} */
const call = (what, flops, numbers, short, prepare) => ({
  name: `calls ${what}`,
  suite: 'calls',
  panel: 'Calls',
  series: what,
  size: 8,
  parameters: { what },
  flops,
  bytes: 4 * numbers,
  bound,
  short,
  prepare,
});

/** @type {readonly Case[]} */
export const cases = [
  call('matmul 8 × 8', 128, 80, true, matmulCall),
  call('spmm 8 × 1', 44, 60, false, spmmCall),
  call('apply 8 × 8', 300, 160, true, (library) => layerCall(library, false)),
  call('forward and backward 8 × 8', 700, 400, false, (library) => layerCall(library, true)),
  call('AdamW, two parameters', 126, 63, false, adamwCall),
];
