// @ts-check
import { matmul, Tensor } from 'sigmatune';
import { accumulate, addBias, addScaled } from './dense.js';
import { uniform } from './random.js';

/** @typedef {import('./network.js').Layer} Layer */
/** @typedef {import('./network.js').Matrix} Matrix */
/** @typedef {import('sigmatune').Parameter} Parameter */

/**
 * LoRA (Hu et al. 2021) as PEFT does it: y = x W0ᵀ + b + (α/r) x Aᵀ Bᵀ, A uniform within 1/√in (kaiming, a = √5),
 * B zero, W0 and b frozen.
 * @implements {Layer}
 */
export class Lora {
  /**
   * @param {string} name
   * @param {{ weight: Matrix; bias: Matrix }} base borrowed
   * @param {{ r: number; alpha: number; generator: import('./random.js').Generator }} options
   */
  constructor(name, { weight, bias }, { r, alpha, generator }) {
    const [out, inputs] = /** @type {readonly [number, number]} */ (weight.shape);
    this.weight = weight;
    this.bias = bias;
    this.scale = alpha / r;
    this.a = Tensor.wrap(uniform(generator, r * inputs, 1 / Math.sqrt(inputs)), [r, inputs]);
    this.b = Tensor.wrap(new Float32Array(out * r), [out, r]);
    /** @type {readonly [Parameter, Parameter]} */
    this.parameters = [
      { name: `${name}.a`, value: this.a, grad: null, trainable: true },
      { name: `${name}.b`, value: this.b, grad: null, trainable: true },
    ];
  }

  /** @param {Matrix} x */
  apply(x) {
    return this.forward(x).y;
  }

  /** @param {Matrix} x */
  forward(x) {
    const y = matmul(x, this.weight, { transposeB: true });
    const h = matmul(x, this.a, { transposeB: true });
    addScaled(y, matmul(h, this.b, { transposeB: true }), this.scale);
    addBias(y, this.bias);
    /**
     * @param {Matrix} dy
     * @param {{ inputGrad: false }} [options]
     */
    const backward = (dy, options) => this.#backward(x, h, dy, options === undefined);
    return { y, backward };
  }

  /**
   * @param {Matrix} x
   * @param {Matrix} h x Aᵀ
   * @param {Matrix} dy
   * @param {boolean} inputGrad
   */
  #backward(x, h, dy, inputGrad) {
    const [a, b] = this.parameters;
    const dh = matmul(dy, this.b);
    scaleBy(dh, this.scale);
    accumulate(a, matmul(dh, x, { transposeA: true }));
    const db = matmul(dy, h, { transposeA: true });
    scaleBy(db, this.scale);
    accumulate(b, db);
    if (!inputGrad) return undefined;
    const dx = matmul(dy, this.weight);
    addScaled(dx, matmul(dh, this.a), 1);
    return dx;
  }

  mergedWeight() {
    const merged = matmul(this.b, this.a);
    scaleBy(merged, this.scale);
    addScaled(merged, this.weight, 1);
    return merged;
  }

  dispose() {
    this.a.dispose();
    this.b.dispose();
  }
}

/**
 * @param {Matrix} matrix
 * @param {number} scale
 */
function scaleBy(matrix, scale) {
  const values = matrix.dataSync();
  for (let i = 0; i < values.length; i++) values[i] *= scale;
}
