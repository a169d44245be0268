// @ts-check
// Layers that the study compares with those of the package, on the package's products: full fine-tuning, LoRA, and layer
// normalisation. They have what adaptedDense of sigmatune/tfjs asks of a layer.
import { matmul, Tensor } from 'sigmatune';

/** @typedef {import('./pretrained.js').Linear} Linear */
/** A parameter as optimisers take it. @typedef {{ name: string, value: Matrix, grad: import('sigmatune').Tensor | null, trainable: boolean }} Trained */
/** @typedef {import('sigmatune').Tensor<'float32'>} Matrix */
/** @typedef {{ data: Float32Array, shape: readonly number[] }} View */

/** @param {string} name @param {Float32Array} data @param {readonly number[]} shape @returns {Trained} */
const parameter = (name, data, shape) => ({ name, value: Tensor.wrap(data, [...shape]), grad: null, trainable: true });

/** Adds to what other backwards have added since zeroGrad(). @param {Trained} to @param {import('sigmatune').Tensor} gradient */
function accumulate(to, gradient) {
  if (to.grad === null) to.grad = gradient;
  else addScaled(numbersOf(to.grad), numbersOf(gradient), 1);
}

const numbersOf = (/** @type {import('sigmatune').Tensor} */ tensor) => /** @type {Float32Array} */ (tensor.dataSync());

/** @param {Float32Array} to @param {Float32Array} from @param {number} scale */
function addScaled(to, from, scale) {
  for (let i = 0; i < to.length; i++) to[i] += scale * from[i];
}

/** @param {Float32Array} y @param {Float32Array} bias */
function addBias(y, bias) {
  for (let start = 0; start < y.length; start += bias.length) {
    for (let j = 0; j < bias.length; j++) y[start + j] += bias[j];
  }
}

/** @param {Float32Array} rows @param {number} width */
function sumRows(rows, width) {
  const sum = new Float32Array(width);
  for (let start = 0; start < rows.length; start += width) {
    for (let j = 0; j < width; j++) sum[j] += rows[start + j];
  }
  return Tensor.wrap(sum, [width]);
}

/** y = x W + b; both are trained. */
export class Dense {
  /** @param {string} name @param {Linear} start a copy of its numbers is trained */
  constructor(name, { weight, bias }) {
    this.weight = parameter(`${name}.weight`, weight.data.slice(), weight.shape);
    this.bias = parameter(`${name}.bias`, bias.data.slice(), bias.shape);
    this.parameters = [this.weight, this.bias];
  }

  /** @param {View} x */
  apply(x) {
    const y = matmul(x, this.weight.value);
    addBias(numbersOf(y), numbersOf(this.bias.value));
    return y;
  }

  /** @param {View} x */
  forward(x) {
    const backward = (/** @type {View} */ dy) => {
      accumulate(this.weight, matmul(x, dy, { transposeA: true }));
      accumulate(this.bias, sumRows(dy.data, this.bias.value.size));
      return matmul(dy, this.weight.value, { transposeB: true });
    };
    return { y: this.apply(x), backward, dispose() {} };
  }

  /** W as it is now [in, out]. */
  mergedWeight() {
    return Tensor.wrap(numbersOf(this.weight.value).slice(), this.weight.value.shape);
  }

  dispose() {
    for (const { value, grad } of this.parameters) {
      value.dispose();
      grad?.dispose();
    }
  }
}

/** y = x W + b + (α/r) x A B; A starts uniform within 1/√in, B at zero, W and b are frozen (Hu et al. 2021, as PEFT does). */
export class Lora {
  /**
   * @param {string} name @param {Linear} base borrowed
   * @param {{ r: number, alpha: number, uniform: (length: number, bound: number) => Float32Array }} options
   */
  constructor(name, { weight, bias }, { r, alpha, uniform }) {
    const [inFeatures, out] = weight.shape;
    this.base = Tensor.wrap(weight.data, [inFeatures, out]);
    this.bias = bias.data;
    this.scale = alpha / r;
    this.a = parameter(`${name}.a`, uniform(inFeatures * r, 1 / Math.sqrt(inFeatures)), [inFeatures, r]);
    this.b = parameter(`${name}.b`, new Float32Array(r * out), [r, out]);
    this.parameters = [this.a, this.b];
  }

  /** @param {View} x */
  apply(x) {
    const { y } = this.forward(x);
    return y;
  }

  /** @param {View} x */
  forward(x) {
    const { a, b, scale } = this;
    const h = matmul(x, a.value); // [N, r]
    scaleBy(numbersOf(h), scale);
    const y = matmul(x, this.base);
    addScaled(numbersOf(y), numbersOf(matmul(h, b.value)), 1);
    addBias(numbersOf(y), this.bias);
    const backward = (/** @type {View} */ dy) => {
      accumulate(b, matmul(h, dy, { transposeA: true }));
      const dh = matmul(dy, b.value, { transposeB: true });
      scaleBy(numbersOf(dh), scale);
      accumulate(a, matmul(x, dh, { transposeA: true }));
      const dx = matmul(dy, this.base, { transposeB: true });
      addScaled(numbersOf(dx), numbersOf(matmul(dh, a.value, { transposeB: true })), 1);
      return dx;
    };
    return { y, backward, dispose() {} };
  }

  /** W as it is now [in, out]. */
  mergedWeight() {
    const merged = matmul(this.a.value, this.b.value);
    const numbers = numbersOf(merged);
    scaleBy(numbers, this.scale);
    addScaled(numbers, numbersOf(this.base), 1);
    return merged;
  }

  dispose() {
    this.base.dispose();
    for (const { value, grad } of this.parameters) {
      value.dispose();
      grad?.dispose();
    }
  }
}

/** @param {Float32Array} values @param {number} scale */
function scaleBy(values, scale) {
  for (let i = 0; i < values.length; i++) values[i] *= scale;
}

/** Layer normalisation of rows. */
export class Norm {
  /** @param {string} name @param {import('./pretrained.js').Norm} numbers @param {boolean} trainable */
  constructor(name, { scale, shift }, trainable) {
    this.scale = parameter(`${name}.scale`, scale.data.slice(), scale.shape);
    this.shift = parameter(`${name}.shift`, shift.data.slice(), shift.shape);
    this.parameters = [this.scale, this.shift];
    for (const each of this.parameters) each.trainable = trainable;
  }

  /** @param {View} x */
  apply(x) {
    return this.forward(x).y;
  }

  /** @param {View} x */
  forward({ data: x, shape }) {
    const width = this.scale.value.size;
    const [scale, shift] = this.parameters.map(({ value }) => numbersOf(value));
    const y = new Float32Array(x.length);
    const normal = new Float32Array(x.length);
    const factors = new Float32Array(x.length / width); // 1 / standard deviation
    for (let row = 0, start = 0; start < x.length; row++, start += width) {
      let mean = 0;
      for (let j = 0; j < width; j++) mean += x[start + j];
      mean /= width;
      let variance = 0;
      for (let j = 0; j < width; j++) variance += (x[start + j] - mean) ** 2;
      const factor = 1 / Math.sqrt(variance / width + 1e-6);
      factors[row] = factor;
      for (let j = 0; j < width; j++) {
        const value = (x[start + j] - mean) * factor;
        normal[start + j] = value;
        y[start + j] = value * scale[j] + shift[j];
      }
    }
    const backward = (/** @type {View} */ { data: dy }) => this.#backward(dy, shape, normal, factors);
    return { y: Tensor.wrap(y, [...shape]), backward, dispose() {} };
  }

  /** @param {Float32Array} dy @param {readonly number[]} shape @param {Float32Array} normal @param {Float32Array} factors */
  #backward(dy, shape, normal, factors) {
    const width = this.scale.value.size;
    const scale = numbersOf(this.scale.value);
    const dx = new Float32Array(dy.length);
    const dscale = new Float32Array(width);
    for (let row = 0, start = 0; start < dy.length; row++, start += width) {
      let mean = 0;
      let along = 0;
      for (let j = 0; j < width; j++) {
        const product = dy[start + j] * normal[start + j];
        dscale[j] += product;
        mean += dy[start + j] * scale[j];
        along += product * scale[j];
      }
      mean /= width;
      along /= width;
      for (let j = 0; j < width; j++) {
        dx[start + j] = factors[row] * (dy[start + j] * scale[j] - mean - normal[start + j] * along);
      }
    }
    if (this.scale.trainable) accumulate(this.scale, Tensor.wrap(dscale, [width]));
    if (this.shift.trainable) accumulate(this.shift, sumRows(dy, width));
    return Tensor.wrap(dx, [...shape]);
  }

  dispose() {
    for (const { value, grad } of this.parameters) {
      value.dispose();
      grad?.dispose();
    }
  }
}
