// @ts-check
import { matmul, Tensor, tensor } from 'sigmatune';

/** @typedef {import('./network.js').Layer} Layer */
/** @typedef {import('./network.js').Matrix} Matrix */
/** @typedef {import('sigmatune').Parameter} Parameter */

/**
 * y += scale · z, element by element (a CPU tensor's data is its own memory, so this writes the tensor).
 * @param {Matrix} y
 * @param {Matrix} z
 * @param {number} scale
 */
export function addScaled(y, z, scale) {
  const to = y.dataSync();
  const from = z.dataSync();
  for (let i = 0; i < to.length; i++) to[i] += scale * from[i];
}

/**
 * Adds the bias to every row of y.
 * @param {Matrix} y
 * @param {Matrix} bias
 */
export function addBias(y, bias) {
  const to = y.dataSync();
  const b = bias.dataSync();
  for (let start = 0; start < to.length; start += b.length) {
    for (let j = 0; j < b.length; j++) to[start + j] += b[j];
  }
}

/**
 * The sum of the rows of dy.
 * @param {Matrix} dy
 * @param {number} columns
 */
function sumRows(dy, columns) {
  const sum = new Float32Array(columns);
  const from = dy.dataSync();
  for (let start = 0; start < from.length; start += columns) {
    for (let j = 0; j < columns; j++) sum[j] += from[start + j];
  }
  return Tensor.wrap(sum, [columns]);
}

/**
 * A parameter's gradient is the sum over every backward since the optimiser's zeroGrad().
 * @param {Parameter} parameter
 * @param {Matrix} grad
 */
export function accumulate(parameter, grad) {
  if (parameter.grad === null) parameter.grad = grad;
  else addScaled(/** @type {Matrix} */ (parameter.grad), grad, 1);
}

/**
 * A linear layer whose weight and bias are trainable: y = x Wᵀ + b.
 * @implements {Layer}
 */
export class Dense {
  /**
   * Takes ownership of weight and bias.
   * @param {string} name
   * @param {Matrix} weight [out, in]
   * @param {Matrix} bias [out]
   */
  constructor(name, weight, bias) {
    this.weight = weight;
    this.bias = bias;
    /** @type {readonly [Parameter, Parameter]} */
    this.parameters = [
      { name: `${name}.weight`, value: weight, grad: null, trainable: true },
      { name: `${name}.bias`, value: bias, grad: null, trainable: true },
    ];
  }

  /** @param {Matrix} x */
  apply(x) {
    const y = matmul(x, this.weight, { transposeB: true });
    addBias(y, this.bias);
    return y;
  }

  /** @param {Matrix} x */
  forward(x) {
    const [weight, bias] = this.parameters;
    /**
     * @param {Matrix} dy
     * @param {{ inputGrad: false }} [options]
     */
    const backward = (dy, options) => {
      accumulate(weight, matmul(dy, x, { transposeA: true }));
      accumulate(bias, sumRows(dy, this.bias.size));
      return options ? undefined : matmul(dy, this.weight);
    };
    return { y: this.apply(x), backward };
  }

  mergedWeight() {
    return tensor(this.weight.dataSync(), this.weight.shape);
  }

  dispose() {
    this.weight.dispose();
    this.bias.dispose();
  }
}
