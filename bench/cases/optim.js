// @ts-check
// Optimiser steps by rule and size.
import { distance } from '../reference/dense.js';
import { whereWords } from './case.js';
import { disposeAll, numbersOf, Operands } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./case.js').Library} Library */

const lr = 1e-3;

/**
 * One rule: how its optimiser is made, what one step costs a number, and the first step in float64.
 * @type {Readonly<Record<string, { flops: number, arrays: number, make(library: Library, parameters: import('sigmatune').Parameter[]): import('sigmatune').Optimizer, first(value: number, grad: number): number }>>}
 */
const rules = {
  AdamW: {
    flops: 14,
    arrays: 7, // reads value, gradient and two moments, writes three of them
    make: ({ AdamW }, parameters) => new AdamW(parameters, { lr }),
    first: (value, grad) => value * (1 - lr * 0.01) - (lr * grad) / (Math.abs(grad) + 1e-8),
  },
  'SGD with momentum': {
    flops: 4,
    arrays: 5,
    make: ({ Sgd }, parameters) => new Sgd(parameters, { lr, momentum: 0.9 }),
    first: (value, grad) => value - lr * grad,
  },
  SGD: {
    flops: 2,
    arrays: 3,
    make: ({ Sgd }, parameters) => new Sgd(parameters, { lr }),
    first: (value, grad) => value - lr * grad,
  },
};

/** @param {{ rule: string, count: number } & import('./operands.js').Where} given @returns {Case} */
export function optimiserCase(given) {
  const { rule, count } = given;
  const { flops, arrays, make, first } = rules[rule];
  return {
    name: `optimisers ${rule}, ${count} numbers${whereWords(given)}`,
    suite: 'optimisers',
    panel: 'Optimisers, by numbers',
    series: rule,
    size: count,
    parameters: { rule, count },
    flops: flops * count,
    bytes: 4 * arrays * count,
    bound: 1e-6,
    prepare: (library) => {
      const operands = new Operands(library, 3, given);
      const [value, grad] = [operands.gaussian([count]), operands.gaussian([count], 1e-2)];
      const start = /** @type {Float32Array} */ (numbersOf(value)).slice();
      const parameters = [{ name: 'p', value, grad, trainable: true }];
      const optimizer = make(library, parameters);
      return {
        call: () => optimizer.step(),
        error: () => {
          value.assign(start);
          make(library, parameters).step(); // a fresh one: no moments yet
          const gradient = numbersOf(grad);
          return distance(
            numbersOf(value),
            Float64Array.from(start, (each, i) => first(each, gradient[i])),
          );
        },
        dispose: () => disposeAll(value, grad),
      };
    },
  };
}

/** @type {readonly Case[]} */
export const cases = Object.keys(rules).flatMap((rule) =>
  [2 ** 10, 2 ** 16, 2 ** 22].map((count) => ({
    ...optimiserCase({ rule, count }),
    short: count === 2 ** 16 && rule === 'AdamW',
  })),
);
